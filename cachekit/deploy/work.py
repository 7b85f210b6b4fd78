"""A compiled plan: stages of work with all names resolved, ready to be looked at or done."""

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, replace
from typing import Self

from cachekit.golive.base import GoLive
from cachekit.model import Node
from cachekit.plan import Plan, Step
from cachekit.settings import Settings
from cachekit.step_settings import OnFailure, ReleaseCheck, Steps


@dataclass(frozen=True, kw_only=True)
class Work:
    """One step, resolved. `id` tells where it stands, `seconds` how long it may take.

    `nodes` are those it is for; none for what concerns no node.
    """

    id: str
    title: str
    action: str
    nodes: tuple[Node, ...]
    seconds: float
    on_failure: OnFailure
    skip: str = ""
    """Why it is not to be done in this run; "" if it is."""

    def without(self, names: Container[str]) -> Self:
        """Leave out these nodes."""
        return replace(self, nodes=tuple(node for node in self.nodes if node.name not in names))


@dataclass(frozen=True, kw_only=True)
class CacheWork(Work):
    """A clear or prime of caches; `apart` if no node's caches refill from those of another."""

    plan: Plan
    apart: bool = False

    def without(self, names: Container[str]) -> Self:
        """Leave out what is done at these nodes alone."""

        def stays(step: Step) -> bool:
            return any(not place.node or place.node.name not in names for place in step.places)

        return replace(super().without(names), plan=_narrowed(self.plan, stays))


def by_place(plan: Plan) -> list[Plan]:
    """Split a plan into those of each place."""

    def at(place: str) -> Plan:
        return _narrowed(plan, lambda step: step.place == place)

    return list(map(at, dict.fromkeys(step.place for step in plan.steps)))


def _narrowed(plan: Plan, stays: Callable[[Step], bool]) -> Plan:
    stages = (tuple(filter(stays, stage)) for stage in plan.stages)
    return replace(plan, stages=tuple(filter(None, stages)))


@dataclass(frozen=True, kw_only=True)
class WarmWork(Work):
    """A run of the warmer, with its own settings laid over those of the site.

    `horizon` is the time in seconds within which pages are renewed that would expire.
    """

    settings: Settings
    lists: tuple[str, ...] | None
    variants: tuple[str, ...] | None
    horizon: float | None


@dataclass(frozen=True, kw_only=True)
class CommandWork(Work):
    """A command here, or on each of the nodes."""

    argv: tuple[str, ...]
    here: bool


@dataclass(frozen=True, kw_only=True)
class WaitWork(Work):
    """A pause in seconds."""

    pause: float


@dataclass(frozen=True, kw_only=True)
class CheckWork(Work):
    """All nodes must run the release, waited for at most `seconds`."""

    check: ReleaseCheck
    release: str


@dataclass(frozen=True, kw_only=True)
class StartOutWork(Work):
    """Take out what a later step puts in: a readiness file of old days proves nothing today."""

    actors: Mapping[str, GoLive]


@dataclass(frozen=True, kw_only=True)
class PassiveWork(Work):
    """Look that no visitor reaches the nodes that a later switch puts in: all before it is theirs.

    What cannot be known is no obstacle.
    """

    actors: Mapping[str, GoLive]


@dataclass(frozen=True, kw_only=True)
class GoLiveWork(Work):
    """Put `nodes` in, and then take out those that they stand instead of."""

    actors: Mapping[str, GoLive]
    instead_of: tuple[Node, ...]


@dataclass(frozen=True, kw_only=True)
class RollWork(Work):
    """Nodes go out, are worked on, and come back, batch by batch.

    `preview` is what `stages` come to for all nodes together.
    """

    actors: Mapping[str, GoLive]
    stages: tuple[Steps, ...]
    preview: "tuple[Stage, ...]"
    batch: int
    max_out: int
    max_failed: int
    settle: float
    turn: float


Stage = tuple[Work, ...]


@dataclass(frozen=True, kw_only=True)
class DeployPlan:
    """A plan with all names resolved. `digest` changes when the plan is written otherwise.

    `rollback` is what a failure may run, None if nothing asks for it.
    """

    name: str
    settings: Settings
    facts: Mapping[str, str]
    stages: tuple[Stage, ...]
    last: tuple[Stage, ...]
    rollback: "DeployPlan | None"
    seconds: float | None
    warnings: tuple[str, ...]
    digest: str

    @property
    def works(self) -> tuple[Work, ...]:
        """All work in order, but for the rollback."""
        return tuple(work for stage in (*self.stages, *self.last) for work in stage)
