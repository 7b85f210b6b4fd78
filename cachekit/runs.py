"""What a run of a plan came to, as plain frozen data for reports and for the history."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from cachekit.errors import ExitCode
from cachekit.golive.base import Standing

NOT_STARTED = "not started: "
"""How the reason begins of a step that should have been done, and was not."""
NOT_REACHED = "not reached: "
"""How the reason begins of a node that a roll should have come to, and did not."""


class RunOutcome(StrEnum):
    """How a step, or the whole run, ended; ordered from best to worst."""

    DONE = "done"
    SKIPPED = "skipped"
    DEGRADED = "degraded"
    UNKNOWN = "unknown"
    FAILED = "failed"

    @property
    def rank(self) -> int:
        """0 is best."""
        return tuple(RunOutcome).index(self)

    @property
    def exit_code(self) -> ExitCode:
        """What the process tells the deploy tool."""
        if self is RunOutcome.FAILED:
            return ExitCode.FAILED
        below = self in (RunOutcome.DEGRADED, RunOutcome.UNKNOWN)
        return ExitCode.DEGRADED if below else ExitCode.OK


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """One step of a plan. `started` is in epoch seconds, `elapsed` in seconds.

    `id` tells where it stands, as `2`, `3b` (side by side with `3a`), or `4/web1+web2/2` within a
    roll. `nodes` are those it was for, `lost` those of them that it failed for, each with the
    reason. `document` is the JSON document of what was done, as `cachekit clear` or `cachekit warm
    --format json` give it. `resumed` is true for what an earlier part of the run had done.
    """

    id: str
    title: str
    action: str
    outcome: RunOutcome
    nodes: tuple[str, ...] = ()
    lost: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""
    evidence: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    started: float = 0.0
    elapsed: float = 0.0
    document: Mapping[str, Any] | None = None
    resumed: bool = False


@dataclass(frozen=True, kw_only=True)
class NodeReport:
    """Where the run left a node, and why."""

    name: str
    standing: Standing
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """One run of a plan, complete. `started` in epoch seconds, `elapsed` in seconds since then.

    `run` names it in the history. `facts` are those of the deploy: tool, environment, actor, … as
    `cachekit context` shows them. `ended_early` says why not everything was started.
    """

    run: str
    plan: str
    site: str
    release: str
    previous: str
    facts: Mapping[str, str]
    started: float
    elapsed: float
    outcome: RunOutcome
    exit_code: int
    ended_early: str
    warnings: tuple[str, ...]
    steps: tuple[StepReport, ...]
    nodes: tuple[NodeReport, ...]


@dataclass(frozen=True, kw_only=True)
class StepForecast:
    """What one step of a plan would do.

    `found` is what a look told, `refusal` why it cannot work, `skip` why it would be left out.
    `seconds` is what it took the last time, None if it never ran.
    """

    id: str
    title: str
    action: str
    nodes: tuple[str, ...]
    skip: str
    found: tuple[str, ...]
    refusal: str
    seconds: float | None


@dataclass(frozen=True, kw_only=True)
class PlanForecast:
    """What a run of a plan would do; `seconds` in all, None if a step never ran before."""

    plan: str
    site: str
    release: str
    previous: str
    facts: Mapping[str, str]
    warnings: tuple[str, ...]
    steps: tuple[StepForecast, ...]
    seconds: float | None

    @property
    def exit_code(self) -> ExitCode:
        """A plan of which a step cannot work is refused before anything is touched."""
        return ExitCode.USAGE if any(step.refusal for step in self.steps) else ExitCode.OK
