"""Annotations of GitHub Actions: what went wrong as workflow commands, each a line of its own."""

from collections.abc import Iterator
from typing import NamedTuple

from cachekit.golive.base import Standing
from cachekit.model import shown
from cachekit.reports.reasons import reasons_of
from cachekit.results import Outcome, WarmReport
from cachekit.runs import RunOutcome, RunReport, StepReport

_AT_MOST = 10
"""GitHub shows so many errors and so many warnings of one step of a job."""

_TITLE_LENGTH = 120
_MESSAGE_LENGTH = 4000
# https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands
_IN_MESSAGES = str.maketrans({mark: f"%{ord(mark):02X}" for mark in "%\r\n"})
_IN_TITLES = str.maketrans({mark: f"%{ord(mark):02X}" for mark in "%\r\n:,"})


class _Finding(NamedTuple):
    level: str
    about: str
    lines: tuple[str, ...]


def annotations(report: RunReport | WarmReport) -> list[str]:
    """Write the errors and the warnings of a run, the rest of each counted in the last."""
    if isinstance(report, RunReport):
        name, found = f"cachekit run {report.plan}", list(_of_run(report))
    else:
        name, found = "cachekit warm", list(_of_warm(report))
    return [
        _command(finding, name)
        for level in ("error", "warning")
        for finding in _limited([finding for finding in found if finding.level == level])
    ]


def _limited(found: list[_Finding]) -> Iterator[_Finding]:
    if len(found) <= _AT_MOST:
        yield from found
        return
    yield from found[: _AT_MOST - 1]
    more = len(found) - _AT_MOST + 1
    yield _Finding(found[0].level, "and more", (f"{more:,} more; the report names each",))


def _command(finding: _Finding, name: str) -> str:
    title = shown(f"{name}: {finding.about}")[:_TITLE_LENGTH]
    message = "\n".join(map(shown, finding.lines))[:_MESSAGE_LENGTH]
    return (
        f"::{finding.level} title={title.translate(_IN_TITLES)}::{message.translate(_IN_MESSAGES)}"
    )


def _of_run(report: RunReport) -> Iterator[_Finding]:
    if report.ended_early:
        yield _Finding("error", "ended early", (report.ended_early,))
    for step in report.steps:
        yield from _of_step(step)
    for node in report.nodes:
        if node.standing is Standing.UNKNOWN or (node.standing is Standing.OUT and node.reason):
            reason = f": {node.reason}" if node.reason else ""
            yield _Finding("warning", f"node {node.name}", (f"{node.standing}{reason}",))
    yield from (_Finding("warning", "note well", (warning,)) for warning in report.warnings)


def _of_step(step: StepReport) -> Iterator[_Finding]:
    about = f"step {step.id}, {step.title}"
    if step.outcome not in (RunOutcome.DONE, RunOutcome.SKIPPED):
        level = "error" if step.outcome is RunOutcome.FAILED else "warning"
        first, *others = reasons_of(step) or ("",)
        reason = f": {first}" if first else ""
        yield _Finding(level, about, (f"{step.outcome}{reason}", *others))
    yield from (_Finding("warning", about, (warning,)) for warning in step.warnings)


def _of_warm(report: WarmReport) -> Iterator[_Finding]:
    if report.ended_early:
        yield _Finding("error", "ended early", (report.ended_early,))
    for check in report.checks:
        if check.outcome is not Outcome.GO:
            level = "error" if check.outcome is Outcome.NO_GO else "warning"
            about = check.name + (f" on {check.node}" if check.node else "")
            yield _Finding(level, about, (f"{check.found}; wanted {check.wanted}",))
    for reason in report.reasons:
        if reason.failure or report.outcome is not Outcome.GO:
            level = "error" if reason.failure and report.outcome is Outcome.NO_GO else "warning"
            advice = (reason.advice,) if reason.advice else ()
            told = (f"{reason.count:,} x {reason.title}", *advice, *reason.examples)
            yield _Finding(level, reason.title, told)
    yield from (_Finding("warning", "note well", (warning,)) for warning in report.warnings)
