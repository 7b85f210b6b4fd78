"""`cachekit run`, `plan`, `history` and `show`: exit codes, formats, what goes over what."""

import json
import os
import signal
import time
import xml.etree.ElementTree as ET

import pytest

from tests.command import Cachekit, Finished

SETTINGS = """\
site: http://shop.example
release: ${RELEASE:-}
nodes: {web1: {address: 127.0.0.2}}
plans:
  deploy:
    - {title: switch, run: "sh -c 'echo {release} after {previous} >> log'"}
    - - {run: "true"}
      - {run: "true", when: "{environment} == production"}
  fails: [{run: "test -e mended"}, {run: "sh -c 'echo then >> log'"}]
  long: {steps: [{run: "sleep 60"}], finally: [{run: "sh -c 'echo last >> log'"}]}
  slow: {steps: [{wait: 30s}], finally: [{run: "sh -c 'echo last >> log'"}]}
  wrong: {steps: [{run: "true", on_failure: rollback}], rollback: slow}
"""

ROLLING = """\
site: http://shop.example
nodes: {web1: {address: 127.0.0.2}, web2: {address: 127.0.0.3}, web3: {address: 127.0.0.4}}
golive:
  lb: {type: command, enable: "rm -f {node}", disable: "touch {node}", ask: "test ! -e {node}"}
plans:
  deploy:
    - {roll: [web1, web2, web3], golive: lb, steps: [{wait: 10ms}, {run: "true"}]}
    - {roll: [web1, web2, web3], golive: lb, when: "{actor} == x", steps: [{run: "true"}]}
"""


@pytest.fixture
def command(cachekit: Cachekit) -> Cachekit:
    (cachekit.folder / "cachekit.yaml").write_text(SETTINGS)
    for name in [key for key in cachekit.environment if key.startswith(("GIT", "CI", "REL"))]:
        del cachekit.environment[name]
    return cachekit


def run(command: Cachekit, *arguments: str) -> Finished:
    return command.run(*arguments, "--state-dir", str(command.state_dir))


def log(command: Cachekit) -> str:
    path = command.folder / "log"
    return path.read_text() if path.exists() else ""


def test_a_plan_runs_and_says_what_it_did(command: Cachekit) -> None:
    done = run(command, "run", "deploy", "--release", "r2", "--previous", "r1")
    assert done.code == 0, done.stderr
    assert log(command) == "r2 after r1\n"
    assert done.stdout.startswith("DONE  deploy of r2 after r1  http://shop.example\n")
    assert "2b    run true" in done.stdout
    assert "when: {environment} == production" in done.stdout
    assert "started  1  switch" in done.stderr


def test_a_look_changes_nothing(command: Cachekit) -> None:
    for arguments in (("plan", "deploy"), ("run", "deploy", "--dry-run")):
        looked = run(command, *arguments, "--release", "r2")
        assert looked.code == 0, looked.stderr
        assert looked.stdout.startswith("PLAN  deploy of r2  http://shop.example\n")
        assert "how long is unknown" in looked.stdout
    assert log(command) == ""
    assert "no plan was run here yet" in run(command, "history").stdout


def test_a_look_knows_how_long_it_took_the_last_time(command: Cachekit) -> None:
    assert run(command, "run", "fails").code == 1
    (command.folder / "mended").touch()
    assert run(command, "run", "fails").code == 0
    looked = run(command, "plan", "fails", "--format", "json")
    assert json.loads(looked.stdout)["seconds"] > 0


def test_a_look_counts_the_batches_of_a_roll_that_takes_place(command: Cachekit) -> None:
    (command.folder / "cachekit.yaml").write_text(ROLLING)
    assert run(command, "run", "deploy", "--release", "r2").code == 0
    looked = json.loads(run(command, "plan", "deploy", "--format", "json").stdout)
    assert [step["id"] for step in looked["steps"]] == ["1", "1/1", "1/2", "2"]
    assert [step["seconds"] for step in looked["steps"]][1] == pytest.approx(0.03)
    assert looked["steps"][2]["seconds"] > 0
    assert looked["steps"][0]["seconds"] > 0  # its turns, which the steps within it do not count


def test_a_look_refuses_to_roll_where_nobody_tells_who_serves(command: Cachekit) -> None:
    unasked = ROLLING.replace(', ask: "test ! -e {node}"', "")
    (command.folder / "cachekit.yaml").write_text(unasked)
    looked = run(command, "plan", "deploy", "--release", "r2")
    assert looked.code == 2
    assert "where is web1, web2, web3? unknown: `ask` is not set" in looked.stdout


def test_a_release_that_does_not_print_is_refused(command: Cachekit) -> None:
    refused = run(command, "run", "deploy", "--release", "r\x1b[2J")
    assert refused.code == 2
    assert "release: expected an id of characters that print" in refused.stderr


def test_an_option_goes_over_the_settings_and_those_over_what_is_found(command: Cachekit) -> None:
    command.environment |= {"CACHEKIT_RELEASE": "found", "CACHEKIT_PREVIOUS": "before"}
    assert run(command, "run", "deploy").code == 0
    command.environment["RELEASE"] = "written"
    assert run(command, "run", "deploy").code == 0
    assert run(command, "run", "deploy", "--release", "said").code == 0
    assert log(command) == "found after before\nwritten after before\nsaid after before\n"


