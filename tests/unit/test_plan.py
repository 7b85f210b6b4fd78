"""Which cache is acted on where, in which order, and what is refused before anything is touched."""

import re
from dataclasses import dataclass

import pytest

from cachekit.caches.base import NOT_APPLICABLE
from cachekit.errors import ConfigError
from cachekit.plan import Action, Plan, Selection, Step, plan_clear, plan_prime, plan_status
from cachekit.scope import EVERYTHING, Kind, Scope
from cachekit.settings import Settings
from tests.shelves import (
    CoupledShelf,
    PrimableShelf,
    Shelf,
    TwoPartShelf,
    conditions,
    settings,
)

ALL = Selection()


def shown(plan: Plan) -> list[list[tuple[str, str]]]:
    return [[(step.name, step.place) for step in stage] for stage in plan.stages]


def refusals(error: ConfigError) -> str:
    return "\n".join(str(problem) for problem in error.problems)


def clear(given: Settings, selection: Selection = ALL, scope: Scope = EVERYTHING) -> Plan:
    return plan_clear(given, selection, scope, conditions())


def test_stages_run_inside_out_and_each_place_is_a_step() -> None:
    given = settings({"pages": Shelf(layer=50, on=("edge",)), "views": Shelf(layer=10)})
    assert shown(clear(given)) == [[("views", "web1"), ("views", "web2")], [("pages", "edge1")]]


def test_each_cache_and_place_comes_once_however_often_it_is_chosen() -> None:
    given = settings({"views": Shelf(on=("web", "web1"))})
    selection = Selection(caches=("views", "views"), nodes=("web1",), groups=("web",))
    assert shown(clear(given, selection)) == [[("views", "web1"), ("views", "web2")]]


def test_parts_lie_at_layers_of_their_own() -> None:
    given = settings({"code": TwoPartShelf(on=("web1",)), "data": Shelf(on=("web1",))})
    plan = clear(given)
    assert [stage[0].name for stage in plan.stages] == ["code/first", "data", "code/second"]


def test_one_part_of_a_cache_is_chosen_by_its_full_name() -> None:
    given = settings({"code": TwoPartShelf(on=("web1",)), "data": Shelf(on=("web1",))})
    one = Selection(caches=("code/second", "data"))
    assert shown(clear(given, one)) == [[("data", "web1")], [("code/second", "web1")]]
    assert shown(plan_status(given, Selection(caches=("code/first",)))) == [
        [("code/first", "web1")]
    ]


@pytest.mark.parametrize("names", [("code", "code/first"), ("code/second", "code"), ("code",) * 2])
def test_a_cache_and_its_parts_come_once(names: tuple[str, ...]) -> None:
    given = settings({"code": TwoPartShelf(on=("web1",))})
    plan = clear(given, Selection(caches=names))
    assert sorted(step.name for step in plan.steps) == ["code/first", "code/second"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("code/frist", "no part is called so; there are: code/first, code/second; did you mean"),
        ("data/first", "data/first: no part is called so; there are: data"),
        ("cod/first", "cod/first: no cache is called so; there are: code, data"),
    ],
)
def test_a_part_that_does_not_exist_is_told(name: str, said: str) -> None:
    given = settings({"code": TwoPartShelf(), "data": Shelf()})
    with pytest.raises(ConfigError, match=re.escape(said)):
        clear(given, Selection(caches=(name,)))


def test_a_part_is_primed_by_itself() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Parts(Shelf):
        def parts(self) -> dict[str, Shelf]:
            return {"user": PrimableShelf(on=self.on), "opcode": Shelf(on=self.on)}

    given = settings({"code": Parts(on=("web1",))})
    plan = plan_prime(given, Selection(caches=("code/user",)), "file", "r.jsonl", conditions())
    assert shown(plan) == [[("code/user", "web1")]]
    with pytest.raises(ConfigError, match="code: cannot be primed directly"):
        plan_prime(given, Selection(caches=("code/opcode",)), "file", "r.jsonl", conditions())


def test_a_node_or_group_narrows_every_cache() -> None:
    given = settings({"views": Shelf(), "pages": Shelf(layer=50, on=("edge",))})
    assert shown(clear(given, Selection(nodes=("web2",)))) == [[("views", "web2")]]
    assert shown(clear(given, Selection(groups=("edge",)))) == [[("pages", "edge1")]]


def test_everything_that_is_wrong_is_told_at_once_with_near_misses() -> None:
    given = settings({"views": Shelf()})
    with pytest.raises(ConfigError) as caught:
        clear(given, Selection(caches=("vews",), nodes=("wed1",), groups=("webs",)))
    text = refusals(caught.value)
    assert "vews: no cache is called so; there are: views; did you mean 'views'?" in text
    assert "--node wed1: no node is called so; did you mean 'web1'?" in text
    assert "--group webs: no group is called so; did you mean 'web'?" in text


