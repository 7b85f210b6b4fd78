"""What becomes of a plan: order, failures, guards, deadlines, a stop in between."""

from dataclasses import replace
from typing import Any

import pytest

from cachekit.caches.base import Change, Place
from cachekit.errors import ExitCode, UnreachableError
from cachekit.execution import Limits, execute, survey
from cachekit.outcomes import ActionReport, StepOutcome, judged
from cachekit.plan import Selection, plan_clear, plan_status
from cachekit.reports import actions
from cachekit.scope import EVERYTHING
from cachekit.warming.stop import Stop
from tests.shelves import Gate, GuardedShelf, Shelf, conditions, settings

SHORT = Limits(step_seconds=5.0)


def run(caches: dict[str, Shelf], limits: Limits = SHORT, **facts: Any) -> ActionReport:
    given = conditions(**facts)
    plan = plan_clear(settings(caches), Selection(), EVERYTHING, given)
    return execute(plan, given, limits=limits, stop=Stop(None))


def outcomes(report: ActionReport) -> dict[str, str]:
    return {f"{step.cache} {step.place}": step.outcome.value for step in report.steps}


def dead(place: Place, *_: object) -> Change:
    raise UnreachableError(place.name, "connection refused")


def dead_at_web1(place: Place, *_: object) -> Change:
    return dead(place) if place.name == "web1" else Change(left=0)


def test_a_dead_node_fails_alone_and_the_exit_code_is_1() -> None:
    report = run({"views": Shelf(does=dead_at_web1)})
    assert outcomes(report) == {"views web1": "failed", "views web2": "done"}
    assert report.exit_code is ExitCode.FAILED
    assert "connection refused" in report.steps[0].reason


def test_a_failed_layer_stops_the_outer_ones() -> None:
    pages = Shelf(layer=50, on=("edge",))
    report = run({"views": Shelf(layer=10, does=dead_at_web1), "pages": pages})
    assert outcomes(report)["pages edge1"] == "skipped"
    assert "views at web1 failed" in report.steps[-1].reason
    assert not pages.asked


def test_keep_going_clears_the_outer_ones_all_the_same() -> None:
    caches = {"views": Shelf(layer=10, does=dead), "pages": Shelf(layer=50, on=("edge",))}
    report = run(caches, replace(SHORT, keep_going=True))
    assert outcomes(report)["pages edge1"] == "done"
    assert report.exit_code is ExitCode.FAILED


def test_steps_of_one_stage_run_side_by_side() -> None:
    assert run({"views": Shelf(does=Gate(2))}).outcome is StepOutcome.DONE


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        (Change(found=3, removed=3, left=0), StepOutcome.DONE),
        (Change(evidence=("200 from the server",)), StepOutcome.DONE),
        (Change(found=3, removed=1, left=2, evidence=("listed",)), StepOutcome.FAILED),
        (Change(found=3, removed=3), StepOutcome.UNKNOWN),
        (Change(found=0, stored=0, left=0, evidence=("looked up",)), StepOutcome.FAILED),
    ],
)
def test_only_evidence_makes_a_change_done(change: Change, outcome: StepOutcome) -> None:
    assert judged(change)[0] is outcome


def test_what_cannot_be_known_is_no_success() -> None:
    report = run({"views": Shelf(does=lambda *_: Change(removed=1))})
    assert report.exit_code is ExitCode.DEGRADED
    assert "nothing proves" in actions.render(report)


@pytest.mark.parametrize(
    ("guards", "said"),
    [
        ({"max_keys": 9}, "10 entries would go, more than max_keys 9"),
        ({"max_share": 0.05}, "10 of 100 entries would go, more than max_share 5%"),
        ({"max_keys": 1, "found": None}, "cannot be counted"),
    ],
)
def test_a_guard_refuses_before_anything_is_removed(guards: dict[str, Any], said: str) -> None:
    cache = GuardedShelf(on=("web1",), **guards)
    report = run({"data": cache})
    assert outcomes(report) == {"data web1": "failed"}
    assert said in report.steps[0].reason
    assert not cache.asked


def test_force_lifts_the_guard() -> None:
    assert run({"data": GuardedShelf(max_keys=1)}, force=True).outcome is StepOutcome.DONE


def test_a_guard_that_is_kept_lets_the_clear_through() -> None:
    report = run({"data": GuardedShelf(max_keys=10, max_share=0.1)})
    assert report.outcome is StepOutcome.DONE


def test_each_step_has_a_deadline_of_its_own() -> None:
    def late(*asked: Any) -> Change:
        while True:
            asked[2].deadline.remaining()

    report = run({"views": Shelf(on=("web1",), does=late)}, Limits(step_seconds=0.05))
    assert "not done within 0.05 s; it may be done in part" in report.steps[0].reason


def test_after_a_stop_nothing_more_is_started() -> None:
    stop = Stop(None)

    def stopping(*_: object) -> Change:
        stop.request("stopped by SIGTERM")
        return Change(left=0)

    given = conditions()
    caches = {"views": Shelf(layer=10, on=("web1",), does=stopping), "data": Shelf(on=("web1",))}
    plan = plan_clear(settings(caches), Selection(), EVERYTHING, given)
    report = execute(plan, given, limits=SHORT, stop=stop)
    assert outcomes(report) == {"views web1": "done", "data web1": "skipped"}
    assert "ENDED EARLY: stopped by SIGTERM" in actions.render(report)


def test_a_bug_of_one_adapter_keeps_its_traceback_and_loses_nothing_that_others_did(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def buggy(*_: object) -> Change:
        raise ZeroDivisionError

    caches = {"views": Shelf(on=("web1",), does=buggy), "pages": Shelf(on=("web2",))}
    report = run(caches)
    assert outcomes(report) == {"views web1": "failed", "pages web2": "done"}
    assert report.steps[0].reason == "a bug in Shelf: ZeroDivisionError(); please tell its author"
    assert "Traceback" in caplog.text
    assert "views at web1" in caplog.text


def test_a_survey_changes_nothing_and_says_so() -> None:
    cache = GuardedShelf(on=("web1",))
    given = conditions()
    plan = plan_clear(settings({"data": cache}), Selection(), EVERYTHING, given)
    text = actions.render(survey(plan, given, limits=SHORT, stop=Stop(None)))
    assert not cache.asked
    assert "data   web1        10     100     ?  done" in text
    assert text.endswith("nothing was changed\n")


def test_a_status_is_a_table() -> None:
    given = conditions()
    plan = plan_status(settings({"views": Shelf(on=("web1",))}), Selection())
    report = execute(plan, given, limits=SHORT, stop=Stop(None))
    assert "views  web1        ?      1" in actions.render(report)
    assert report.exit_code is ExitCode.OK
