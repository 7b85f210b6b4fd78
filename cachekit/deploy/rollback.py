"""A rollback leaves alone what is still warm for the release that it goes back to."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from cachekit.caches.base import Conditions, Releasing
from cachekit.plan import Action, Plan, Step
from cachekit.releases import entries_of
from cachekit.scope import Kind


@dataclass(frozen=True, kw_only=True)
class Spared:
    """What is left to do of a plan, and what is not, each with the reason."""

    plan: Plan
    kept: tuple[str, ...] = ()


def is_rollback(facts: Mapping[str, str]) -> bool:
    """Whether the release that goes live was live before."""
    return facts.get("rollback") == "true"


def spared(plan: Plan, conditions: Conditions) -> Spared:
    """Leave out of a plan what would flush, or fill, a cache that holds the release's entries.

    Where they cannot be counted, a clear is left out all the same: a cache that keeps releases
    apart has nothing stale for this one; a prime is done, as it adds only what is missing.
    """
    kept: list[str] = []
    stages = tuple(
        tuple(step for step in stage if not _keeps(step, conditions, kept)) for stage in plan.stages
    )
    return Spared(plan=replace(plan, stages=tuple(filter(None, stages))), kept=tuple(kept))


def _keeps(step: Step, conditions: Conditions, kept: list[str]) -> bool:
    cache, release = step.cache, conditions.release
    if not isinstance(cache, Releasing) or not cache.per_release or step.scope.kind is Kind.RELEASE:
        return False
    if step.action is Action.CLEAR:
        count = _entries(cache, step, conditions)
        told = "an unknown number of" if count is None else f"{count:,}"
        kept.append(f"{step.name} at {step.place}: not flushed: {told} entries of {release}")
        return True
    count = _entries(cache, step, conditions)
    if count:
        kept.append(f"{step.name} at {step.place}: still warm: {count:,} entries of {release}")
    return bool(count)


def _entries(cache: Releasing, step: Step, conditions: Conditions) -> int | None:
    """Count the entries of the release at all places of a step; None if that cannot be known."""
    counts = entries_of(cache, step.places, conditions.release, conditions).values()
    return None if None in counts else sum(count or 0 for count in counts)
