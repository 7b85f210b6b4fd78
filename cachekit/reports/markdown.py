"""The summary of a run in Markdown, as GitHub shows it on the page of a job."""

from collections.abc import Iterable, Iterator, Sequence

from cachekit.model import shown
from cachekit.quantities import format_seconds
from cachekit.reports.next_steps import after_run, after_warm
from cachekit.reports.reasons import reasons_of
from cachekit.reports.text import node_table, product, target_line
from cachekit.results import WarmReport
from cachekit.runs import RunReport, StepReport

LIMIT = 900_000
"""In bytes; GitHub drops a summary of more than 1 MiB."""

_CUT = "\n\n(cut: the rest is too long for a summary)\n"
_LISTED = 10
_EVIDENCE = 3
# As references, these characters have no meaning to Markdown, and none to a table.
_MARKUP = str.maketrans({mark: f"&#{ord(mark)};" for mark in "\\`*_[]<>|~&#!"})


def summary(report: RunReport | WarmReport, limit: int = LIMIT) -> str:
    """Write the summary, of at most `limit` bytes."""
    lines = _run_lines(report) if isinstance(report, RunReport) else _warm_lines(report)
    return _cut("\n".join(lines) + "\n", limit)


def _cut(text: str, limit: int) -> str:
    data = text.encode()
    if len(data) <= limit:
        return text
    kept = data[: max(0, limit - len(_CUT))]
    return kept[: kept.rfind(b"\n") + 1].decode() + _CUT


def _run_lines(report: RunReport) -> Iterator[str]:
    yield f"## {report.outcome.upper()}: cachekit run {_plain(report.plan)}"
    yield ""
    yield _plain(", ".join(_about(report)))
    if report.ended_early:
        yield from ("", f"**Ended early**: {_plain(report.ended_early)}")
    yield ""
    yield from _table(
        ("step", "what", "nodes", "outcome", "time", "why, or what proves it"),
        [_step_row(step) for step in report.steps],
    )
    if report.nodes:
        yield ""
        rows = [(node.name, node.standing, node.reason) for node in report.nodes]
        yield from _table(("node", "visitors", "why"), rows)
    warnings = (
        *report.warnings,
        *(f"step {step.id}: {warning}" for step in report.steps for warning in step.warnings),
    )
    yield from _listed("Warnings", warnings)
    yield from _listed("Next", after_run(report))


def _about(report: RunReport) -> Iterator[str]:
    yield report.site
    for name, value in (("release", report.release), ("previous", report.previous)):
        if value:
            yield f"{name} {value}"
    yield f"in {format_seconds(report.elapsed)}"
    yield f"run {report.run}"
    for name in ("tool", "environment", "actor"):
        if value := report.facts.get(name, ""):
            yield f"{name} {value}"


def _step_row(step: StepReport) -> tuple[str, ...]:
    told = reasons_of(step) or step.evidence[:_EVIDENCE]
    return (
        step.id,
        step.title,
        ", ".join(step.nodes),
        step.outcome,
        format_seconds(step.elapsed) if step.elapsed else "",
        "; ".join(text for text in told if text),
    )


def _warm_lines(report: WarmReport) -> Iterator[str]:
    yield f"## {report.outcome.upper()}: cachekit warm {_plain(report.site)}"
    yield ""
    yield _plain(f"{product(report)}, in {format_seconds(report.elapsed)}, run {report.run}")
    if report.ended_early:
        yield from ("", f"**Ended early**: {_plain(report.ended_early)}")
    yield ""
    yield from _table(*node_table(report))
    yield ""
    checks = [
        (check.outcome, check.name, check.node or "all", check.found, check.wanted)
        for check in report.checks
    ]
    yield from _table(("gate", "threshold", "node", "found", "wanted"), checks)
    if report.reasons:
        yield ""
        reasons = [
            (f"{reason.count:,}", reason.title, reason.advice, ", ".join(reason.examples))
            for reason in report.reasons
        ]
        yield from _table(("answers", "why failed or not a hit", "what to do", "e.g."), reasons)
    failures = [target_line(failure) for failure in report.failures[:_LISTED]]
    more = len(report.failures) + report.failures_cut - len(failures)
    yield from _listed("Failures", (*failures, *([f"and {more:,} more"] if more else ())))
    yield from _listed("Warnings", report.warnings)
    yield from _listed("Next", (after_warm(report),))


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield _row(headings)
    yield _row(["---"] * len(headings))
    yield from (_row(list(map(_plain, row))) for row in rows)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _listed(title: str, texts: Iterable[str]) -> Iterator[str]:
    lines = [f"- {_plain(text)}" for text in texts]
    if lines:
        yield from ("", f"**{title}**", "", *lines)


def _plain(text: str) -> str:
    """Write a text as itself, whatever Markdown would make of it."""
    return shown(text).translate(_MARKUP)
