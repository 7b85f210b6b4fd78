"""Plans as written become plans with all names resolved, or are refused as a whole."""

from dataclasses import replace
from typing import Any

import pytest

from cachekit.deploy.compile import compile_plan
from cachekit.deploy.texts import expanded, holds
from cachekit.deploy.work import CacheWork, CheckWork, CommandWork, RollWork, WarmWork
from cachekit.errors import ConfigError
from cachekit.scope import Kind
from cachekit.settings import WarmList
from cachekit.sources.url_list import Urls
from cachekit.step_settings import (
    ClearStep,
    GoLiveStep,
    PlanSettings,
    PrimeStep,
    ReleaseCheck,
    RunStep,
    WaitStep,
    WarmStep,
)
from tests import plans, shelves
from tests.plans import FACTS, compiled, rolling

CLEAR_PAGES = ClearStep(clear=("pages",))
CLEAR_VIEWS = ClearStep(clear=("views",))
WARM = WarmStep(warm=("all",))
CACHES = {"views": shelves.Shelf(layer=10), "pages": shelves.Shelf(layer=50)}
LISTS = {"top": WarmList(source=Urls(urls=("/",)))}


def refused(*steps: Any, **facts: Any) -> str:
    with pytest.raises(ConfigError) as error:
        compiled(*steps, **facts)
    return str(error.value)


def test_every_kind_of_step_is_resolved() -> None:
    plan = compiled(
        (ClearStep(clear=("views",), key=("a",), on=("web1",)), RunStep(run=("echo a 'b c'",))),
        PrimeStep(prime=("objects",), source="file:records.jsonl"),
        WaitStep(wait="5s"),
        WarmStep(warm=("top",), on=("web2",), verify=None),
        GoLiveStep(golive=("lb",), on=("web1", "web2"), instead_of=("web3",)),
        caches={"views": CACHES["views"], "objects": shelves.PrimableShelf()},
        warmlists=LISTS,
    )
    assert [work.id for work in plan.works] == ["5-passive", "1a", "1b", "2", "3", "4", "5"]
    _, clear, command, prime, wait, warm, golive = plan.works
    assert isinstance(clear, CacheWork)
    assert [step.place for step in clear.plan.steps] == ["web1"]
    assert clear.plan.what == "key a"
    assert isinstance(command, CommandWork)
    assert command.argv == ("echo", "a", "b c")
    assert command.here
    assert [node.name for node in prime.nodes] == [f"web{n}" for n in range(1, 5)]
    assert wait.title == "wait 5s"
    assert isinstance(warm, WarmWork)
    assert warm.lists == ("top",)
    assert golive.title == "put in web1, web2 by lb, then take out web3"


def test_all_that_is_wrong_is_told_at_once_by_step() -> None:
    text = refused(
        ClearStep(clear=("views",), tag=("a",)),
        RunStep(run=("true",), on=("nowhere",)),
        PrimeStep(prime=("views",), source="donor:{previous}"),
    )
    assert "plans.deploy: step 1, clear: views: takes no --tag" in text
    assert "step 2, run: on: no node here is called nowhere" in text
    assert "step 3, prime: views: cannot be primed directly" in text


def test_an_unknown_plan_is_refused_with_what_there_is() -> None:
    with pytest.raises(ConfigError, match="did you mean 'deploy'"):
        compile_plan(plans.settings(CLEAR_VIEWS), "depoly", FACTS)


def test_facts_stand_in_texts_and_stay_one_word_of_a_command() -> None:
    plan = compile_plan(
        plans.settings(RunStep(run=("deploy --to {release}",)), release="r 2; rm"),
        "deploy",
        {**FACTS, "release": "r 2; rm"},
    )
    (work,) = plan.works
    assert isinstance(work, CommandWork)
    assert work.argv == ("deploy", "--to", "r 2; rm")