def test_a_scope_that_a_cache_does_not_take_names_those_that_do() -> None:
    class Pages(Shelf):
        scopes = frozenset({Kind.TAG})

    given = settings({"views": Shelf(), "pages": Pages()})
    with pytest.raises(ConfigError) as caught:
        clear(given, Selection(caches=("views",)), Scope(Kind.TAG, ("t",)))
    assert refusals(caught.value) == "views: takes no --tag; these do: pages"


def test_a_refusal_stops_the_whole_plan() -> None:
    given = settings({"views": Shelf(), "data": Shelf(refuses="it is shared")})
    with pytest.raises(ConfigError, match="data: it is shared"):
        clear(given)


def test_a_part_that_a_scope_does_not_concern_is_left_out() -> None:
    class Parts(Shelf):
        def parts(self) -> dict[str, Shelf]:
            return {"user": Shelf(), "opcode": Shelf(refuses=f"{NOT_APPLICABLE}it has no keys")}

    given = settings({"code": Parts()})
    assert {step.name for step in clear(given, scope=Scope(Kind.KEY, ("k",))).steps} == {
        "code/user"
    }


def test_a_cache_that_a_clear_makes_stale_is_added_at_the_same_nodes() -> None:
    given = settings(
        {"views": CoupledShelf(layer=10, on=("web1",), other="code"), "code": Shelf(layer=20)}
    )
    plan = clear(given, Selection(caches=("views",)))
    assert shown(plan) == [[("views", "web1")], [("code", "web1")]]
    assert plan.steps[1].scope == Scope(Kind.PREFIX, ("/srv/",))
    assert plan.notes == ("code at web1 is added: views makes it stale",)


def test_what_is_cleared_anyway_is_not_added() -> None:
    given = settings(
        {"views": CoupledShelf(layer=10, on=("web1",), other="code"), "code": Shelf(on=("web1",))}
    )
    plan = clear(given)
    assert shown(plan) == [[("views", "web1")], [("code", "web1")]]
    assert not plan.notes


@dataclass(frozen=True, kw_only=True)
class CoupledPrimableShelf(CoupledShelf, PrimableShelf):
    pass


def test_what_a_prime_makes_stale_is_cleared_after_it_and_before_its_own_prime() -> None:
    given = settings(
        {
            "views": CoupledPrimableShelf(layer=10, on=("web1",), other="code"),
            "code": PrimableShelf(layer=20, on=("web1",)),
        }
    )
    plan = plan_prime(given, ALL, "file", "r.jsonl", conditions())
    assert [(step.name, step.action) for stage in plan.stages for step in stage] == [
        ("views", Action.PRIME),
        ("code", Action.CLEAR),
        ("code", Action.PRIME),
    ]
    assert [len(stage) for stage in plan.stages] == [1, 1, 1]


def test_a_sharded_cache_is_primed_at_all_its_places_in_one_step() -> None:
    given = settings({"data": PrimableShelf(sharded=True), "user": PrimableShelf()})
    steps = plan_prime(given, ALL, "file", "r.jsonl", conditions()).steps
    assert [(step.name, step.place) for step in steps] == [
        ("data", "web1, web2"),
        ("user", "web1"),
        ("user", "web2"),
    ]


def test_priming_from_what_a_cache_does_not_take_is_refused() -> None:
    given = settings({"data": PrimableShelf(), "pages": Shelf()})
    with pytest.raises(ConfigError) as caught:
        plan_prime(given, ALL, "path", "/srv", conditions())
    text = refusals(caught.value)
    assert "data: cannot be primed from path:; it takes donor, file" in text
    assert "pages: cannot be primed directly" in text


def test_a_donor_must_be_of_the_same_type() -> None:
    given = settings({"data": PrimableShelf(), "old": PrimableShelf(layer=31), "views": Shelf()})
    with pytest.raises(ConfigError, match="the donor views is a cache of another type"):
        plan_prime(given, Selection(caches=("data",)), "donor", "views", conditions())
    step: Step = plan_prime(given, Selection(caches=("data",)), "donor", "old", conditions()).steps[
        0
    ]
    assert [place.name for place in step.filling.donor_places] == ["web1", "web2"]


def test_a_cache_is_no_donor_of_itself() -> None:
    given = settings({"data": PrimableShelf(), "same": PrimableShelf()})
    for donor in ("data", "same"):
        with pytest.raises(ConfigError, match=f"the donor {donor} is the very same cache"):
            plan_prime(given, Selection(caches=("data",)), "donor", donor, conditions())


def test_a_status_takes_all_caches_in_one_stage() -> None:
    given = settings({"views": Shelf(layer=10), "pages": Shelf(layer=50, on=("edge",))})
    assert shown(plan_status(given, ALL)) == [
        [("views", "web1"), ("views", "web2"), ("pages", "edge1")]
    ]


def test_settings_without_caches_are_told() -> None:
    with pytest.raises(ConfigError, match="no `caches:`"):
        clear(settings({}))
