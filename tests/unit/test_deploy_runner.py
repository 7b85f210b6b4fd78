"""What becomes of a plan: order, failures, conditions, a kill, a stop, a rollback."""

import errno
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cachekit.caches.base import Change, Conditions, Place
from cachekit.deploy import history
from cachekit.deploy.compile import compile_plan
from cachekit.deploy.doing import on_each
from cachekit.deploy.work import DeployPlan
from cachekit.errors import (
    CachekitError,
    JournalError,
    LockedError,
    UnexpectedReplyError,
    UnreachableError,
)
from cachekit.events import StepEnded, StepStarted
from cachekit.golive.base import Standing
from cachekit.lock import locked_one
from cachekit.model import Node
from cachekit.reports.next_steps import after_run
from cachekit.scope import Scope
from cachekit.step_settings import (
    ClearStep,
    GoLiveStep,
    PlanSettings,
    ReleaseCheck,
    RunStep,
    WaitStep,
)
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


def test_a_run_that_is_told_to_end_is_resumed_and_not_rolled_back(tmp_path: Path) -> None:
    plan, stop = with_rollback(tmp_path), Stop(None)

    def listen(event: Any) -> None:
        if isinstance(event, StepStarted) and event.id == "1/web1/1":
            stop.request("stopped by SIGTERM")

    report = run(plan, tmp_path, stop=stop, listener=listen)
    assert "r1" not in outcomes(report)
    assert outcomes(resume(plan, tmp_path))["r1"] == "done"


def test_what_to_do_after_a_rollback_is_said(tmp_path: Path) -> None:
    for command, advice in (("true", "it was rolled back"), ("false", "did not get to its end")):
        back = PlanSettings(steps=stages(RunStep(run=(command,)), CLEAR))
        keys: dict[str, Any] = {"plan": {"on_failure": "rollback"}, "plans": {"rollback": back}}
        report = run(compiled(RunStep(run=("false",)), **keys), tmp_path)
        assert any(advice in line for line in after_run(report))


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


def test_a_stop_does_not_end_what_is_final_but_another_one_does(tmp_path: Path) -> None:
    stop = Stop(None)
    last = stages(note(tmp_path / "m", "last"), WaitStep(wait="1h"), note(tmp_path / "m", "never"))
    plan = compiled(WaitStep(wait="1h"), plan={"last": last})

    def listen(event: Any) -> None:
        if isinstance(event, StepStarted) and event.id in ("1", "f2"):
            stop.request("stopped by SIGTERM")

    report = run(plan, tmp_path, stop=stop, listener=listen)
    assert outcomes(report) == {"1": "failed", "f1": "done", "f2": "failed", "f3": "skipped"}
    assert marks(tmp_path / "m") == ["last"]


def test_what_is_final_is_done_by_each_part_of_a_run(tmp_path: Path) -> None:
    mended = RunStep(run=("test", "-e", str(tmp_path / "mended")))
    plan = compiled(mended, plan={"last": stages(note(tmp_path / "m"))})
    run(plan, tmp_path)
    (tmp_path / "mended").touch()
    assert resume(plan, tmp_path).exit_code == 0
    assert marks(tmp_path / "m") == ["x", "x"]


def test_a_full_disk_stops_the_run_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    switch, disk = plans.Switch(), os.write
    last = stages(note(tmp_path / "m", "last"))
    plan = compiled(rolling(CLEAR), golive={"lb": switch}, plan={"last": last})

    def full(file: int, data: bytes) -> int:
        if data.lstrip().startswith(b'{"at"'):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return disk(file, data)

    def listen(event: Any) -> None:
        if isinstance(event, StepEnded) and event.step.id == "1/web2/1":
            monkeypatch.setattr(os, "write", full)

    report = run(plan, tmp_path, listener=listen)
    assert report.exit_code == 1
    assert "No space left on device" in report.ended_early
    assert "No space left on device" in report.warnings[-1]
    assert switch.turns == ["out web1", "in web1", "out web2", "in web2"]
    assert marks(tmp_path / "m") == ["last"]


def test_an_edge_is_kept_as_it_is_whatever_may_fail(tmp_path: Path) -> None:
    pages = shelves.Shelf(layer=50)
    plan = compiled(
        ClearStep(clear=("pages",)),
        caches={"pages": pages},
        release_check=ReleaseCheck(on=("web",), command=("echo", "r1"), wait=0.1),
        plan={"on_failure": "continue"},
    )
    assert run(plan, tmp_path).exit_code == 1
    assert not pages.asked


def test_steps_side_by_side_may_be_many(tmp_path: Path) -> None:
    report = run(compiled((note(tmp_path / "m"),) * 30), tmp_path)
    assert marks(tmp_path / "m") == ["x"] * 30
    assert {"1a", "1z", "1aa", "1ad"} <= outcomes(report).keys()


