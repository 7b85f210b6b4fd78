"""What `schedule`, `hold`, `release` say, and when a run does not take place."""

import json
import signal
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cachekit.lock import locked
from tests.command import Cachekit, Finished
from tests.servers.origin import Origin

SITE = "http://shop.example"
SETTINGS = """
site: http://shop.example
state_dir: {folder}/state
nodes: {{web1: "{address}"}}
warmlists: {{top: {{urls: [/]}}}}
plans:
  nightly: {{schedule: "0 4 * * *", deadline: 10m, steps: [{{warm: top}}]}}
  by-hand: {{steps: [{{warm: top}}]}}
"""


@pytest.fixture(autouse=True)
def written_settings(cachekit: Cachekit, origin: Origin) -> None:
    text = SETTINGS.format(address=origin.address, folder=cachekit.folder)
    (cachekit.folder / "cachekit.yaml").write_text(text)


def warm(cachekit: Cachekit, *arguments: str) -> Finished:
    """The origin itself is the node, and says nothing of hits."""
    return cachekit.warm("--verify", "off", *arguments)


@contextmanager
def another_run(cachekit: Cachekit, origin: Origin) -> Iterator[None]:
    with locked(cachekit.state_dir, SITE, [origin.address]):
        yield


# ---- schedule render


def test_units_are_printed_as_files(cachekit: Cachekit) -> None:
    done = cachekit.run("schedule", "render", "systemd", "--command", "/usr/bin/cachekit")
    assert (done.code, done.stderr) == (0, "")
    settings = cachekit.folder / "cachekit.yaml"
    assert done.stdout.startswith("# cachekit-nightly.service, by `cachekit schedule render sys")
    assert "\n\n# cachekit-nightly.timer, by " in done.stdout
    assert (
        f"ExecStart=/usr/bin/cachekit run nightly --scheduled --settings {settings}\n"
        in done.stdout
    )


def test_what_runs_is_this_very_cachekit(cachekit: Cachekit) -> None:
    done = cachekit.run("schedule", "render", "systemd")
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("ExecStart=")]
    program = line.removeprefix("ExecStart=").partition(" run nightly")[0]
    shown = subprocess.run(
        [*program.split(), "--version"], check=True, capture_output=True, text=True
    )
    assert shown.stdout.startswith("cachekit, version ")


def test_kubernetes_gets_its_own_path_of_the_settings(cachekit: Cachekit) -> None:
    done = cachekit.run("schedule", "render", "kubernetes", "--image", "hub.example/ck:3")
    assert 'image: "hub.example/ck:3"' in done.stdout
    assert '["cachekit", "run", "nightly", "--scheduled", "--settings", "/etc/cachekit/c' in (
        done.stdout
    )


def test_units_are_written_once(cachekit: Cachekit) -> None:
    arguments = ("schedule", "render", "systemd", "--directory", ".")
    done = cachekit.run(*arguments)
    assert (done.code, done.stdout) == (0, "")
    assert "wrote cachekit-nightly.timer" in done.stderr
    done = cachekit.run(*arguments)
    assert done.code == 2
    assert "cachekit: cachekit-nightly.timer: is there; --force replaces it" in done.stderr
    assert cachekit.run(*arguments, "--force").code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("systemd", "nightli"), "plans.nightli: there is no such plan"),
        (("systemd", "by-hand"), "plans.by-hand.schedule: expected the five fields"),
        (("systemd", "--timezone", "Europe/Berlim"), "did you mean 'Europe/Berlin'?"),
        (("cron", "--timezone", "Europe/Berlin"), "--timezone: Debian's cron takes none"),
        (("cron", "--name", "../a"), "--name ../a: expected a-z, 0-9 and -"),
        (("cron", "--command", "a 'b"), "--command a 'b: No closing quotation"),
        (("cron", "--command", " "), "--command: is empty"),
        (("systemd", "--command", "bin/cachekit"), "--command bin/cachekit: expected its whole"),
        (("systemd", "--hold-file", "a\nExecStart=b"), "a\\nExecStart=b: what does not print"),
        (("cron", "--hold-file", "a" * 1000), "plans.nightly: its command is too long for cron"),
        (("launchd",), "'launchd' is not one of"),
    ],
)
def test_what_cannot_be_rendered_is_said(
    cachekit: Cachekit, arguments: tuple[str, ...], message: str
) -> None:
    done = cachekit.run("schedule", "render", *arguments)
    assert (done.code, done.stdout) == (2, "")
    assert message in done.stderr


def test_a_line_of_the_crontab_runs_the_plan_unless_it_is_held(
    cachekit: Cachekit, origin: Origin
) -> None:
    # The origin itself is the node, which says nothing of hits; its pages are warm all the same.
    text = cachekit.run("schedule", "render", "cron").stdout
    head, line = text.splitlines()[2:4], text.splitlines()[-1]
    environment = dict(each.split("=", 1) for each in head)
    command = line.split(maxsplit=5)[5].replace(r"\%", "%")

    def tick() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [environment["SHELL"], "-c", command],
            check=False,
            cwd="/",
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    state = str(cachekit.folder / "state")
    assert cachekit.run("hold", "--state-dir", state).code == 0
    held = tick()
    assert (held.returncode, held.stdout, held.stderr) == (0, "", "")
    assert not origin.requests
    assert cachekit.run("release", "--state-dir", state).code == 0
    done = tick()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert origin.count("/") > 0
    origin.page("/", status=500)
    failed = tick()
    assert failed.returncode == 1
    assert "FAILED" in failed.stdout
    assert failed.stderr == ""