def test_a_plan_that_cannot_work_is_refused(command: Cachekit) -> None:
    for arguments in (("run", "wrong"), ("run", "nothing"), ("plan", "wrong")):
        refused = run(command, *arguments)
        assert refused.code == 2
        assert "to which release" in refused.stderr or "no plan is called" in refused.stderr


def test_a_failure_is_resumed_once_it_is_mended(command: Cachekit) -> None:
    failed = run(command, "run", "fails", "--release", "r2", "--format", "json")
    assert failed.code == 1
    assert [step["outcome"] for step in failed.report["steps"]] == ["failed", "skipped"]
    (command.folder / "mended").touch()
    done = run(command, "run", "fails", "--resume", "--format", "json")
    assert done.code == 0, done.stderr
    assert done.report["release"] == "r2"
    assert done.report["run"] == failed.report["run"]
    assert log(command) == "then\n"
    assert run(command, "run", "fails", "--resume").code == 2


def test_a_plan_that_was_changed_is_not_resumed(command: Cachekit) -> None:
    assert run(command, "run", "fails").code == 1
    settings = command.folder / "cachekit.yaml"
    settings.write_text(SETTINGS.replace("test -e mended", "true"))
    refused = run(command, "run", "fails", "--resume")
    assert refused.code == 2
    assert "was changed since this run" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(("--soft-fail",), 0), (("--soft-fail=3",), 1), (("--soft-fail=1,2",), 0)],
)
def test_a_soft_failure_is_said_and_exits_0(
    command: Cachekit, arguments: tuple[str, ...], code: int
) -> None:
    done = run(command, "run", "fails", *arguments)
    assert done.code == code
    assert done.stdout.startswith("FAILED  fails")
    assert ("--soft-fail: exit code 0 in place of 1" in done.stderr) is (code == 0)


def test_junit_tells_each_step(command: Cachekit) -> None:
    document = ET.fromstring(run(command, "run", "fails", "--format", "junit").stdout)
    assert len(document.findall(".//testcase")) == 2
    assert len(document.findall(".//failure")) == 1


def test_history_and_show_tell_of_runs(command: Cachekit) -> None:
    first = run(command, "run", "deploy", "--release", "r1", "--format", "json").report["run"]
    run(command, "run", "fails")
    listed = run(command, "history").stdout.splitlines()
    assert [line.split()[1] for line in listed] == ["plan", "fails", "deploy"]
    assert run(command, "show").stdout.startswith("FAILED  fails")
    shown = run(command, "show", first, "--format", "json")
    assert shown.report["release"] == "r1"
    missing = run(command, "show", "nothing")
    assert missing.code == 2
    assert "no run is called nothing" in missing.stderr


def started(command: Cachekit) -> None:
    """Wait until the plan waits."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        for path in (command.state_dir / "history").glob("*.jsonl"):
            if '"started": "1"' in path.read_text():
                return
        time.sleep(0.05)
    raise AssertionError("it did not start")


def test_a_stop_ends_the_plan_with_a_report(command: Cachekit) -> None:
    process = command.start("run", "slow", "--state-dir", str(command.state_dir))
    started(command)
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 143, stderr
    assert "ENDED EARLY: stopped by SIGTERM" in stdout
    assert log(command) == "last\n"


def test_a_second_signal_ends_the_command_that_runs(command: Cachekit) -> None:
    process = command.start("run", "long", "--state-dir", str(command.state_dir))
    started(command)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 143, stderr
    assert "sleep was ended: cut short" in stdout


def test_two_plans_of_a_site_do_not_run_together(command: Cachekit) -> None:
    process = command.start("run", "slow", "--state-dir", str(command.state_dir))
    try:
        started(command)
        locked = run(command, "run", "deploy")
        assert locked.code == 75
        assert f"process {process.pid}" in locked.stderr
        assert "ENDED EARLY: it goes on still" in run(command, "show").stdout
        skipped = run(command, "run", "deploy", "--if-locked", "skip")
        assert skipped.code == 0
        assert skipped.stdout.startswith("SKIPPED")
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=30)
    killed = run(command, "show")
    assert "ENDED EARLY: it was killed" in killed.stdout
    assert run(command, "run", "deploy").code == 0


def test_a_fresh_run_is_not_repeated(command: Cachekit) -> None:
    arguments = ("run", "deploy", "--release", "r1", "--max-age", "1h")
    assert run(command, *arguments).stdout.startswith("DONE")
    assert run(command, *arguments).stdout.startswith("SKIPPED")
    assert run(command, "run", "deploy", "--release", "r2", "--max-age", "1h").stdout.startswith(
        "DONE"
    )


def test_a_scheduled_run_waits_for_the_end_of_a_hold(command: Cachekit) -> None:
    assert run(command, "hold", "--reason", "moving racks").code == 0
    held = run(command, "run", "deploy", "--scheduled")
    assert held.code == 75
    assert "moving racks" in held.stderr
    assert run(command, "release").code == 0
    assert run(command, "run", "deploy", "--scheduled").code == 0


def test_a_check_tells_plans_that_could_run_for_no_release(command: Cachekit) -> None:
    (command.folder / "cachekit.yaml").write_text(
        """\
site: http://shop.example
nodes: {web1: {address: 127.0.0.2}}
caches: {pages: {type: varnish, on: web1, cli: "127.0.0.1:6082", secret_file: /secret}}
warmlists: {top: {urls: /}}
plans: {deploy: [{warm: top}, {clear: pages}]}
"""
    )
    done = command.run("check")
    assert done.code == 2
    assert "plans.deploy: step 2" in done.stderr
    assert "warm afterwards" in done.stderr
