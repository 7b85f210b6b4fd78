"""What becomes of a plan: order, failures, conditions, a kill, a stop, a rollback."""

import threading
from pathlib import Path
from typing import Any

import pytest

from cachekit.caches.base import Change, Conditions, Place
from cachekit.deploy import journal
from cachekit.deploy.work import DeployPlan
from cachekit.errors import JournalError, LockedError, UnreachableError
from cachekit.events import StepEnded, StepStarted
from cachekit.golive.base import Standing
from cachekit.lock import locked_one
from cachekit.scope import Scope
from cachekit.step_settings import ClearStep, GoLiveStep, PlanSettings, RunStep, WaitStep
from cachekit.warming.stop import Stop
from tests import plans, shelves
from tests.plans import WEB, compiled, killed, outcomes, resume, rolling, run, stages

CLEAR = ClearStep(clear=("views",))


def note(path: Path, text: str = "x") -> RunStep:
    """Make a step that leaves a mark each time it runs."""
    return RunStep(run=("sh", "-c", f"echo {text} >> {path}"))


def marks(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


def test_stages_run_in_order_and_their_steps_side_by_side(tmp_path: Path) -> None:
    together = shelves.Gate(2)
    caches = {"a": shelves.Shelf(on=("web1",), does=together)}
    caches["b"] = shelves.Shelf(on=("web1",), does=together)
    side_by_side = (ClearStep(clear=("a",)), ClearStep(clear=("b",)))
    report = run(
        compiled(note(tmp_path / "m", "first"), side_by_side, note(tmp_path / "m"), caches=caches),
        tmp_path,
    )
    assert outcomes(report) == dict.fromkeys(("1", "2a", "2b", "3"), "done")
    assert marks(tmp_path / "m") == ["first", "x"]
    assert report.exit_code == 0


def test_a_failed_step_ends_the_plan_and_not_what_is_final(tmp_path: Path) -> None:
    last = stages(note(tmp_path / "m", "last"))
    plan = compiled(RunStep(run=("false",)), note(tmp_path / "m"), plan={"last": last})
    report = run(plan, tmp_path)
    assert outcomes(report) == {"1": "failed", "2": "skipped", "f1": "done"}
    assert "not started: step 1 failed" in report.steps[1].reason
    assert marks(tmp_path / "m") == ["last"]
    assert report.exit_code == 1


def test_a_failure_may_be_of_no_account(tmp_path: Path) -> None:
    plan = compiled(RunStep(run=("false",), on_failure="continue"), note(tmp_path / "m"))
    report = run(plan, tmp_path)
    assert outcomes(report) == {"1": "failed", "2": "done"}
    assert report.exit_code == 1


def test_a_failure_rolls_back(tmp_path: Path) -> None:
    back = PlanSettings(steps=stages(RunStep(run=("sh", "-c", f"echo {{release}} >{tmp_path}/m"))))
    plan = compiled(
        RunStep(run=("false",)), plan={"on_failure": "rollback"}, plans={"rollback": back}
    )
    report = run(plan, tmp_path)
    assert outcomes(report) == {"1": "failed", "r1": "done"}
    assert marks(tmp_path / "m") == ["r1"]
    assert report.exit_code == 1


def with_rollback(path: Path) -> DeployPlan:
    """Make a plan that fails after `web1` got the release, and rolls back node by node."""
    switch = RunStep(run=("sh", "-c", f"echo {{release}} >> {path}/{{node}}"))
    fails = RunStep(run=("test", "{release} on {node}", "!=", "r2 on web2"))
    return compiled(
        rolling(switch, fails),
        plan={"on_failure": "rollback"},
        plans={"rollback": PlanSettings(steps=stages(rolling(switch, fails)))},
    )


def test_a_rollback_rolls_all_nodes_back_to_what_was_live(tmp_path: Path) -> None:
    report = run(with_rollback(tmp_path), tmp_path)
    found = outcomes(report)
    assert (found["1"], found["r1"]) == ("failed", "done")
    assert [marks(tmp_path / f"web{n}") for n in (1, 2)] == [["r2", "r1"]] * 2
    assert {node.name: node.standing for node in report.nodes} == {
        node.name: Standing.IN for node in WEB
    }


def test_a_resumed_run_rolls_back_what_its_earlier_part_did(tmp_path: Path) -> None:
    plan = with_rollback(tmp_path)
    killed(plan, tmp_path, lambda event: getattr(event, "id", "") == "1/web2/1")
    resume(plan, tmp_path)
    assert [marks(tmp_path / f"web{n}")[-1] for n in (1, 2)] == ["r1"] * 2


def test_a_run_that_was_rolled_back_cannot_be_resumed(tmp_path: Path) -> None:
    plan = with_rollback(tmp_path)
    run(plan, tmp_path)
    with pytest.raises(JournalError, match="rolled back"):
        resume(plan, tmp_path)


def test_a_step_is_left_out_by_its_condition(tmp_path: Path) -> None:
    step = RunStep(run=("false",), when="{environment} == production")
    report = run(compiled(step), tmp_path)
    assert outcomes(report) == {"1": "skipped"}
    assert report.exit_code == 0


def test_what_nothing_proves_is_degraded(tmp_path: Path) -> None:
    unproven = {"views": shelves.Shelf(does=lambda *_: Change())}
    report = run(compiled(CLEAR, note(tmp_path / "m"), caches=unproven), tmp_path)
    assert outcomes(report) == {"1": "unknown", "2": "done"}
    assert report.exit_code == 3


def test_a_bug_of_one_step_is_its_failure(tmp_path: Path) -> None:
    def broken(*_: object) -> Change:
        raise ZeroDivisionError

    report = run(compiled(CLEAR, caches={"views": shelves.Shelf(does=broken)}), tmp_path)
    assert "a bug in Shelf" in report.steps[0].reason


def test_nodes_that_a_step_fails_for_are_named(tmp_path: Path) -> None:
    def dead_at_web2(place: Place, *_: object) -> Change:
        if place.name == "web2":
            raise UnreachableError("web2", "connection refused")
        return shelves.CLEARED

    report = run(compiled(CLEAR, caches={"views": shelves.Shelf(does=dead_at_web2)}), tmp_path)
    assert list(report.steps[0].lost) == ["web2"]
    assert "connection refused" in report.steps[0].lost["web2"]


def test_a_command_on_nodes_knows_which(tmp_path: Path) -> None:
    step = RunStep(run=("sh", "-c", f"echo $CACHEKIT_RELEASE > {tmp_path}/{{node}}"), on=("web",))
    report = run(compiled(step), tmp_path)
    assert outcomes(report) == {"1": "done"}
    assert [marks(tmp_path / f"web{n}") for n in range(1, 5)] == [["r2"]] * 4


def test_a_killed_run_goes_on_at_the_step_it_was_in(tmp_path: Path) -> None:
    steps = [note(tmp_path / name) for name in "abc"]
    plan = compiled(*steps)
    killed(plan, tmp_path, lambda event: isinstance(event, StepStarted) and event.id == "2")
    assert [marks(tmp_path / name) for name in "abc"] == [["x"], [], []]
    report = resume(plan, tmp_path)
    assert [marks(tmp_path / name) for name in "abc"] == [["x"]] * 3
    assert report.exit_code == 0
    assert [step.id for step in report.steps] == ["1", "2", "3"]


def test_what_failed_is_done_again_by_a_resumed_run(tmp_path: Path) -> None:
    mended = RunStep(run=("test", "-e", str(tmp_path / "mended")))
    plan = compiled(note(tmp_path / "a"), mended, note(tmp_path / "b"))
    assert run(plan, tmp_path).exit_code == 1
    (tmp_path / "mended").touch()
    assert resume(plan, tmp_path).exit_code == 0
    assert [marks(tmp_path / name) for name in "ab"] == [["x"], ["x"]]


def test_a_run_that_is_done_cannot_be_resumed(tmp_path: Path) -> None:
    plan = compiled(note(tmp_path / "a"))
    run(plan, tmp_path)
    with pytest.raises(JournalError, match="no unfinished run of the plan deploy"):
        resume(plan, tmp_path)


def test_a_torn_line_of_the_record_costs_one_step(tmp_path: Path) -> None:
    plan = compiled(note(tmp_path / "a"), note(tmp_path / "b"))
    killed(plan, tmp_path, lambda event: isinstance(event, StepEnded) and event.step.id == "2")
    (path,) = (tmp_path / "history").glob("*.jsonl")
    path.write_bytes(path.read_bytes()[:-30])
    assert resume(plan, tmp_path).exit_code == 0
    assert marks(tmp_path / "a") == ["x"]
    assert marks(tmp_path / "b") == ["x", "x"]


def test_a_stop_ends_a_wait_and_is_said(tmp_path: Path) -> None:
    stop = Stop(None)
    plan = compiled(WaitStep(wait="1h"), note(tmp_path / "m"))

    def listen(event: Any) -> None:
        if isinstance(event, StepStarted):
            threading.Timer(0.1, stop.request, ("stopped by SIGTERM",)).start()

    report = run(plan, tmp_path, stop=stop, listener=listen)
    assert outcomes(report) == {"1": "failed", "2": "skipped"}
    assert report.ended_early == "stopped by SIGTERM"


def test_one_plan_of_a_site_runs_at_a_time(tmp_path: Path) -> None:
    plan = compiled(CLEAR)
    held = locked_one(tmp_path, "a plan of http://shop.example", "run")
    with held, pytest.raises(LockedError):
        run(plan, tmp_path)


def test_the_history_tells_what_each_run_did(tmp_path: Path) -> None:
    report = run(compiled(CLEAR, RunStep(run=("false",))), tmp_path)
    again = run(compiled(CLEAR), tmp_path)
    found = [record.report() for record in journal.records(tmp_path)]
    assert sorted(found, key=lambda each: each.run) == sorted(
        (report, again), key=lambda each: each.run
    )
    assert journal.find(tmp_path, report.run).report() == report


def test_what_starts_out_is_taken_out_before_anything_is_done(tmp_path: Path) -> None:
    switch = plans.Switch(starts_out=True)
    seen: list[set[str]] = []

    def look(_place: Place, _scope: Scope, _conditions: Conditions) -> Change:
        seen.append(set(switch.out))
        return shelves.CLEARED

    caches = {"views": shelves.Shelf(on=("web1",), does=look)}
    golive = GoLiveStep(golive=("lb",), on=("web1",))
    report = run(compiled(CLEAR, golive, caches=caches, golive={"lb": switch}), tmp_path)
    assert seen == [{"web1"}]
    assert switch.out == set()
    assert [(node.name, node.standing.value) for node in report.nodes] == [("web1", "in")]


def test_what_is_replaced_goes_only_once_the_others_are_in(tmp_path: Path) -> None:
    switch = plans.Switch(out={"web1", "web2"})
    step = GoLiveStep(golive=("lb",), on=("web1", "web2"), instead_of=("web3", "web4"))
    assert run(compiled(step, golive={"lb": switch}), tmp_path).exit_code == 0
    assert switch.out == {"web3", "web4"}
    assert set(switch.turns[:2]) == {"in web1", "in web2"}
