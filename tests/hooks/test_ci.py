"""What CI servers and Deployer read has no slip in it: their schemas, and what decides a deploy."""

import subprocess
import sys

import pytest
import yaml

from tests.hooks.shop import HOOKS
from tests.servers.process import require_program

GITHUB = HOOKS / "github" / "deploy.yml"
GITLAB = HOOKS / "gitlab" / "deploy.gitlab-ci.yml"


@pytest.mark.parametrize("schema", ["github-workflows", "gitlab-ci"])
def test_it_is_as_the_published_schema_says(schema: str) -> None:
    path = str(GITHUB if schema == "github-workflows" else GITLAB)
    argv = ["-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", path]
    done = subprocess.run([sys.executable, *argv], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_github_warms_between_upload_and_switch_and_one_deploy_at_a_time() -> None:
    workflow = yaml.safe_load(GITHUB.read_text())
    steps = [
        step["run"].split()[0] for step in workflow["jobs"]["deploy"]["steps"] if "run" in step
    ]
    assert steps == ["pip", "bin/upload", "echo", "cachekit", "bin/switch"]
    assert workflow["concurrency"]["cancel-in-progress"] is False


def test_gitlab_warms_between_upload_and_switch_and_only_degraded_goes_on() -> None:
    pipeline = yaml.safe_load(GITLAB.read_text())
    assert pipeline["stages"] == ["upload", "warm", "switch"]
    warm = pipeline["warm"]
    assert warm["allow_failure"] == {"exit_codes": 3}
    assert warm["retry"]["exit_codes"] == 75
    assert f"--output {warm['artifacts']['reports']['junit']}" in warm["script"][-1]
    assert warm["environment"]["action"] == "verify"


def test_the_recipe_for_deployer_is_php() -> None:
    argv = [require_program("php"), "-l", str(HOOKS / "deployer" / "cachekit.php")]
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
