"""Units are what systemd, cron and Kubernetes take, and mean what was written."""

import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from cachekit.errors import ConfigError, OutputError
from cachekit.scheduling import crontab, kubernetes, systemd
from cachekit.scheduling.directory import write_all
from cachekit.scheduling.jobs import Job, Terms, jobs_of
from cachekit.settings import Settings
from cachekit.step_settings import PlanSettings
from tests.servers.process import require_program

PLANS = {
    "nightly": PlanSettings(schedule="*/20 4,6-8 13 jan-mar fri", deadline=600.0),
    "Sunday, 100%": PlanSettings(schedule="0 4 * * 7"),
    "deploy": PlanSettings(),
}
AWKWARD = Path('/etc/cache kit/it\'s 5%/$HOME "q" \\n.yaml')


def terms(**facts: Any) -> Terms:
    return Terms(**{"command": (sys.executable,), "settings": AWKWARD, "image": "x:1", **facts})


def jobs(*names: str, plans: Mapping[str, PlanSettings] = PLANS, **facts: Any) -> list[Job]:
    return jobs_of(Settings(site="http://shop.example", plans=plans), names, terms(**facts))


# ---- jobs


def test_every_plan_with_a_schedule_is_a_job_unless_some_are_named() -> None:
    assert [job.name for job in jobs()] == ["cachekit-nightly", "cachekit-sunday-100"]
    assert [job.name for job in jobs("nightly", name="shop")] == ["shop-nightly"]


def test_a_plan_without_a_deadline_is_warned_of() -> None:
    first, second = jobs()
    assert list(first.warnings) == []
    assert "plan Sunday, 100% has no `deadline:`" in next(second.warnings)


def test_everything_that_cannot_be_scheduled_is_told_at_once() -> None:
    plans = {
        "a b": PlanSettings(schedule="0 4 * * *"),
        "a-b": PlanSettings(schedule="0 4 * * *"),
        "bad": PlanSettings(schedule="0 25 * * *"),
        "never": PlanSettings(),
        "x" * 60: PlanSettings(schedule="0 4 * * *"),
    }
    with pytest.raises(ConfigError) as caught:
        jobs(*plans, "absent", plans=plans)
    for part in (
        "plans: a b and a-b would both be called cachekit-a-b",
        "plans.bad.schedule: hour: '25'",
        "plans.never.schedule: expected the five fields",
        "is longer than 52 characters",
        "plans.absent: there is no such plan",
    ):
        assert part in str(caught.value)
    with pytest.raises(ConfigError, match="no plan has a `schedule:`"):
        jobs(plans={})


# ---- systemd