# ---- hold, release


def test_a_held_site_is_warmed_by_hand_only(cachekit: Cachekit, origin: Origin) -> None:
    assert cachekit.run("hold", "--for", "2h", "--reason", "new database").code == 0
    done = warm(cachekit, "--scheduled")
    assert done.code == 75
    assert f"cachekit: {SITE} is held by " in done.stderr
    assert ": new database; `cachekit release` lifts the hold" in done.stderr
    assert not origin.requests
    assert warm(cachekit).code == 0
    done = cachekit.run("release")
    assert done.code == 0
    assert f"{SITE} was held by " in done.stdout
    assert warm(cachekit, "--scheduled").code == 0
    assert cachekit.run("release").stdout == f"{SITE} was not held\n"


def test_a_hold_is_found_where_the_options_put_it(cachekit: Cachekit, tmp_path: Path) -> None:
    assert cachekit.run("hold", "--state-dir", str(tmp_path / "other")).code == 0
    assert warm(cachekit, "--scheduled").code == 0
    assert cachekit.run("warm", "--scheduled", "--state-dir", "other").code == 75
    assert cachekit.run("release", "--state-dir", "other").code == 0


def test_a_file_holds_scheduled_runs(cachekit: Cachekit) -> None:
    flag = cachekit.folder / "down.flag"
    arguments = ("--scheduled", "--hold-file", "down.flag")
    assert warm(cachekit, *arguments).code == 0
    flag.touch()
    done = warm(cachekit, *arguments)
    assert done.code == 75
    assert f"{SITE} is held: down.flag is there" in done.stderr
    done = warm(cachekit, "--hold-file", "down.flag")
    assert done.code == 2
    assert "--hold-file: is about --scheduled runs" in done.stderr


# ---- another run goes on


def test_a_locked_site_is_skipped_with_a_report(cachekit: Cachekit, origin: Origin) -> None:
    with another_run(cachekit, origin):
        assert warm(cachekit).code == 75
        assert warm(cachekit, "--if-locked", "fail").code == 75
        done = warm(cachekit, "--if-locked", "skip")
        assert done.code == 0
        assert done.stdout.startswith(f"SKIPPED  {SITE}\n{SITE} on {origin.address} is being warm")
        report = warm(cachekit, "--if-locked", "skip", "--format", "json").report
        assert (report["outcome"], report["exit_code"]) == ("skipped", 0)
        assert "is being warmed by process" in report["reason"]
        line = json.loads(warm(cachekit, "--if-locked", "skip", "--format", "jsonl").stdout)
        assert (line["event"], line["outcome"]) == ("report", "skipped")
        suites = ET.fromstring(warm(cachekit, "--if-locked", "skip", "--format", "junit").stdout)
        assert suites.find("testsuite/testcase/skipped") is not None
    assert not origin.requests


def test_another_run_is_waited_for(cachekit: Cachekit, origin: Origin) -> None:
    arguments = ("warm", "--state-dir", str(cachekit.state_dir), "--verify", "off")
    with another_run(cachekit, origin):
        waiting = cachekit.start(*arguments, "--if-locked", "wait")
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.communicate(timeout=3)
        assert not origin.requests
    stdout, stderr = waiting.communicate(timeout=60)
    assert waiting.returncode == 0, stderr
    assert stdout.startswith("GO")


def test_it_is_waited_for_no_longer_than_the_budget(cachekit: Cachekit, origin: Origin) -> None:
    with another_run(cachekit, origin):
        done = warm(cachekit, "--if-locked", "wait", "--budget", "1s")
    assert done.code == 75
    assert "is being warmed by process" in done.stderr


def test_a_run_that_waits_ends_when_told_to(cachekit: Cachekit, origin: Origin) -> None:
    arguments = ("warm", "--state-dir", str(cachekit.state_dir), "--if-locked", "wait")
    with another_run(cachekit, origin):
        waiting = cachekit.start(*arguments)
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.communicate(timeout=3)
        waiting.send_signal(signal.SIGTERM)
        stdout, stderr = waiting.communicate(timeout=60)
    assert waiting.returncode == 143, stderr
    assert stdout == ""


# ---- the last run is fresh


def test_what_was_warmed_lately_is_skipped(cachekit: Cachekit, origin: Origin) -> None:
    assert warm(cachekit, "--max-age", "1h").code == 0
    done = warm(cachekit, "--max-age", "1h")
    assert done.code == 0
    assert done.stdout.startswith(f"SKIPPED  {SITE}\nthe last good run began ")
    assert done.stdout.endswith(" ago, and --max-age is 1 h 00 min\n")
    assert len(origin.requests) == 1
    assert warm(cachekit, "--max-age", "0s").code == 0
    assert len(origin.requests) == 2
    # Other URLs, and a run that did not go well, are no reason to skip.
    assert warm(cachekit, "--max-age", "1h", "--url", "/other").stdout.startswith("GO")
    origin.page("/broken", status=404)
    for _ in range(2):
        assert warm(cachekit, "--max-age", "1h", "--url", "/broken").code == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--resume",), "--expiring-within: a resumed run does not look again"),
        (("--verify", "off"), "--expiring-within: --verify off leaves out the headers"),
    ],
)
def test_a_renewal_needs_a_look_at_all_headers(
    cachekit: Cachekit, arguments: tuple[str, ...], message: str
) -> None:
    done = cachekit.warm("--expiring-within", "1h", *arguments)
    assert done.code == 2
    assert message in done.stderr
