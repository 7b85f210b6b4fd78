"""Faults in the order of a plan that each step alone does not show."""

from collections.abc import Iterator, Sequence
from itertools import combinations

from cachekit.deploy.work import CacheWork, GoLiveWork, RollWork, Stage, WarmWork, Work
from cachekit.errors import Problem
from cachekit.model import Node
from cachekit.plan import Action
from cachekit.plan import Step as CacheStep
from cachekit.scope import Kind
from cachekit.settings import Settings

PAGES = 40
"""The layer from which on caches hold pages, and refill from what is further in."""

# Reaping old entries undoes nothing, whenever it is done.
_HARMLESS = (Kind.RELEASE, Kind.OLDER_THAN)


def faults(settings: Settings, stages: Sequence[Stage]) -> Iterator[Problem]:
    """Find clears that run outside in, warmth that is undone, and sites taken out as a whole.

    Steps that are left out by their condition do no harm.
    """
    stages = _meant(stages)
    for work in _works(stages):
        if isinstance(work, RollWork):
            yield from _all_out(work)
        elif isinstance(work, GoLiveWork):
            yield from _switched_off(work)
            yield from _dark_at_start(settings, work)
    stages = list(_unrolled(stages))
    yield from _beside(stages)
    yield from _outside_in(settings, stages)
    yield from _undone(stages)


def doubts(settings: Settings, stages: Sequence[Stage]) -> Iterator[str]:
    """Say what may be wrong with a plan, and cannot be known without asking."""
    stages = list(_unrolled(_meant(stages)))
    works = _works(stages)
    edge = [work for work in works if isinstance(work, CacheWork) and clears_edge(work)]
    if edge and settings.release_check is None:
        yield (
            f"step {edge[0].id} clears an edge, and nothing tells which release the nodes run: it"
            " may refill with old pages; set release_check"
        )
    for warm, clear, step in _cold_again(stages, everything=False):
        yield (
            f"step {clear.id} clears {step.scope} of {step.name}, which step {warm.id} may have"
            " warmed; warm it afterwards"
        )


def clears_edge(work: CacheWork) -> bool:
    """Whether work clears pages that visitors would bring back."""
    return any(edges(work))


def edges(work: CacheWork) -> Iterator[CacheStep]:
    """Give the clears of pages that visitors would bring back."""
    return (step for step in work.plan.steps if _clears(step) and step.layer >= PAGES)


def _unrolled(stages: Sequence[Stage]) -> Iterator[Stage]:
    """Put the steps of a roll in its place; for order, all its batches are alike."""
    for stage in stages:
        yield stage
        for work in stage:
            if isinstance(work, RollWork):
                yield from _meant(work.preview)


def _meant(stages: Sequence[Stage]) -> list[Stage]:
    return [tuple(work for work in stage if not work.skip) for stage in stages]


def _works(stages: Sequence[Stage]) -> list[Work]:
    return [work for stage in stages for work in stage]


def _clears(step: CacheStep) -> bool:
    return step.action is Action.CLEAR and step.scope.kind not in _HARMLESS


def _clearing(stages: Sequence[Stage]) -> Iterator[tuple[int, Work, CacheStep]]:
    for number, stage in enumerate(stages):
        for work in stage:
            if isinstance(work, CacheWork):
                yield from ((number, work, step) for step in work.plan.steps if _clears(step))


def _outside_in(settings: Settings, stages: Sequence[Stage]) -> Iterator[Problem]:
    told = set()
    clears = list(_clearing(stages))
    for earlier, outer, out in clears:
        for later, inner, step in clears:
            pair = (outer.id, inner.id)
            if earlier >= later or step.layer >= out.layer or pair in told:
                continue
            if _refills(settings, out, step):
                told.add(pair)
                yield Problem(
                    f"step {inner.id}",
                    f"clears {step.name} after step {outer.id} cleared {out.name}, which is further"
                    " out and has refilled from it by then: clear inside out",
                )


def _undone(stages: Sequence[Stage]) -> Iterator[Problem]:
    beside = {work.id: stage for stage in stages for work in stage}
    for warm, clear, step in _cold_again(stages, everything=True):
        when = "beside" if clear in beside[warm.id] else "after"
        yield Problem(
            f"step {clear.id}",
            f"clears {step.name} {when} step {warm.id} warmed it: warm afterwards",
        )


def _cold_again(
    stages: Sequence[Stage], *, everything: bool
) -> Iterator[tuple[Work, Work, CacheStep]]:
    """Find warms with the clears that come after or beside them, once for each pair.

    Of everything, or else of some URLs or keys: nobody knows whether these were warmed.
    """
    told = set()
    for number, stage in enumerate(stages):
        for work in stage:
            if not isinstance(work, WarmWork):
                continue
            names = {node.name for node in work.nodes}
            for later, clear, step in _clearing(stages):
                touched = any(not place.node or place.node.name in names for place in step.places)
                if (step.scope.kind is Kind.EVERYTHING) is not everything:
                    continue
                if later >= number and touched and (work.id, clear.id) not in told:
                    told.add((work.id, clear.id))
                    yield work, clear, step


def _beside(stages: Sequence[Stage]) -> Iterator[Problem]:
    """Find steps side by side that cannot share nodes: turns would cross, and warms are locked."""
    for stage in stages:
        for one, other in combinations(stage, 2):
            kinds = RollWork | GoLiveWork
            turn = isinstance(one, kinds) and isinstance(other, kinds)
            warm = isinstance(one, WarmWork) and isinstance(other, WarmWork)
            both = [node.name for node in _turned(one) if node in _turned(other)]
            if (turn or warm) and both:
                yield Problem(
                    f"step {other.id}",
                    f"{'turns' if turn else 'warms'} {', '.join(both)} beside step {one.id}, which"
                    " does so as well: one after the other",
                )


def _turned(work: Work) -> tuple[Node, ...]:
    return (*work.nodes, *work.instead_of) if isinstance(work, GoLiveWork) else work.nodes


def _all_out(work: RollWork) -> Iterator[Problem]:
    nodes = len(work.nodes)
    if work.batch >= nodes or work.max_out >= nodes:
        most = "batch" if work.batch >= nodes else "max_out"
        yield Problem(
            f"step {work.id}",
            f"would take every node of {', '.join(node.name for node in work.nodes)} out at once:"
            f" {most} must be less than {nodes}",
        )


def _dark_at_start(settings: Settings, work: GoLiveWork) -> Iterator[Problem]:
    every = len(work.nodes) > 1 and len(work.nodes) == len(settings.nodes)
    if every and any(actor.starts_out for actor in work.actors.values()):
        yield Problem(
            f"step {work.id}",
            "takes every node out when the run starts: roll over them, put in a part of them by"
            " `on`, or let the actor say `at_start: keep`",
        )


def _switched_off(work: GoLiveWork) -> Iterator[Problem]:
    both = {node.name for node in work.nodes} & {node.name for node in work.instead_of}
    if both:
        yield Problem(
            f"step {work.id}", f"puts {', '.join(sorted(both))} in, and takes it out again"
        )


def _refills(settings: Settings, outer: CacheStep, inner: CacheStep) -> bool:
    """Whether what was cleared further out may have refilled from the inner cache.

    A node that has the inner cache itself refills from its own; any other, and a shared one, from
    all of them.
    """
    cache = settings.caches[inner.name.partition("/")[0]]
    homes = {place.node.name for place in cache.places(settings.nodes) if place.node}
    here, there = (
        {place.node.name for place in step.places if place.node} for step in (outer, inner)
    )
    return not here or not there or bool(here - homes) or not here.isdisjoint(there)
