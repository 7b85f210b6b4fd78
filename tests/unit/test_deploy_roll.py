"""Nodes roll in batches: what passed is in, what failed is out, whenever it is interrupted."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cachekit.caches.base import Change, Conditions, Place
from cachekit.deadline import DeadlineError
from cachekit.errors import ConfigError, UnreachableError
from cachekit.events import StepEnded, StepStarted
from cachekit.reports.next_steps import after_run
from cachekit.runs import RunReport
from cachekit.scope import Scope
from cachekit.step_settings import ClearStep, PlanSettings, ReleaseCheck, RunStep, WaitStep
from cachekit.warming.stop import Stop
from tests import shelves
from tests.plans import WEB, Switch, compiled, killed, outcomes, resume, rolling, run, stages

CLEAR = ClearStep(clear=("views",))
DATA = ClearStep(clear=("data",))


class Site:
    """Four nodes behind a switch, whose caches fail where and as long as a test says."""

    def __init__(self, *failing: str, out: tuple[str, ...] = (), **keys: Any) -> None:
        self.failing = set(failing)
        self.switch = Switch(out=set(out))
        self.cleared: list[str] = []
        self.in_while_cleared: list[str] = []
        caches = {
            "views": shelves.Shelf(layer=10, does=self._clear),
            "data": shelves.Shelf(layer=30, does=self._clear),
        }
        steps = keys.pop("steps", (CLEAR, DATA))
        self.plan = compiled(rolling(*steps, **keys), caches=caches, golive={"lb": self.switch})

    def _clear(self, place: Place, *_: object) -> Change:
        if place.name not in self.switch.out:
            self.in_while_cleared.append(place.name)
        if place.name in self.failing:
            raise UnreachableError(place.name, "no route to host")
        self.cleared.append(place.name)
        return shelves.CLEARED


def standings(report: RunReport) -> dict[str, str]:
    return {node.name: node.standing.value for node in report.nodes}


ALL_IN = {f"web{n}": "in" for n in range(1, 5)}


def test_all_nodes_roll_one_after_another(tmp_path: Path) -> None:
    site = Site()
    report = run(site.plan, tmp_path)
    assert report.exit_code == 0
    assert standings(report) == ALL_IN
    assert site.switch.turns == [f"{to} web{n}" for n in range(1, 5) for to in ("out", "in")]
    assert not site.in_while_cleared
    assert {"1", "1/web1/1", "1/web1/2", "1/web4/2"} <= outcomes(report).keys()


class Protected(shelves.Shelf):
    def refusal(self, scope: Scope, conditions: Conditions) -> str:
        return "" if conditions.force else "it is kept for rollback; --force clears it"


def test_what_force_lifts_is_lifted_in_a_roll_too(tmp_path: Path) -> None:
    protected = {"views": Protected(layer=10)}
    with pytest.raises(ConfigError, match="kept for rollback"):
        compiled(rolling(CLEAR), caches=protected)
    plan = compiled(rolling(CLEAR), caches=protected, force=True)
    assert run(plan, tmp_path, force=True).exit_code == 0
    assert len(protected["views"].asked) == 4


def test_no_more_nodes_are_out_than_a_batch(tmp_path: Path) -> None:
    site = Site(batch="50%")
    assert run(site.plan, tmp_path).exit_code == 0
    assert site.switch.most_out == 2


def test_a_node_that_fails_stays_out_and_stops_the_roll(tmp_path: Path) -> None:
    site = Site("web2")
    report = run(site.plan, tmp_path)
    assert report.exit_code == 1
    assert site.switch.out == {"web2"}
    assert standings(report) == {"web1": "in", "web2": "out"}
    assert "no route to host" in report.nodes[1].reason
    assert "web3, web4 not reached: more failed than max_failed 0" in report.steps[0].reason
    assert after_run(report)[1] == "the roll did not reach web3, web4: still as before"


def test_some_may_fail_and_the_others_go_on(tmp_path: Path) -> None:
    site = Site("web1", "web2", batch="2", max_failed=2, max_out="3")
    report = run(site.plan, tmp_path)
    assert report.exit_code == 3
    assert site.switch.out == {"web1", "web2"}
    assert site.switch.most_out == 3
    assert site.cleared.count("web4") == 2
    assert "run the same command again once that is mended" in after_run(report)


def test_nodes_that_stay_out_count(tmp_path: Path) -> None:
    site = Site("web1", max_failed=1, max_out="1")
    report = run(site.plan, tmp_path)
    assert report.exit_code == 1
    assert site.switch.turns == ["out web1"]
    assert "no more than max_out 1 may be out: web1 is out" in report.steps[0].reason


def test_a_node_that_others_took_out_is_worked_on_and_left_out(tmp_path: Path) -> None:
    site = Site(out=("web3",), max_out="2")
    report = run(site.plan, tmp_path)
    assert report.exit_code == 3
    assert site.switch.out == {"web3"}
    assert site.cleared.count("web3") == 2
    assert any("not by cachekit" in text for text in report.steps[0].evidence)


def test_a_node_that_an_earlier_run_left_out_comes_back(tmp_path: Path) -> None:
    site = Site("web1")
    run(site.plan, tmp_path)
    site.failing.clear()
    report = run(site.plan, tmp_path)
    assert report.exit_code == 0
    assert site.switch.out == set()


def test_a_node_that_failed_is_done_from_its_first_step_once_it_is_mended(tmp_path: Path) -> None:
    site = Site(steps=(CLEAR, RunStep(run=("test", "-e", str(tmp_path / "mended")))))
    assert run(site.plan, tmp_path).exit_code == 1
    (tmp_path / "mended").touch()
    report = resume(site.plan, tmp_path)
    assert report.exit_code == 0
    assert [step.id for step in report.steps][:3] == ["1", "1/web1/1", "1/web1/2"]
    assert site.cleared == ["web1", "web1", "web2", "web3", "web4"]


def test_the_last_node_that_serves_is_not_taken_out(tmp_path: Path) -> None:
    site = Site(out=("web2",), roll=("web1", "web2"))
    report = run(site.plan, tmp_path)
    assert report.exit_code == 1
    assert "max_out 1 may be out: web2 is out" in report.steps[0].reason
    assert site.switch.out == {"web2"}
    assert site.cleared == ["web2", "web2"]


def test_nobody_is_taken_out_while_nobody_can_tell_who_serves(tmp_path: Path) -> None:
    site = Site()
    site.switch.breaks["standing"] = UnreachableError("lb1", "no route to host")
    report = run(site.plan, tmp_path)
    assert report.exit_code == 1
    assert "nobody would serve without web1: web1 is unknown" in report.steps[0].reason
    assert "no route to host" in report.steps[0].reason
    assert not site.switch.turns


@pytest.mark.parametrize("error", [ZeroDivisionError("x"), DeadlineError("not done within 60 s")])
@pytest.mark.parametrize("what", ["take_out", "standing"])
def test_whatever_an_actor_does_the_run_is_reported(
    tmp_path: Path, what: str, error: Exception
) -> None:
    site = Site()
    site.switch.breaks[what] = error
    report = run(site.plan, tmp_path)
    assert report.exit_code == 1
    assert str(error) in report.steps[0].reason
    assert site.switch.out == set()


def test_a_node_that_cannot_be_put_in_is_unknown_with_the_reason(tmp_path: Path) -> None:
    site = Site()
    site.switch.breaks["put_in"] = UnreachableError("lb1", "no route to host")
    report = run(site.plan, tmp_path)
    assert standings(report) == {"web1": "unknown"}
    assert "no route to host" in report.nodes[0].reason
    site.switch.breaks.clear()
    assert resume(site.plan, tmp_path).exit_code == 0
    assert site.switch.out == set()
    assert site.cleared.count("web1") == 2


def test_all_that_is_out_counts_wherever_it_stands(tmp_path: Path) -> None:
    site = Site(out=("web4",), max_out="2", batch="2")
    report = run(site.plan, tmp_path)
    assert report.exit_code == 3
    assert site.switch.most_out == 2
    assert site.cleared[:2] == ["web4", "web4"]
    assert site.cleared.count("web3") == 2


def test_a_node_that_others_took_out_and_that_fails_is_no_more_than_one(tmp_path: Path) -> None:
    site = Site("web1", "web2", out=("web1",), batch="2", max_out="2", max_failed=3)
    assert run(site.plan, tmp_path).exit_code == 1
    assert site.switch.most_out == 2
    site.failing.clear()
    again = run(site.plan, tmp_path)
    assert again.exit_code == 3
    assert site.switch.out == {"web1"}


def test_a_node_that_fails_does_not_cost_the_others_of_its_batch(tmp_path: Path) -> None:
    site = Site("web1", steps=(ClearStep(clear=("views", "data")),), batch="2", max_failed=1)
    assert run(site.plan, tmp_path).exit_code == 3
    assert site.switch.out == {"web1"}


def test_nodes_that_are_all_out_can_only_come_back(tmp_path: Path) -> None:
    site, stop = Site(roll=("web1", "web2")), Stop(None)
    run(site.plan, tmp_path, stop=stop, listener=stopping(stop, "1/web1/1"))
    site.switch.out.add("web2")
    resume(site.plan, tmp_path)
    assert site.switch.out == {"web2"}


def test_the_next_roll_is_not_taken_for_the_one_before(tmp_path: Path) -> None:
    mark = RunStep(run=("sh", "-c", f"echo {{node}} >> {tmp_path}/marks"))
    plan = compiled(rolling(CLEAR), rolling(mark))
    killed(plan, tmp_path, lambda event: isinstance(event, StepStarted) and event.id == "2")
    assert resume(plan, tmp_path).exit_code == 0
    assert (tmp_path / "marks").read_text().split() == list(ALL_IN)


def test_an_edge_rolls_only_once_the_nodes_behind_it_run_the_release(tmp_path: Path) -> None:
    edges = [shelves.node(f"edge{n}", f"127.0.1.{n}", "edge") for n in (1, 2)]
    pages = shelves.Shelf(layer=50, on=("edge",))
    plan = compiled(
        rolling(ClearStep(clear=("pages",)), roll=("edge",)),
        nodes={node.name: node for node in (*WEB, *edges)},
        caches={"pages": pages},
        release_check=ReleaseCheck(on=("web",), command=("echo", "r1"), wait=0.1),
    )
    report = run(plan, tmp_path)
    assert report.exit_code == 1
    assert not pages.asked
    assert standings(report) == {"edge1": "out"}
    assert "runs r1 and not r2" in report.steps[0].reason


def test_a_step_that_asks_for_a_rollback_gets_it_from_within_a_roll(tmp_path: Path) -> None:
    back = PlanSettings(steps=stages(RunStep(run=("true",))))
    step = RunStep(run=("false",), on_failure="rollback")
    report = run(compiled(rolling(step), plans={"rollback": back}), tmp_path)
    assert outcomes(report)["r1"] == "done"


def test_a_roll_ends_with_its_deadline(tmp_path: Path) -> None:
    wait = WaitStep(wait="0.3")
    limited = run(compiled(rolling(wait, CLEAR, deadline=0.1)), tmp_path)
    assert limited.exit_code == 1
    assert "the time budget of 0.1 s is spent" in limited.steps[0].reason
    assert not limited.ended_early


def test_a_node_that_cannot_be_taken_out_is_not_worked_on(tmp_path: Path) -> None:
    site = Site()
    site.switch.stuck.add("web1")
    report = run(site.plan, tmp_path)
    assert report.exit_code == 1
    assert not site.cleared
    assert site.switch.out == set()
    assert "cannot be taken out" in report.steps[0].reason


def test_a_step_that_is_for_other_nodes_is_left_out_of_a_batch(tmp_path: Path) -> None:
    only = ClearStep(clear=("data",), on=("web3",))
    site = Site(steps=(CLEAR, only))
    report = run(site.plan, tmp_path)
    assert report.exit_code == 0
    assert [key for key in outcomes(report) if key.endswith("/2")] == ["1/web3/2"]


def stopping(stop: Stop, step_id: str) -> Any:
    def listen(event: Any) -> None:
        if isinstance(event, StepStarted) and event.id == step_id:
            stop.request("stopped by SIGTERM")

    return listen


def test_an_interrupted_roll_says_what_is_out_and_goes_on(tmp_path: Path) -> None:
    site, stop = Site(), Stop(None)
    report = run(site.plan, tmp_path, stop=stop, listener=stopping(stop, "1/web2/1"))
    assert standings(report) == {"web1": "in", "web2": "out"}
    assert "web2: out, and not done with: stopped by SIGTERM" in report.steps[0].reason
    assert report.ended_early == "stopped by SIGTERM"
    again = resume(site.plan, tmp_path)
    assert again.exit_code == 0
    assert standings(again) == ALL_IN
    assert site.switch.out == set()


def test_what_has_passed_is_put_in_although_it_is_interrupted(tmp_path: Path) -> None:
    site, stop = Site(), Stop(None)

    def listen(event: Any) -> None:
        if isinstance(event, StepEnded) and event.step.id == "1/web1/2":
            stop.request("stopped by SIGTERM")

    report = run(site.plan, tmp_path, stop=stop, listener=listen)
    assert standings(report) == {"web1": "in"}
    assert site.switch.turns == ["out web1", "in web1"]


def test_a_node_that_fails_while_it_is_interrupted_stays_out(tmp_path: Path) -> None:
    site, stop = Site("web1", steps=(DATA,)), Stop(None)
    report = run(site.plan, tmp_path, stop=stop, listener=stopping(stop, "1/web1/1"))
    assert standings(report) == {"web1": "out"}
    assert site.switch.out == {"web1"}
    assert "--resume" in report.nodes[0].reason


def test_an_interrupted_roll_is_not_done_whatever_may_fail(tmp_path: Path) -> None:
    site, stop = Site(max_failed=2), Stop(None)
    report = run(site.plan, tmp_path, stop=stop, listener=stopping(stop, "1/web4/1"))
    assert report.exit_code == 1
    assert report.ended_early == "stopped by SIGTERM"
    assert resume(site.plan, tmp_path).exit_code == 0
    assert site.switch.out == set()


def test_a_stop_before_the_first_step_leaves_nodes_where_they_were(tmp_path: Path) -> None:
    site, stop = Site(out=("web1",), batch="2", max_out="3"), Stop(None)
    site.switch.when_out = lambda: stop.request("stopped by SIGTERM")
    run(site.plan, tmp_path, stop=stop)
    assert site.switch.out == {"web1"}
    assert set(site.cleared) == {"web1"}


def test_a_node_that_was_left_out_is_not_put_in_untouched(tmp_path: Path) -> None:
    site = Site("web1")
    run(site.plan, tmp_path)
    stop = Stop(None)
    site.switch.when_out = lambda: stop.request("stopped by SIGTERM")
    run(site.plan, tmp_path, stop=stop)
    assert site.switch.out == {"web1"}


@pytest.mark.parametrize("step", ["1", "1/web1/1", "1/web1/2", "1/web2/1", "1/web4/2"])
@pytest.mark.parametrize("kind", [StepStarted, StepEnded])
def test_a_killed_roll_goes_on_where_it_was(tmp_path: Path, step: str, kind: Any) -> None:
    site = Site()
    if (kind, step) == (StepEnded, "1"):
        step = "1/web3/2"

    def at(event: Any) -> bool:
        return (isinstance(event, kind) and getattr(event, "id", None) == step) or (
            isinstance(event, StepEnded) and kind is StepEnded and event.step.id == step
        )

    killed(site.plan, tmp_path, at)
    before = len(site.cleared)
    report = resume(site.plan, tmp_path)
    assert report.exit_code == 0
    assert standings(report) == ALL_IN
    assert site.switch.out == set()
    assert len(site.cleared) - before <= 8 - before + 1


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    failing=st.sets(st.sampled_from(sorted(ALL_IN))),
    batch=st.sampled_from(["1", "2", "3", "50%"]),
    max_failed=st.integers(0, 3),
)
def test_whatever_fails_the_rest_serves(
    tmp_path_factory: pytest.TempPathFactory, failing: set[str], batch: str, max_failed: int
) -> None:
    site = Site(*failing, batch=batch, max_failed=max_failed)
    report = run(site.plan, tmp_path_factory.mktemp("state"))
    turned = {name for name, standing in standings(report).items() if standing == "in"}
    assert site.switch.out <= failing
    assert turned.isdisjoint(failing)
    assert len(site.switch.out) < 4
    assert site.switch.most_out <= min(int(batch[0]) if batch != "50%" else 2, 3) + max_failed
    assert not site.in_while_cleared
