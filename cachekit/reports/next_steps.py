"""What to do next, after a run of the warmer or of a plan."""

from collections.abc import Container, Iterable, Iterator, Sequence

from cachekit.golive.base import Standing
from cachekit.results import Outcome, ReasonCount, WarmReport
from cachekit.runs import NOT_REACHED, NOT_STARTED, NodeReport, RunOutcome, RunReport, StepReport

_NAMED = 3


def after_warm(report: WarmReport) -> str:
    """Say what to do after a run of the warmer."""
    if report.ended_early:
        return "run again with --resume, or give it more time"
    if report.outcome is Outcome.GO:
        return "go live; the nodes meet every threshold"
    if report.outcome is Outcome.DEGRADED:
        return "decide; above the floor but below the target (exit 3). See the reasons above"
    if not report.targets:
        return "nothing was asked; see what the lists hold, and what was left out"
    return f"keep these nodes out (exit {report.exit_code}){most_of_all(report.reasons)}"


def most_of_all(reasons: Iterable[ReasonCount]) -> str:
    """Name the first reason and what to do about it, as the end of a sentence."""
    for reason in reasons:
        return f"; most of all: {reason.title} - {reason.advice}"
    return ""


def after_run(report: RunReport) -> tuple[str, ...]:
    """Say what to do after a run of a plan, the most urgent first."""
    return tuple(_after_run(report)) or (_when_done(report),)


def _after_run(report: RunReport) -> Iterator[str]:
    yield from _of_nodes(report.nodes)
    yield from _not_reached(report.steps)
    known = {node.reason for node in report.nodes}
    failed = _such(report.steps, RunOutcome.FAILED)
    yield from _of_steps(failed, "mend what failed in", known)
    back = [step for step in report.steps if step.id.startswith("r")]
    if back and all(_is_well(step) for step in back):
        yield "it was rolled back: run the same command again, from the beginning"
    elif back:
        yield "its rollback did not get to its end: run the plan of the rollback by itself"
    elif report.outcome is RunOutcome.FAILED:
        yield "run the same command again with --resume: what is done is not done again"
    elif failed:
        yield "run the same command again once that is mended"
    unproven = _such(report.steps, RunOutcome.UNKNOWN)
    yield from _of_steps(unproven, "look for yourself at what nothing proves:")
    below = _such(report.steps, RunOutcome.DEGRADED)
    yield from _of_steps(below, "decide; above the floor but below the target in")


def _is_well(step: StepReport) -> bool:
    if step.outcome is RunOutcome.SKIPPED:
        return not step.reason.startswith(NOT_STARTED)
    return step.outcome is not RunOutcome.FAILED or "/" in step.id


def _such(steps: Sequence[StepReport], outcome: RunOutcome) -> list[StepReport]:
    """Choose steps of an outcome; of a roll those within it, which say why."""
    such = [step for step in steps if step.outcome is outcome]
    within = [step.id for step in such if "/" in step.id]
    return [step for step in such if not any(each.startswith(f"{step.id}/") for each in within)]


def _of_nodes(nodes: Sequence[NodeReport]) -> Iterator[str]:
    for standing, advice in (
        (Standing.UNKNOWN, "look for yourself whether visitors reach"),
        (Standing.OUT, "no visitor reaches"),
    ):
        such = [node for node in nodes if node.standing is standing]
        for node in such[:_NAMED]:
            yield f"{advice} {node.name}" + (f": {node.reason}" if node.reason else "")
        if (more := len(such) - _NAMED) > 0:
            yield f"{advice} {more:,} more nodes; each is named below"


def _not_reached(steps: Sequence[StepReport]) -> Iterator[str]:
    left = {
        name: None
        for step in steps
        for name, why in step.lost.items()
        if why.startswith(NOT_REACHED)
    }
    if left:
        more = f" and {len(left) - _NAMED:,} more" if len(left) > _NAMED else ""
        yield f"the roll did not reach {', '.join([*left][:_NAMED])}{more}: still as before"


def _of_steps(
    steps: Sequence[StepReport], advice: str, known: Container[str] = ()
) -> Iterator[str]:
    for step in steps[:_NAMED]:
        reason = "" if step.reason in known else step.reason
        yield f"{advice} step {step.id} ({step.title})" + (f": {reason}" if reason else "")
    if (more := len(steps) - _NAMED) > 0:
        yield f"{advice} {more:,} more steps; each is named below"


def _when_done(report: RunReport) -> str:
    if all(step.outcome is RunOutcome.SKIPPED for step in report.steps):
        return "nothing was done: no step was to be done this time"
    if report.warnings or any(step.warnings for step in report.steps):
        return "nothing; all of it is proven; but read the warnings"
    return "nothing; all of it is proven"
