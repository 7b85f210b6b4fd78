"""What caches hold of each release, for people, and how to reap what is old."""

import shlex
from collections.abc import Iterator

from cachekit.caches.releases import ReleaseEntries, Releases, Role
from cachekit.outcomes import ActionReport, StepResult
from cachekit.quantities import format_bytes, format_seconds
from cachekit.reports.table import table

_HEADINGS = ("cache", "at", "release", "items", "size", "newest", "")
_ROLES = {
    Role.LIVE: "live",
    Role.PREVIOUS: "kept for rollback",
    Role.OLD: "old",
    Role.UNKNOWN: "?",
}
_MINUTE = 60
_DAY = 86400


def lines(report: ActionReport) -> Iterator[str]:
    """Write the table of all releases at all places."""
    yield from table(_HEADINGS, [row for step in report.steps for row in _rows(step)])


def reaping(report: ActionReport) -> Iterator[str]:
    """Write the commands that reap what is old, each once for all places of a cache."""
    commands = {
        shlex.join(("cachekit", "clear", step.cache, f"--{each.scope.kind}", *each.scope.values))
        for step in report.steps
        for each in _entries(step)
        if each.role is Role.OLD and each.items != 0
    }
    if commands:
        yield ""
        yield "what is old is reaped by:"
        yield from (f"  {command}" for command in sorted(commands))


def _entries(step: StepResult) -> tuple[ReleaseEntries, ...]:
    return step.found.entries if isinstance(step.found, Releases) else ()


def _rows(step: StepResult) -> Iterator[tuple[str, ...]]:
    if not isinstance(step.found, Releases):
        yield (step.cache, step.place, *("-",) * 4, step.outcome)
        return
    for each in step.found.entries:
        yield (
            step.cache,
            step.place,
            each.release or each.token,
            "?" if each.items is None else f"{each.items:,}",
            "?" if each.size is None else format_bytes(each.size),
            _newest(step.found, each),
            _ROLES[each.role],
        )


def _newest(found: Releases, each: ReleaseEntries) -> str:
    if each.items == 0:
        return "-"
    if each.newest is None:
        return "?"
    seconds = round(each.newest)
    if seconds < _MINUTE:
        return f"{found.aged_since} {seconds} s ago"
    age = f"{seconds // _DAY} d" if seconds >= 2 * _DAY else format_seconds(seconds)
    return f"{found.aged_since} {age} ago"
