"""Faults in the order of a plan that each step alone does not show."""

from collections.abc import Iterator, Sequence

from cachekit.deploy.work import CacheWork, GoLiveWork, RollWork, Stage, WarmWork, Work
from cachekit.errors import Problem
from cachekit.plan import Action
from cachekit.plan import Step as CacheStep
from cachekit.scope import Kind
from cachekit.settings import Settings

PAGES = 40
"""The layer from which on caches hold pages, and refill from what is further in."""

# Reaping old entries undoes nothing, whenever it is done.
_HARMLESS = (Kind.RELEASE, Kind.OLDER_THAN)


def faults(stages: Sequence[Stage]) -> Iterator[Problem]:
    """Find clears that run outside in, warmth that is undone, and sites taken out as a whole."""
    works = _works(stages)
    stages = list(_unrolled(stages))
    yield from _outside_in(stages)
    yield from _undone(stages)
    for work in works:
        if isinstance(work, RollWork):
            yield from _all_out(work)
        elif isinstance(work, GoLiveWork):
            yield from _switched_off(work)


def doubts(settings: Settings, stages: Sequence[Stage]) -> Iterator[str]:
    """Say what may be wrong with a plan, and cannot be known without asking."""
    works = _works(list(_unrolled(stages)))
    edge = [work for work in works if isinstance(work, CacheWork) and clears_edge(work)]
    if edge and settings.release_check is None:
        yield (
            f"step {edge[0].id} clears an edge, and nothing tells which release the nodes run: it"
            " may refill with old pages; set release_check"
        )
    for work in works:
        if isinstance(work, GoLiveWork) and any(a.starts_out for a in work.actors.values()):
            yield f"step {work.id} puts nodes in that are taken out when the run starts"


def clears_edge(work: CacheWork) -> bool:
    """Whether work clears pages that visitors would bring back."""
    return any(_clears(step) and step.layer >= PAGES for step in work.plan.steps)


def _unrolled(stages: Sequence[Stage]) -> Iterator[Stage]:
    """Put the steps of a roll in its place; for order, all its batches are alike."""
    for stage in stages:
        yield stage
        for work in stage:
            if isinstance(work, RollWork):
                yield from work.preview


def _works(stages: Sequence[Stage]) -> list[Work]:
    return [work for stage in stages for work in stage]


def _clears(step: CacheStep) -> bool:
    return step.action is Action.CLEAR and step.scope.kind not in _HARMLESS


def _clearing(stages: Sequence[Stage]) -> Iterator[tuple[int, Work, CacheStep]]:
    for number, stage in enumerate(stages):
        for work in stage:
            if isinstance(work, CacheWork):
                yield from ((number, work, step) for step in work.plan.steps if _clears(step))


def _outside_in(stages: Sequence[Stage]) -> Iterator[Problem]:
    told = set()
    clears = list(_clearing(stages))
    for earlier, outer, out in clears:
        for later, inner, step in clears:
            pair = (outer.id, inner.id)
            if earlier < later and step.layer < out.layer and _meet(out, step) and pair not in told:
                told.add(pair)
                yield Problem(
                    f"step {inner.id}",
                    f"clears {step.name} after step {outer.id} cleared {out.name}, which is further"
                    " out and has refilled from it by then: clear inside out",
                )


def _undone(stages: Sequence[Stage]) -> Iterator[Problem]:
    told = set()
    for number, stage in enumerate(stages):
        for work in stage:
            if not isinstance(work, WarmWork):
                continue
            names = {node.name for node in work.nodes}
            for later, clear, step in _clearing(stages):
                touched = any(
                    place.node is None or place.node.name in names for place in step.places
                )
                if later >= number and touched and (work.id, clear.id) not in told:
                    told.add((work.id, clear.id))
                    when = "beside" if later == number else "after"
                    yield Problem(
                        f"step {clear.id}",
                        f"clears {step.name} {when} step {work.id} warmed it: warm afterwards",
                    )


def _all_out(work: RollWork) -> Iterator[Problem]:
    nodes = len(work.nodes)
    if work.batch >= nodes or work.max_out >= nodes:
        most = "batch" if work.batch >= nodes else "max_out"
        yield Problem(
            f"step {work.id}",
            f"would take every node of {', '.join(node.name for node in work.nodes)} out at once:"
            f" {most} must be less than {nodes}",
        )


def _switched_off(work: GoLiveWork) -> Iterator[Problem]:
    both = {node.name for node in work.nodes} & {node.name for node in work.instead_of}
    if both:
        yield Problem(
            f"step {work.id}", f"puts {', '.join(sorted(both))} in, and takes it out again"
        )


def _meet(one: CacheStep, other: CacheStep) -> bool:
    """Whether two caches may be before one another: a shared one is before all."""
    here, there = (
        {place.node.name for place in step.places if place.node} for step in (one, other)
    )
    return not here or not there or not here.isdisjoint(there)