def test_a_run_is_not_resumed_once_another_release_has_run(tmp_path: Path) -> None:
    backs = {"back": PlanSettings(steps=stages(RunStep(run=("true",))))}
    plan = compiled(RunStep(run=("false",)), plans=backs)
    run(plan, tmp_path)
    settings = replace(plan.settings, release="r1", previous="r2")
    facts = {**plans.FACTS, "release": "r1", "previous": "r2"}
    run(compile_plan(settings, "back", facts), tmp_path)
    with pytest.raises(JournalError, match="back of r1 ran since"):
        resume(plan, tmp_path)


@pytest.mark.parametrize(
    "line",
    ["", "[1]", '{"run": 5}', '{"at": 1, "run": {"cachekit": 2}}', '{"run": {"cachekit": 1}}'],
)
def test_what_is_no_record_of_ours_is_passed_over(tmp_path: Path, line: str) -> None:
    report = run(compiled(CLEAR), tmp_path)
    (tmp_path / "history" / "99999999T000000.000Z-deploy.jsonl").write_text(f"{line}\n")
    assert [record.name for record in history.records(tmp_path)] == [report.run]


def test_one_plan_of_a_site_runs_at_a_time(tmp_path: Path) -> None:
    plan = compiled(CLEAR)
    held = locked_one(tmp_path, "a plan of http://shop.example", "run")
    with held, pytest.raises(LockedError):
        run(plan, tmp_path)


def test_the_history_tells_what_each_run_did(tmp_path: Path) -> None:
    report = run(compiled(CLEAR, RunStep(run=("false",))), tmp_path)
    again = run(compiled(CLEAR), tmp_path)
    found = [record.report() for record in history.records(tmp_path)]
    assert sorted(found, key=lambda each: each.run) == sorted(
        (report, again), key=lambda each: each.run
    )
    assert history.find(tmp_path, report.run).report() == report


def test_runs_of_one_plan_do_not_displace_those_of_another(tmp_path: Path) -> None:
    folder = tmp_path / "history"
    folder.mkdir()
    for number in range(120):
        (folder / f"20260101T{number:06d}.000Z-nightly.jsonl").touch()
    (folder / "20250101T000000.000Z-deploy.jsonl").touch()
    run(compiled(CLEAR), tmp_path)
    names = [path.stem.partition("-")[2] for path in folder.iterdir()]
    assert (names.count("nightly"), names.count("deploy")) == (100, 2)


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


@pytest.mark.parametrize("kind", [StepStarted, StepEnded])
def test_what_starts_out_is_so_on_record(tmp_path: Path, kind: Any) -> None:
    switch = plans.Switch(starts_out=True)
    plan = compiled(GoLiveStep(golive=("lb",), on=("web1",)), golive={"lb": switch})
    killed(plan, tmp_path, lambda event: isinstance(event, kind))
    assert resume(plan, tmp_path).exit_code == 0
    assert switch.out == set()


def test_nothing_is_done_where_what_starts_out_does_not(tmp_path: Path) -> None:
    switch = plans.Switch(starts_out=True, stuck={"web1"})
    step = GoLiveStep(golive=("lb",), on=("web1",))
    report = run(compiled(note(tmp_path / "m"), step, golive={"lb": switch}), tmp_path)
    assert report.exit_code == 1
    assert outcomes(report) == {"2-out": "failed", "1": "skipped", "2": "skipped"}


def test_what_is_not_put_in_does_not_start_out(tmp_path: Path) -> None:
    switch = plans.Switch(starts_out=True)
    step = GoLiveStep(golive=("lb",), on=("web1",), when="{environment} == production")
    assert run(compiled(step, golive={"lb": switch}), tmp_path).exit_code == 0
    assert not switch.turns


def test_a_passive_group_that_serves_is_left_alone(tmp_path: Path) -> None:
    switch = plans.Switch(out={"web3", "web4"})
    step = GoLiveStep(golive=("lb",), on=("web1", "web2"), instead_of=("web3", "web4"))
    cache = shelves.Shelf(on=("web1",))
    report = run(compiled(CLEAR, step, caches={"views": cache}, golive={"lb": switch}), tmp_path)
    assert report.exit_code == 1
    assert "is it the other way round?" in report.steps[0].reason
    assert not cache.asked
    assert not switch.turns


def test_what_is_replaced_goes_only_once_the_others_are_in(tmp_path: Path) -> None:
    switch = plans.Switch(out={"web1", "web2"})
    step = GoLiveStep(golive=("lb",), on=("web1", "web2"), instead_of=("web3", "web4"))
    assert run(compiled(step, golive={"lb": switch}), tmp_path).exit_code == 0
    assert switch.out == {"web3", "web4"}
    assert set(switch.turns[:2]) == {"in web1", "in web2"}


@pytest.mark.parametrize(
    "error",
    [CachekitError("gone"), UnreachableError("web1", "gone"), UnexpectedReplyError("web1", "gone")],
)
def test_a_node_is_named_once(error: CachekitError) -> None:
    def fail(_node: Node) -> None:
        raise error

    assert on_each(WEB[:1], fail) == {"web1": "gone"}
