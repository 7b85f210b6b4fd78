"""At which nodes a clear was not done, and what is left to do at the others."""

from cachekit.caches.base import Place
from cachekit.lost_nodes import lost, without_lost
from cachekit.outcomes import ActionReport, StepOutcome, StepResult
from cachekit.plan import Action, Plan, Step
from tests.shelves import NODES, Shelf

NAMES = ["web1", "web2", "edge1"]


def step(name: str, place: str, *shared_by: str) -> Step:
    at = Place(name=place, node=NODES.get(place), shared_by=shared_by)
    return Step(name=name, cache=Shelf(), action=Action.CLEAR, places=(at,))


def plan_of(*stages: tuple[Step, ...]) -> Plan:
    return Plan(action=Action.CLEAR, what="", stages=stages)


def lost_by(plan: Plan, **outcomes: StepOutcome) -> dict[str, str]:
    results = [
        StepResult(cache=each.name, place=each.place, layer=0, outcome=outcomes[each.name])
        for each in plan.steps
    ]
    return lost(plan, ActionReport(action="clear", what="", steps=tuple(results), elapsed=0), NAMES)


def test_a_node_is_lost_where_a_step_failed_or_was_skipped() -> None:
    plan = plan_of((step("a", "web1"), step("b", "web2")), (step("c", "edge1"),))
    done, failed, skipped = StepOutcome.DONE, StepOutcome.FAILED, StepOutcome.SKIPPED
    assert lost_by(plan, a=failed, b=done, c=skipped) == {
        "web1": "a at web1 was not cleared",
        "edge1": "c at edge1 was not cleared",
    }
    assert lost_by(plan, a=done, b=StepOutcome.UNKNOWN, c=done) == {}


def test_what_nodes_share_is_lost_for_all_of_them() -> None:
    shared, store = step("a", "web1", "web1", "web2"), step("b", "10.0.0.9:6379")
    assert list(lost_by(plan_of((shared,)), a=StepOutcome.FAILED)) in (
        ["web1", "web2"],
        ["web2", "web1"],
    )
    assert sorted(lost_by(plan_of((store,)), b=StepOutcome.FAILED)) == sorted(NAMES)


def test_what_reaches_a_good_node_is_left_to_do() -> None:
    alone, shared = step("a", "web1"), step("b", "web1", "web1", "web2")
    store = step("c", "10.0.0.9:6379")
    left = without_lost(plan_of((alone,), (shared, store)), {"web1": "why"}, NAMES)
    assert left.stages == ((shared, store),)
    assert without_lost(plan_of((alone, store)), dict.fromkeys(NAMES, ""), NAMES).steps == ()
