"""What clears, primes and looks at caches came to, as plain frozen data for reports."""

from dataclasses import dataclass
from enum import StrEnum

from cachekit.caches.base import Change, Status, Survey
from cachekit.caches.releases import Releases
from cachekit.errors import ExitCode
from cachekit.quantities import format_count, format_share


class StepOutcome(StrEnum):
    """How one step ended."""

    DONE = "done"
    UNKNOWN = "unknown"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """One action on one cache at one place (or all, where a cache shares its entries out).

    `found` is what the action gave, None if it gave nothing; `reason` says why it is not done.
    """

    cache: str
    place: str
    layer: int
    outcome: StepOutcome
    found: Change | Status | Survey | Releases | None = None
    reason: str = ""
    elapsed: float = 0.0


@dataclass(frozen=True, kw_only=True)
class ActionReport:
    """One clear, prime, status or survey of many caches. `elapsed` in seconds.

    `ended_early` says why not everything was started; empty if it was.
    """

    action: str
    what: str
    steps: tuple[StepResult, ...]
    elapsed: float
    notes: tuple[str, ...] = ()
    ended_early: str = ""

    @property
    def outcome(self) -> StepOutcome:
        """The worst of all steps; what was skipped counts as failed."""
        outcomes = {step.outcome for step in self.steps}
        if outcomes & {StepOutcome.FAILED, StepOutcome.SKIPPED} or self.ended_early:
            return StepOutcome.FAILED
        return StepOutcome.UNKNOWN if StepOutcome.UNKNOWN in outcomes else StepOutcome.DONE

    @property
    def blast_radius(self) -> str:
        """Sum up what a clear would touch; what cannot be counted is said, not left out."""
        surveys = [step.found for step in self.steps if isinstance(step.found, Survey)]
        counted = [each for each in surveys if each.found is not None]
        found, total = sum(each.found or 0 for each in counted), [each.total for each in counted]
        places = len({step.place for step in self.steps})
        text = f"{format_count(found, 'entry', 'entries')} at {format_count(places, 'place')}"
        if counted and None not in total and (of_all := sum(each or 0 for each in total)):
            text += f", {format_share(found / of_all)} of the {of_all:,} there"
        if unknown := len(self.steps) - len(counted):
            text += f"; {format_count(unknown, 'step')} cannot be counted beforehand"
        return text

    @property
    def exit_code(self) -> ExitCode:
        """What the process tells the deploy tool: what could not be known is no success."""
        return _EXIT_CODES[self.outcome]


_EXIT_CODES = {
    StepOutcome.DONE: ExitCode.OK,
    StepOutcome.UNKNOWN: ExitCode.DEGRADED,
    StepOutcome.FAILED: ExitCode.FAILED,
}


def judged(change: Change) -> tuple[StepOutcome, str]:
    """Judge a change by its evidence, and say why it is not done."""
    if change.stored is not None and not change.found:
        return StepOutcome.FAILED, "there was nothing to store"
    if change.skipped and not change.stored and not change.present and not change.left:
        return StepOutcome.FAILED, "nothing was stored: all of it has expired"
    if change.left:
        return StepOutcome.FAILED, f"{change.left:,} left"
    if change.left == 0 or change.evidence:
        return StepOutcome.DONE, ""
    return StepOutcome.UNKNOWN, "nothing proves that it took effect"
