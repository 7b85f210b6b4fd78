"""Manifests for Kubernetes and Argo Rollouts: their fields by the references, and what they run."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.hooks.shop import HOOKS, Shop
from tests.servers.origin import Origin
from tests.servers.process import wait_until
from tests.unit.test_schedule_units import NAME, SECONDS, TEXT, record

COUNT = {"type": "integer", "minimum": 0}
TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
WORDS = {"type": "array", "items": TEXT}
LABELS = record([], labels=TEXTS)
METADATA = record(["name"], name=NAME, annotations=TEXTS)
SELECTOR = record(["matchLabels"], matchLabels=TEXTS)


def many(of: Any) -> dict[str, Any]:
    return {"type": "array", "minItems": 1, "items": of}


# Of the references of Kubernetes and Argo Rollouts, the fields that are used.
CONTAINER = record(
    ["name", "image"],
    name=NAME,
    image=TEXT,
    command=WORDS,
    args=WORDS,
    workingDir=TEXT,
    ports=many(record(["containerPort"], containerPort=COUNT)),
    env=many(record(["name", "value"], name=TEXT, value=TEXT)),
    readinessProbe=record(["exec"], exec=record(["command"], command=WORDS), periodSeconds=COUNT),
    resources=record([], requests=TEXTS),
    volumeMounts=many(
        record(["name", "mountPath"], name=NAME, mountPath=TEXT, readOnly={"type": "boolean"})
    ),
)
VOLUMES = many(record(["name", "configMap"], name=NAME, configMap=record(["name"], name=NAME)))
POD = record(["containers"], containers=many(CONTAINER), volumes=VOLUMES)
APPLICATION = record(["metadata", "spec"], metadata=LABELS, spec=POD)
ONCE = record(
    ["restartPolicy", "containers"],
    restartPolicy={"const": "Never"},
    containers=many(CONTAINER),
    volumes=VOLUMES,
)
JOB = record(
    ["template", "backoffLimit", "activeDeadlineSeconds"],
    backoffLimit={"const": 0},
    activeDeadlineSeconds=SECONDS,
    template=record(["spec"], spec=ONCE),
)
ROLLING = record([], maxUnavailable=COUNT, maxSurge=COUNT)
METRIC = record(
    ["name", "provider"], name=NAME, provider=record([], job=record(["spec"], spec=JOB))
)
HASH = record(["podTemplateHashValue"], podTemplateHashValue={"enum": ["Latest", "Stable"]})
ANALYSIS = record(
    ["templates"],
    templates=many(record(["templateName"], templateName=NAME)),
    args=many(record(["name", "valueFrom"], name=NAME, valueFrom=HASH)),
)
BLUE_GREEN = record(
    ["activeService"], activeService=NAME, previewService=NAME, prePromotionAnalysis=ANALYSIS
)
SPECS = {
    ("apps/v1", "Deployment"): record(
        ["selector", "template"],
        replicas=COUNT,
        selector=SELECTOR,
        progressDeadlineSeconds=SECONDS,
        strategy=record([], rollingUpdate=ROLLING),
        template=APPLICATION,
    ),
    ("batch/v1", "Job"): JOB,
    ("argoproj.io/v1alpha1", "AnalysisTemplate"): record(
        ["metrics"], args=many(record(["name"], name=NAME)), metrics=many(METRIC)
    ),
    ("argoproj.io/v1alpha1", "Rollout"): record(
        ["selector", "template", "strategy"],
        replicas=COUNT,
        selector=SELECTOR,
        strategy=record(["blueGreen"], blueGreen=BLUE_GREEN),
        template=APPLICATION,
    ),
}


def manifests(path: str) -> dict[str, Any]:
    """Read a file, and check each manifest in it; by kind."""
    found = {}
    for manifest in yaml.safe_load_all((HOOKS / path).read_text()):
        jsonschema.validate(manifest["metadata"], METADATA)
        if manifest["kind"] != "ConfigMap":
            jsonschema.validate(manifest["spec"], SPECS[manifest["apiVersion"], manifest["kind"]])
        found[manifest["kind"]] = manifest
    return found


def test_argo_rollouts_promotes_only_what_passed_behind_the_preview_service() -> None:
    found = manifests("argo-rollouts/cachekit.yaml")
    strategy = found["Rollout"]["spec"]["strategy"]["blueGreen"]
    template = found["AnalysisTemplate"]
    analysis = strategy["prePromotionAnalysis"]
    assert analysis["templates"] == [{"templateName": template["metadata"]["name"]}]
    assert (
        f'"{strategy["previewService"]}:80"'
        in (HOOKS / "argo-rollouts" / "cachekit.yaml").read_text()
    )
    values = {each["name"]: each["valueFrom"]["podTemplateHashValue"] for each in analysis["args"]}
    assert values == {"release": "Latest", "previous": "Stable"}
    assert {each["name"] for each in template["spec"]["args"]} == values.keys()
    job = template["spec"]["metrics"][0]["provider"]["job"]["spec"]
    variables = {each["name"]: each["value"] for each in container_of(job)["env"]}
    assert variables["CACHEKIT_RELEASE"] == "{{args.release}}"
    assert variables["CACHEKIT_PREVIOUS"] == "{{args.previous}}"


def container_of(job: dict[str, Any]) -> dict[str, Any]:
    (container,) = job["template"]["spec"]["containers"]
    found: dict[str, Any] = container
    return found


@pytest.mark.end_to_end
@pytest.mark.parametrize("hook", ["kubernetes/job.yaml", "argo-rollouts/cachekit.yaml"])
def test_the_command_of_a_job_runs_the_plan_for_its_release(hook: str, local_shop: Shop) -> None:
    found = manifests(hook)
    spec = (
        found["Job"]["spec"]
        if "Job" in found
        else found["AnalysisTemplate"]["spec"]["metrics"][0]["provider"]["job"]["spec"]
    )
    container = container_of(spec)
    variables = {each["name"]: each["value"] for each in container["env"]}
    local_shop.commit("one")
    assert local_shop.run(container["command"], **variables).code == 0
    last = local_shop.last_run()
    assert (last["plan"], last["tool"]) == ("deploy", variables["CACHEKIT_TOOL"])
    assert last["release"] == variables["CACHEKIT_RELEASE"]
    local_shop.commit("two", "/broken")
    assert local_shop.run(container["command"], **variables).code == 1


@contextlib.contextmanager
def sidecar(shop: Shop) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """Run the second container of the pod here; give it and its readiness probe."""
    found = manifests("kubernetes/sidecar.yaml")
    _, container = found["Deployment"]["spec"]["template"]["spec"]["containers"]
    settings = shop.folder / "settings"
    settings.mkdir()

    def here(text: str) -> str:
        for there, instead in (
            ("127.0.0.1:8080", shop.pages["web1"]),
            ("/tmp/", f"{shop.folder}/"),
            ("sleep 5", "sleep 0.1"),
        ):
            text = text.replace(there, instead)
        return text

    for name, text in found["ConfigMap"]["data"].items():
        (settings / name).write_text(here(text))
    probe = [here(word) for word in container["readinessProbe"]["exec"]["command"]]
    with (
        (shop.folder / "log").open("w") as log,
        subprocess.Popen(
            [*container["command"], *map(here, container["args"])],
            cwd=settings,
            env=shop.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
        ) as process,
    ):
        try:
            yield process, probe
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.end_to_end
def test_a_pod_is_ready_once_it_is_warm_and_ends_when_it_is_told(
    local_shop: Shop, origin: Origin
) -> None:
    origin.page("/about", status=503, headers={"Cache-Control": "no-store"})
    log = local_shop.folder / "log"

    def ready(probe: list[str]) -> bool:
        return subprocess.run(probe, check=False).returncode == 0

    with sidecar(local_shop) as (process, probe):
        assert wait_until(lambda: log.read_text().count("FAILED  pod") > 0, 30)
        assert not ready(probe)
        origin.page("/about")
        assert wait_until(lambda: ready(probe), 30), log.read_text()
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert not Path("/tmp/ready").exists()
