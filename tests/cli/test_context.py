"""`cachekit context`."""

from pathlib import Path

import pytest

from tests.command import Cachekit

KAMAL = {
    "KAMAL_VERSION": "3f78685",
    "KAMAL_HOSTS": "10.0.0.11,10.0.0.12",
    "KAMAL_COMMAND": "deploy",
    "CACHEKIT_ROLLBACK": "no",
}


@pytest.fixture
def bare(cachekit: Cachekit) -> Cachekit:
    """Give the command an environment that tells nothing."""
    cachekit.environment = {"PATH": cachekit.environment["PATH"]}
    return cachekit


def test_each_fact_is_shown_with_its_place(bare: Cachekit) -> None:
    bare.environment |= KAMAL | {"GITLAB_CI": "true", "CI_JOB_URL": "https://g.example/j/1"}
    done = bare.run("context")
    assert done.code == 0
    assert done.stdout == (
        "tool         kamal                  $KAMAL_VERSION\n"
        "release      3f78685                $KAMAL_VERSION\n"
        "previous     -                      not in $CACHEKIT_PREVIOUS, the link `current`,"
        " the log of releases\n"
        "nodes        10.0.0.11,10.0.0.12    $KAMAL_HOSTS\n"
        "environment  -                      not in $CACHEKIT_ENVIRONMENT, $KAMAL_DESTINATION,"
        " $CI_ENVIRONMENT_NAME\n"
        "actor        -                      not in $CACHEKIT_ACTOR, $GITHUB_TRIGGERING_ACTOR,"
        " $GITHUB_ACTOR, $GITLAB_USER_LOGIN, $KAMAL_PERFORMER, $SUDO_USER, $USER\n"
        "run_url      https://g.example/j/1  $CI_JOB_URL\n"
        "rollback     no                     $CACHEKIT_ROLLBACK\n"
        "takes part, too: gitlab-ci ($GITLAB_CI)\n"
    )


def test_the_folder_it_runs_in_tells_the_release(bare: Cachekit) -> None:
    revision = bare.folder / "REVISION"
    revision.write_text("r42\n")
    done = bare.run("context", "--format", "json")
    assert done.code == 0
    assert done.report["command"] == "context"
    assert done.report["facts"]["release"] == {"value": "r42", "origin": str(revision.resolve())}
    assert done.report["facts"]["tool"] == {"value": "", "origin": ""}
    assert done.report["notes"] == []


def test_what_could_act_on_a_terminal_is_escaped(bare: Cachekit) -> None:
    folder = bare.folder / "a\x1b[31mb"
    folder.mkdir()
    (folder / "REVISION").write_text("r42")
    bare.folder = folder
    done = bare.run("context")
    assert "\x1b" not in done.stdout
    assert r"a\x1b[31mb/REVISION" in done.stdout


def test_junk_is_refused_by_name(bare: Cachekit) -> None:
    bare.environment["CACHEKIT_RELEASE"] = "r\x1b[31m"
    done = bare.run("context")
    assert done.code == 2
    assert done.stderr == (
        "cachekit: $CACHEKIT_RELEASE: it has characters that do not print: r\\x1b[31m;"
        " correct it, or unset it\n"
    )


def test_settings_are_not_needed(bare: Cachekit, tmp_path: Path) -> None:
    (tmp_path / "cachekit.yaml").write_text("junk: [")
    assert bare.run("context").code == 0
