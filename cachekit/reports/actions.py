"""Clears, primes, surveys and states of caches, for people and for programs."""

import json
from collections.abc import Callable, Iterator, Sequence

from cachekit.caches.base import Change, Status, Survey
from cachekit.documents import action_document
from cachekit.model import shown
from cachekit.outcomes import ActionReport, StepOutcome, StepResult
from cachekit.quantities import format_bytes, format_count, format_seconds, format_share
from cachekit.reports import releases
from cachekit.reports.table import table

_UNKNOWN = "?"
_WORDS = {
    "clear": ("found", "removed", "left"),
    "prime": ("found", "stored", "present", "skipped", "left"),
}


def render(report: ActionReport) -> str:
    """Write the report for people."""
    return "\n".join(map(shown, _lines(report))) + "\n"


def render_json(report: ActionReport, exit_code: int) -> str:
    """Write the report as one JSON document; docs/report.md has its shape."""
    return json.dumps(action_document(report, exit_code), indent=2) + "\n"


def line(step: StepResult) -> str:
    """Write one step's end for the log."""
    reason = f": {step.reason}" if step.reason else ""
    return shown(f"{step.outcome:<7} {step.cache} at {step.place}{reason}")


def _lines(report: ActionReport) -> Iterator[str]:
    yield f"{_headline(report)} {report.what}".rstrip()
    yield f"{format_count(len(report.steps), 'step')} in {format_seconds(report.elapsed)}"
    if report.ended_early:
        yield f"ENDED EARLY: {report.ended_early}"
    yield from (f"note: {note}" for note in report.notes)
    yield ""
    if report.action == "releases":
        yield from releases.lines(report)
    else:
        headings, row = _shape(report.action)
        rows = [(step.cache, step.place, *row(step), step.outcome) for step in report.steps]
        yield from table(("cache", "at", *headings, ""), rows)
    if report.action == "plan clear":
        yield ""
        yield f"blast radius: {report.blast_radius}"
    yield from _details(report)
    if report.action == "releases":
        yield from releases.reaping(report)
    yield from _next(report)


def _headline(report: ActionReport) -> str:
    if report.action.startswith("plan") and report.outcome is StepOutcome.DONE:
        return report.action.upper()
    return f"{report.outcome.upper()}  {report.action}"


def _shape(action: str) -> tuple[Sequence[str], Callable[[StepResult], tuple[str, ...]]]:
    if action in _WORDS:
        words = _WORDS[action]
        return (*words, "time"), lambda step: _change_row(step, words)
    if action == "plan prime":
        return ("records",), lambda step: _survey_row(step)[:1]
    if action == "status":
        return ("version", "items", "size", "of", "hits", "evicted"), _status_row
    return ("would go", "of all", "size"), _survey_row


def _change_row(step: StepResult, words: Sequence[str]) -> tuple[str, ...]:
    time = format_seconds(step.elapsed) if step.elapsed else "-"
    if not isinstance(step.found, Change):
        return (*("-" for _ in words), time)
    return (*(_count(getattr(step.found, word)) for word in words), time)


def _status_row(step: StepResult) -> tuple[str, ...]:
    status = step.found
    if not isinstance(status, Status):
        return ("-",) * 6
    asked = None if status.hits is None or status.misses is None else status.hits + status.misses
    hits = format_share((status.hits or 0) / asked) if asked else _UNKNOWN if asked is None else "-"
    return (
        status.version or _UNKNOWN,
        _count(status.items),
        _size(status.size),
        _size(status.capacity),
        hits,
        _count(status.evictions),
    )


def _survey_row(step: StepResult) -> tuple[str, ...]:
    survey = step.found
    if not isinstance(survey, Survey):
        return ("-",) * 3
    return _count(survey.found), _count(survey.total), _size(survey.size)


def _details(report: ActionReport) -> Iterator[str]:
    for title, facts_of in (
        ("why", lambda step: (step.reason,)),
        ("look at", lambda step: getattr(step.found, "hazards", ())),
        ("warnings", lambda step: getattr(step.found, "warnings", ())),
        ("evidence", lambda step: getattr(step.found, "evidence", ())),
        ("for example", lambda step: getattr(step.found, "examples", ())),
    ):
        facts = [(step, fact) for step in report.steps for fact in facts_of(step) if fact]
        if facts:
            yield ""
            yield f"{title}:"
        for step, fact in facts:
            yield f"  {step.cache} at {step.place}: {_without_place(step, fact)}"


def _without_place(step: StepResult, fact: str) -> str:
    """Messages of errors name their place, which stands before them already."""
    for prefix in (f"node {step.place}: ", f"{step.place}: "):
        fact = fact.removeprefix(prefix)
    return fact


def _next(report: ActionReport) -> Iterator[str]:
    if report.action in ("status", "releases") and report.outcome is StepOutcome.DONE:
        return
    yield ""
    if report.action.startswith("plan"):
        yield "nothing was changed"
    elif report.outcome is StepOutcome.FAILED:
        done = sum(step.outcome is StepOutcome.DONE for step in report.steps)
        yield (
            f"next: {done} of {format_count(len(report.steps), 'step')} done; mend what is named"
            " above and run the same command again"
        )
    elif report.outcome is StepOutcome.UNKNOWN:
        yield "next: look for yourself; nothing proves that all of it took effect"
    else:
        yield f"next: {_when_done(report)}"


def _when_done(report: ActionReport) -> str:
    """Say what remains to be looked at after steps that are all done."""
    if report.action == "clear" and all(
        getattr(each.found, "found", 1) == 0 for each in report.steps
    ):
        return (
            "nothing was there to clear; if that is a surprise, is the name spelt as it is stored?"
        )
    if any(getattr(each.found, "warnings", ()) for each in report.steps):
        return "all of it is proven; but read the warnings"
    evidence = (fact for each in report.steps for fact in getattr(each.found, "evidence", ()))
    if any(fact.startswith("not known") for fact in evidence):
        return "nothing, but for what is said to be not known"
    return "nothing; all of it is proven"


def _count(number: int | None) -> str:
    return _UNKNOWN if number is None else f"{number:,}"


def _size(number: int | None) -> str:
    return _UNKNOWN if number is None else format_bytes(number)
