"""Runs of plans and what they would do, for people and for programs."""

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

from cachekit.documents import VERSION, plain, warm_report
from cachekit.golive.base import Standing
from cachekit.model import shown
from cachekit.quantities import format_seconds
from cachekit.reports import text
from cachekit.reports.next_steps import after_run
from cachekit.reports.reasons import reasons_of
from cachekit.reports.table import table
from cachekit.runs import PlanForecast, RunReport, StepForecast, StepReport


def render(report: RunReport) -> str:
    """Write the report of a run for people."""
    return "\n".join(map(shown, _lines(report))) + "\n"


def render_json(report: RunReport) -> str:
    """Write the report of a run as one JSON document; docs/report.md has its shape."""
    return _json("run", report)


def forecast(found: PlanForecast) -> str:
    """Write what a plan would do for people."""
    return "\n".join(map(shown, _forecast_lines(found))) + "\n"


def forecast_json(found: PlanForecast) -> str:
    """Write what a plan would do as one JSON document."""
    return _json("plan", found, exit_code=int(found.exit_code))


def line(step: StepReport) -> str:
    """Write the end of one step for the log."""
    before = " (done before)" if step.resumed else ""
    reason = f": {step.reason}" if step.reason else ""
    return shown(f"{step.outcome:<8} {step.id}  {step.title}{before}{reason}")


def history(reports: Sequence[RunReport]) -> str:
    """List runs, one a line."""
    if not reports:
        return "no plan was run here yet\n"
    rows = [
        (
            report.run,
            report.plan,
            report.site,
            report.release or "-",
            format_seconds(report.elapsed),
            report.outcome.value + (f": {report.ended_early}" if report.ended_early else ""),
        )
        for report in reports
    ]
    return "\n".join(map(shown, table(("run", "plan", "site", "release", "took", ""), rows))) + "\n"


def _json(command: str, of: RunReport | PlanForecast, **more: Any) -> str:
    return json.dumps({"version": VERSION, "command": command, **plain(vars(of)), **more}) + "\n"


def _lines(report: RunReport) -> Iterator[str]:
    yield f"{report.outcome.upper()}  {_subject(report)}"
    began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(report.started))
    yield f"run {report.run}, begun {began}, took {format_seconds(report.elapsed)}"
    if report.ended_early:
        yield f"ENDED EARLY: {report.ended_early}"
    yield from (f"WARNING: {warning}" for warning in report.warnings)
    yield ""
    yield from table(("step", "at", "time", ""), [_row(step) for step in report.steps])
    for title, facts_of in (
        ("why", reasons_of),
        ("warnings", lambda step: step.warnings),
        ("evidence", _evidence),
    ):
        facts = [(step, fact) for step in report.steps for fact in facts_of(step)]
        if facts:
            yield ""
            yield f"{title}:"
        yield from (f"  {step.id}  {fact}" for step, fact in facts)
    for step in report.steps:
        yield from _warmed(step)
    yield from _standings(report)
    yield ""
    yield from (f"next: {advice}" for advice in after_run(report))


def _subject(of: RunReport | PlanForecast) -> str:
    release = f" of {of.release}" if of.release else ""
    previous = f" after {of.previous}" if of.previous else ""
    return f"{of.plan}{release}{previous}  {of.site}"


def _row(step: StepReport) -> tuple[str, ...]:
    time_taken = format_seconds(step.elapsed) if step.elapsed >= 0.001 else "-"
    outcome = step.outcome.value + (" before" if step.resumed else "")
    return _named(step), ", ".join(step.nodes) or "-", time_taken, outcome


def _named(step: StepReport | StepForecast) -> str:
    return f"{step.id:<4}  {step.title}"


def _evidence(step: StepReport) -> Iterator[str]:
    yield from step.evidence
    if step.action in ("clear", "prime") and step.document:
        for each in step.document["steps"]:
            facts = (each["found"] or {}).get("evidence", ())
            yield from (f"{each['cache']} at {each['place']}: {fact}" for fact in facts)


def _warmed(step: StepReport) -> Iterator[str]:
    """Show what a warm found, in short."""
    if step.action != "warm" or not step.document:
        return
    report = warm_report(step.document)
    yield ""
    yield f"{step.id}  {step.title}: {report.outcome.upper()}, {text.product(report)}"
    yield from (f"  {each}" for each in text.nodes_table(report))
    yield from (f"  {each}" for each in text.gate_lines(report.checks))
    bad = [reason for reason in report.reasons if reason.failure or report.exit_code]
    yield from (f"  {r.count:,} x {r.title}: {', '.join(r.examples)}" for r in bad)
    yield from (f"  {each}" for each in text.renewal_lines(report.renewal))


def _standings(report: RunReport) -> Iterator[str]:
    if not report.nodes:
        return
    yield ""
    yield "nodes:"
    width = max(len(node.name) for node in report.nodes)
    for node in report.nodes:
        standing = node.standing.value if node.standing is Standing.IN else node.standing.upper()
        yield f"  {node.name:<{width}}  {standing}{f'  {node.reason}' if node.reason else ''}"


def _forecast_lines(found: PlanForecast) -> Iterator[str]:
    refused = [step for step in found.steps if step.refusal]
    yield f"{'REFUSED' if refused else 'PLAN'}  {_subject(found)}"
    yield f"{len(found.steps)} steps; {_estimate(found.seconds)}"
    yield from (f"WARNING: {warning}" for warning in found.warnings)
    yield ""
    yield from table(("step", "at", "last time"), [_forecast_row(step) for step in found.steps])
    facts = [(step.id, fact) for step in found.steps for fact in step.found]
    if facts:
        yield ""
        yield "what it would touch:"
        yield from (f"  {at}  {fact}" for at, fact in facts)
    if refused:
        yield ""
        yield "cannot work:"
        yield from (f"  {step.id}  {step.refusal}" for step in refused)
    yield ""
    yield "nothing was changed"


def _forecast_row(step: StepForecast) -> tuple[str, ...]:
    time_taken = "unknown" if step.seconds is None else format_seconds(step.seconds)
    title = f"{_named(step)} (left out: {step.skip})" if step.skip else _named(step)
    return title, ", ".join(step.nodes) or "-", time_taken if step.seconds != 0 else "-"


def _estimate(seconds: float | None) -> str:
    if seconds is None:
        return "how long is unknown: not all of them ran before"
    return f"about {format_seconds(seconds)}, as the last time"
