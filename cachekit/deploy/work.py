"""A compiled plan: stages of work with all names resolved, ready to be looked at or done."""

from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from typing import Self

from cachekit.golive.base import GoLive
from cachekit.model import Node
from cachekit.plan import Plan
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

    def only(self, names: Container[str]) -> Self:
        """Leave out all other nodes."""
        return replace(self, nodes=tuple(node for node in self.nodes if node.name in names))


@dataclass(frozen=True, kw_only=True)
class CacheWork(Work):
    """A clear or prime of caches."""

    plan: Plan

    def only(self, names: Container[str]) -> Self:
        """Leave out what is done at other nodes."""
        stages = (
            tuple(s for s in stage if any(p.node and p.node.name in names for p in s.places))
            for stage in self.plan.stages
        )
        return replace(
            self,
            nodes=tuple(node for node in self.nodes if node.name in names),
            plan=replace(self.plan, stages=tuple(filter(None, stages))),
        )


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
