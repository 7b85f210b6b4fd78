"""What is to be done: steps, and the stages that they run in."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

from cachekit.caches.base import Cache, Filling, Place
from cachekit.errors import ConfigError, Problem
from cachekit.scope import EVERYTHING, Scope

NOTHING = Filling(kind="", value="")


class Action(StrEnum):
    """What a step does."""

    CLEAR = "clear"
    PRIME = "prime"
    STATUS = "status"
    RELEASES = "releases"


@dataclass(frozen=True, kw_only=True)
class Step:
    """One action on one cache, or a part of it, at one place; a sharded cache is primed at all."""

    name: str
    cache: Cache
    action: Action
    places: tuple[Place, ...]
    scope: Scope = EVERYTHING
    filling: Filling = NOTHING

    @property
    def layer(self) -> int:
        """Where the cache sits."""
        return self.cache.layer

    @property
    def place(self) -> str:
        """The names of its places."""
        return ", ".join(place.name for place in self.places)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Stages in order, inside out by layer; the steps of one may run side by side."""

    action: Action
    what: str
    stages: tuple[tuple[Step, ...], ...]
    notes: tuple[str, ...] = ()

    @property
    def steps(self) -> tuple[Step, ...]:
        """All steps in order."""
        return tuple(step for stage in self.stages for step in stage)


def staged(
    action: Action,
    what: str,
    steps: Sequence[Step],
    problems: Sequence[Problem],
    notes: Sequence[str] = (),
) -> Plan:
    """Sort steps into stages. Raises ConfigError with all problems, or where there is no step."""
    if problems or not steps:
        raise ConfigError(problems or "nothing to do: no cache is at the chosen nodes")
    stages = tuple(tuple(group) for _, group in groupby(sorted(steps, key=_turn), key=_turn))
    return Plan(action=action, what=what, stages=stages, notes=tuple(notes))


def _turn(step: Step) -> tuple[int, bool]:
    # Within a layer what is stale goes before something is put in.
    return step.layer, step.action is Action.PRIME