@pytest.mark.parametrize("accept_degraded", [False, True])
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path, accept_degraded: bool) -> None:
    of = terms(timezone="Europe/Berlin", accept_degraded=accept_degraded)
    files = systemd.render(jobs(), of)
    assert len(files) == 4
    paths = write_all(tmp_path, files, force=False)
    done = subprocess.run(
        [require_program("systemd-analyze"), "verify", "--man=no", *map(str, paths)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")


def test_a_service_runs_the_plan_once_and_ends_after_the_plan_itself() -> None:
    lines = systemd.render(jobs("nightly"), terms())["cachekit-nightly.service"].splitlines()
    assert "Type=oneshot" in lines
    assert "TimeoutStartSec=660" in lines
    assert "SuccessExitStatus=75" in lines
    assert not any(line.startswith("RemainAfterExit") for line in lines)
    endless = systemd.render(jobs(), terms(accept_degraded=True))["cachekit-sunday-100.service"]
    assert "TimeoutStartSec=infinity" in endless
    assert "SuccessExitStatus=75 3" in endless


def test_systemd_reads_the_words_of_the_command_as_they_were() -> None:
    text = systemd.render(jobs("nightly"), terms())["cachekit-nightly.service"]
    (line,) = [line for line in text.splitlines() if line.startswith("ExecStart=")]
    # What systemd.service(5) says of its command lines, for the words that are used here.
    unescaped = line.removeprefix("ExecStart=").replace("%%", "%").replace("$$", "$")
    assert shlex.split(unescaped) == [
        *(sys.executable, "run", "nightly", "--scheduled", "--settings", str(AWKWARD)),
    ]


def test_a_timer_makes_up_for_what_was_missed() -> None:
    lines = systemd.render(jobs(), terms(jitter=90.0))["cachekit-nightly.timer"].splitlines()
    assert [line for line in lines if line.startswith("OnCalendar=")] == [
        "OnCalendar=*-01..03-13 04,06..08:00,20,40:00",
        "OnCalendar=Fri *-01..03-* 04,06..08:00,20,40:00",
    ]
    for line in ("Persistent=true", "RandomizedDelaySec=90", "AccuracySec=1s"):
        assert line in lines


# ---- cron


SPEAKS = """\
#!/bin/sh
printf '%s\\n' "$@"
echo oops >&2
exit {code}
"""


def crontab_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line[0] in "*0123456789"]


def run_line(tmp_path: Path, code: int, **facts: Any) -> str:
    """Do what cron does with the first line: its command goes to sh, `\\%` as `%`."""
    speaks = tmp_path / "speaks"
    speaks.write_text(SPEAKS.format(code=code))
    speaks.chmod(0o700)
    of = terms(command=(str(speaks),), **facts)
    text = crontab.render(jobs("nightly", command=(str(speaks),)), of)["cachekit.cron"]
    command = crontab_lines(text)[0].split(maxsplit=5)[5].replace(r"\%", "%")
    done = subprocess.run(
        ["/bin/sh", "-c", command], check=False, capture_output=True, text=True, cwd=tmp_path
    )
    assert done.stderr == ""
    return done.stdout


def test_cron_accepts_the_crontab() -> None:
    text = crontab.render(jobs(), terms())["cachekit.cron"]
    assert len(crontab_lines(text)) == 2
    done = subprocess.run(
        [require_program("crontab"), "-n", "-"],
        check=False,
        input=text,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_a_line_has_its_fields_and_no_bare_percent_sign() -> None:
    for line in crontab_lines(crontab.render(jobs(), terms())["cachekit.cron"]):
        assert "%" not in line.replace(r"\%", "")
    assert "\n*/20 4,6-8 13 jan-mar fri said=" in crontab.render(jobs(), terms())["cachekit.cron"]


def test_only_a_failure_is_mailed_with_all_that_was_said(tmp_path: Path) -> None:
    assert run_line(tmp_path, 0) == ""
    assert run_line(tmp_path, 75) == ""
    assert run_line(tmp_path, 3, accept_degraded=True) == ""
    words = ["run", "nightly", "--scheduled", "--settings", str(AWKWARD), "oops"]
    assert run_line(tmp_path, 3).splitlines() == words
    assert run_line(tmp_path, 1).splitlines() == words


def test_programs_beside_cachekit_are_found() -> None:
    text = crontab.render(jobs(), terms(command=("/opt/ck/bin/cachekit",)))["cachekit.cron"]
    assert "\nPATH=/opt/ck/bin:/usr/local/sbin:" in text
    for command in ("/usr/bin/cachekit", "cachekit"):
        text = crontab.render(jobs(), terms(command=(command,)))["cachekit.cron"]
        assert "\nPATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:" in text


def test_a_time_zone_is_refused_for_cron() -> None:
    with pytest.raises(ConfigError, match="--timezone: Debian's cron takes none"):
        crontab.render(jobs(), terms(timezone="Europe/Berlin"))


# ---- Kubernetes


def record(required: list[str], **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "required": required,
        "properties": properties,
        "additionalProperties": False,
    }


TEXT = {"type": "string", "minLength": 1}
NAME = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 52}
SECONDS = {"type": "integer", "minimum": 10}
CONTAINER = record(
    ["name", "image", "command"],
    name=NAME,
    image=TEXT,
    command={"type": "array", "items": {"type": "string"}},
    env={"type": "array", "items": record(["name", "value"], name=TEXT, value=TEXT)},
    volumeMounts={
        "type": "array",
        "items": record(
            ["name", "mountPath"], name=NAME, mountPath=TEXT, readOnly={"type": "boolean"}
        ),
    },
)
VOLUME = record(["name"], name=NAME, configMap=record(["name"], name=NAME), emptyDir=record([]))
POD = record(
    ["restartPolicy", "containers"],
    restartPolicy={"enum": ["Never", "OnFailure"]},
    containers={"type": "array", "minItems": 1, "items": CONTAINER},
    volumes={"type": "array", "items": VOLUME},
)
# Of "CronJob v1 batch" in the Kubernetes API reference, the fields that are used.
CRON_JOB = record(
    ["apiVersion", "kind", "metadata", "spec"],
    apiVersion={"const": "batch/v1"},
    kind={"const": "CronJob"},
    metadata=record(["name"], name=NAME),
    spec=record(
        ["schedule", "jobTemplate"],
        schedule=TEXT,
        timeZone=TEXT,
        concurrencyPolicy={"enum": ["Allow", "Forbid", "Replace"]},
        startingDeadlineSeconds=SECONDS,
        successfulJobsHistoryLimit={"type": "integer"},
        failedJobsHistoryLimit={"type": "integer"},
        jobTemplate=record(
            ["spec"],
            spec=record(
                ["template"],
                backoffLimit={"type": "integer"},
                activeDeadlineSeconds=SECONDS,
                template=record(["spec"], spec=POD),
            ),
        ),
    ),
)


def cron_jobs(**facts: Any) -> dict[str, Any]:
    files = kubernetes.render(jobs(**facts), terms(**facts))
    documents = list(yaml.safe_load_all("\n".join(files.values())))
    for document in documents:
        jsonschema.validate(document, CRON_JOB)
    return {document["metadata"]["name"]: document["spec"] for document in documents}


def test_cron_jobs_never_overlap_nor_repeat_a_failure() -> None:
    spec = cron_jobs(timezone="Europe/Berlin")["cachekit-nightly"]
    assert spec["concurrencyPolicy"] == "Forbid"
    assert spec["timeZone"] == "Europe/Berlin"
    assert spec["startingDeadlineSeconds"] == 600
    job = spec["jobTemplate"]["spec"]
    assert (job["backoffLimit"], job["activeDeadlineSeconds"]) == (0, 660)
    assert job["template"]["spec"]["restartPolicy"] == "Never"
    assert "timeZone" not in cron_jobs()["cachekit-nightly"]


def test_settings_come_from_a_config_map_and_the_words_of_the_command_are_kept() -> None:
    odd = Path("/etc/cachekit/it's: {5%} $(HOME) #.yaml")
    spec = cron_jobs(settings=odd)["cachekit-sunday-100"]
    pod = spec["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == "x:1"
    # Kubernetes turns $$( back into $(.
    command = [word.replace("$$(", "$(") for word in container["command"]]
    assert command == [
        *(sys.executable, "run", "Sunday, 100%", "--scheduled", "--settings", str(odd)),
    ]
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounted == {"settings": "/etc/cachekit", "state": "/var/lib/cachekit"}
    assert {volume["name"] for volume in pod["volumes"]} == mounted.keys()


def test_kubernetes_knows_no_sunday_of_7() -> None:
    specs = cron_jobs()
    assert specs["cachekit-sunday-100"]["schedule"] == "0 4 * * 0"
    assert specs["cachekit-nightly"]["schedule"] == "*/20 4,6-8 13 jan-mar 5"


def test_what_kubernetes_would_read_otherwise_is_refused() -> None:
    plans = {"odd": PlanSettings(schedule="0 4 */2 * 1")}
    with pytest.raises(ConfigError, match=r"plans\.odd\.schedule: Kubernetes would take day"):
        kubernetes.render(jobs(plans=plans), terms())


def test_a_hold_file_goes_with_the_command() -> None:
    (job,) = jobs("nightly", hold_file=Path("/srv/maintenance.flag"))
    assert job.argv[-2:] == ("--hold-file", "/srv/maintenance.flag")


# ---- files


def test_files_are_written_all_or_none(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("mine")
    with pytest.raises(ConfigError, match=r"b: is there; --force replaces it"):
        write_all(tmp_path, {"a": "1", "b": "2"}, force=False)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"b": "mine"}
    write_all(tmp_path, {"a": "1", "b": "2"}, force=True)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "1", "b": "2"}


def test_a_dangling_link_is_no_free_place(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("nowhere")
    with pytest.raises(ConfigError):
        write_all(tmp_path, {"a": "1"}, force=False)


def test_what_cannot_be_written_names_the_directory_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="absent: cannot be written: No such file"):
        write_all(tmp_path / "absent", {"a": "1"}, force=False)
    with pytest.raises(OutputError, match="cannot be written"):
        write_all(tmp_path, {"a": "1", "no/such": "2"}, force=False)
    assert not list(tmp_path.iterdir())