def test_what_is_no_fact_stays_as_it_is() -> None:
    assert expanded(r"/\d{3}/{release}/{other}", FACTS) == r"/\d{3}/r2/{other}"


@pytest.mark.parametrize(
    ("when", "wanted"),
    [
        ("{release} == r2", True),
        ("{release} != r2", False),
        ("{environment}", False),
        ("{previous}", True),
        ("{release}=={previous}", False),
    ],
)
def test_a_condition_is_a_text_or_a_comparison(when: str, wanted: bool) -> None:
    assert holds(when, FACTS) is wanted


def test_a_step_whose_condition_does_not_hold_is_left_out_with_it() -> None:
    plan = compiled(replace(CLEAR_VIEWS, when="{environment} == production"))
    assert plan.works[0].skip == "when: {environment} == production"


def test_an_edge_is_cleared_only_once_the_nodes_run_the_release() -> None:
    check = ReleaseCheck(on=("web1", "web2"), header="X-Release")
    plan = compiled(CLEAR_VIEWS, CLEAR_PAGES, caches=CACHES, release_check=check)
    assert [work.id for work in plan.works] == ["1", "2!", "2"]
    looked = plan.works[1]
    assert isinstance(looked, CheckWork)
    assert (looked.release, len(looked.nodes)) == ("r2", 2)


@pytest.mark.parametrize(
    ("on", "asked"),
    [
        (("web1",), "web1 runs r2"),
        (("web1", "web2"), "web1, web2 run r2"),
        (("edge1",), "web1, web2, web3, web4 run r2"),
        (("web1", "edge1"), "web1, web2, web3, web4 run r2"),
    ],
)
def test_an_edge_of_a_node_that_runs_the_application_refills_from_itself(
    on: tuple[str, ...], asked: str
) -> None:
    """So the passive one of two groups is cleared while the other runs the old release."""
    edge = shelves.node("edge1", "127.0.1.1", "edge")
    plan = compiled(
        replace(CLEAR_PAGES, on=on),
        caches={"pages": shelves.Shelf(layer=50, on=("web", "edge"))},
        nodes={node.name: node for node in (*plans.WEB, edge)},
        release_check=ReleaseCheck(on=("web",), header="X-Release"),
    )
    assert plan.works[0].title == f"check that {asked}"


def test_without_a_way_to_see_the_release_the_plan_warns() -> None:
    plan = compiled(CLEAR_PAGES, caches=CACHES)
    assert "nothing tells which release the nodes run" in plan.warnings[0]


def test_a_clear_outside_in_is_refused() -> None:
    text = refused(CLEAR_PAGES, CLEAR_VIEWS, caches=CACHES)
    assert "step 2: clears views after step 1 cleared pages" in text
    assert "clear inside out" in text


def test_caches_of_different_nodes_are_not_before_one_another() -> None:
    compiled(replace(CLEAR_PAGES, on=("web1",)), replace(CLEAR_VIEWS, on=("web2",)), caches=CACHES)


def test_an_edge_of_its_own_is_before_the_caches_of_all_nodes() -> None:
    edge = shelves.node("edge1", "127.0.1.1", "edge")
    caches = {**CACHES, "pages": shelves.Shelf(layer=50, on=("edge",))}
    nodes = {node.name: node for node in (*plans.WEB, edge)}
    text = refused(CLEAR_PAGES, CLEAR_VIEWS, caches=caches, nodes=nodes)
    assert "clear inside out" in text


def test_a_step_that_is_left_out_is_no_fault() -> None:
    never = replace(CLEAR_PAGES, when="{environment} == staging")
    compiled(WARM, never, caches=CACHES, warmlists=LISTS)
    compiled(replace(rolling(WARM), when="{environment}"), CLEAR_PAGES, caches=CACHES)


def test_a_clear_of_some_pages_after_a_warm_is_a_doubt() -> None:
    some = ClearStep(clear=("pages",), key=("/a",))
    plan = compiled(WARM, some, WARM, caches=CACHES, warmlists=LISTS)
    assert any("which step 1 may have warmed" in warning for warning in plan.warnings)


