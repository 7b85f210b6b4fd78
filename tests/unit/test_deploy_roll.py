"""Nodes roll in batches: what passed is in, what failed is out, whenever it is interrupted."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cachekit.caches.base import Change, Place
from cachekit.errors import UnreachableError
from cachekit.events import StepEnded, StepStarted
from cachekit.runs import RunReport
from cachekit.step_settings import ClearStep, RunStep
from cachekit.warming.stop import Stop
from tests import shelves
from tests.plans import Switch, compiled, killed, outcomes, resume, rolling, run

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


def test_some_may_fail_and_the_others_go_on(tmp_path: Path) -> None:
    site = Site("web1", "web2", batch="2", max_failed=2, max_out="3")
    report = run(site.plan, tmp_path)
    assert report.exit_code == 3
    assert site.switch.out == {"web1", "web2"}
    assert site.switch.most_out == 3
    assert site.cleared.count("web4") == 2


def test_nodes_that_stay_out_count(tmp_path: Path) -> None:
    site = Site("web1", max_failed=1, max_out="1")
    report = run(site.plan, tmp_path)
    assert report.exit_code == 1
    assert site.switch.turns == ["out web1"]
    assert "web1 are out: max_out 1" in report.steps[0].reason


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
    assert resume(site.plan, tmp_path).exit_code == 0
    assert site.cleared == ["web1", "web1", "web2", "web3", "web4"]


def test_the_last_node_that_serves_is_not_taken_out(tmp_path: Path) -> None:
    site = Site(out=("web2",), roll=("web1", "web2"))
    report = run(site.plan, tmp_path)
    assert report.exit_code == 1
    assert "nobody would serve" in report.steps[0].reason
    assert site.switch.out == {"web2"}


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