@pytest.mark.parametrize(
    ("stage", "what"),
    [
        ((WARM, replace(WARM, on=("web1",))), "warms web1 beside step 1a"),
        ((rolling(WARM), rolling(WARM)), "turns web1, web2, web3, web4 beside step 1a"),
        (
            (GoLiveStep(golive=("lb",), on=("web1",), instead_of=("web2",)), rolling(WARM)),
            "turns web1, web2 beside step 1a",
        ),
    ],
)
def test_steps_that_would_cross_are_refused_side_by_side(stage: Any, what: str) -> None:
    assert what in refused(stage, warmlists=LISTS)


def test_old_entries_may_be_reaped_at_any_time() -> None:
    reap = ClearStep(clear=("old",), older_than=("7d",))
    old = shelves.Shelf(layer=10)
    object.__setattr__(old, "scopes", frozenset(Kind))
    compiled(CLEAR_PAGES, WARM, reap, caches={**CACHES, "old": old}, warmlists=LISTS)


@pytest.mark.parametrize(
    "steps",
    [(WARM, CLEAR_PAGES), ((WARM, CLEAR_PAGES),), (rolling(WARM), CLEAR_PAGES)],
    ids=["after", "beside", "after a roll"],
)
def test_a_clear_that_undoes_a_warm_is_refused(steps: Any) -> None:
    assert "warm afterwards" in refused(*steps, caches=CACHES, warmlists=LISTS)


@pytest.mark.parametrize(
    "keys", [{"batch": "4"}, {"batch": "1", "max_out": "100"}, {"roll": ("web1",)}]
)
def test_a_roll_that_takes_all_nodes_out_is_refused(keys: dict[str, Any]) -> None:
    assert "out at once" in refused(rolling(CLEAR_VIEWS, **keys))


@pytest.mark.parametrize(("batch", "wanted"), [("2", 2), ("25%", 1), ("50%", 2), ("1%", 1)])
def test_a_batch_is_a_number_or_a_share(batch: str, wanted: int) -> None:
    (work,) = compiled(rolling(CLEAR_VIEWS, batch=batch)).works
    assert isinstance(work, RollWork)
    assert (work.batch, work.max_out) == (wanted, wanted)


def test_a_switch_that_takes_out_what_it_put_in_is_refused() -> None:
    step = GoLiveStep(golive=("lb",), on=("web",), instead_of=("web1",))
    assert "takes it out again" in refused(step)


def test_a_title_shows_no_words_of_a_command() -> None:
    (work,) = compiled(RunStep(run=("deploy --token s3cret",))).works
    assert work.title == "run deploy …"


def test_what_would_leave_nobody_in_at_the_start_is_refused() -> None:
    step = GoLiveStep(golive=("ready",))
    ready = {"ready": plans.Switch(starts_out=True)}
    assert "takes every node out when the run starts" in refused(step, golive=ready)
    compiled(GoLiveStep(golive=("ready",), on=("web1", "web2")), golive=ready)


def test_a_rollback_is_resolved_for_the_previous_release() -> None:
    back = PlanSettings(steps=plans.stages(RunStep(run=("switch {release}",))))
    plan = compiled(CLEAR_VIEWS, plan={"on_failure": "rollback"}, plans={"rollback": back})
    assert plan.rollback is not None
    (work,) = plan.rollback.works
    assert isinstance(work, CommandWork)
    assert work.argv == ("switch", "r1")
    assert plan.rollback.facts["rollback"] == "true"


def test_a_rollback_to_nothing_is_refused() -> None:
    keys = {"plan": {"on_failure": "rollback"}, "plans": {"rollback": PlanSettings()}}
    with pytest.raises(ConfigError, match="to which release"):
        compile_plan(plans.settings(CLEAR_VIEWS, **keys), "deploy", {**FACTS, "previous": ""})
