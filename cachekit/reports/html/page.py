"""The page: what its template is given. All text from outside is escaped twice over.

By `shown`, so that nothing acts on who reads it, and by Jinja, so that nothing of it is HTML.
"""

from dataclasses import replace
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from cachekit.model import shown
from cachekit.outcomes import StepResult
from cachekit.quantities import format_seconds, format_share
from cachekit.reports.found import Found, found_by
from cachekit.reports.html import curves, gather
from cachekit.reports.html.timeline import in_order, timeline
from cachekit.reports.html.verdict import TONES, facts, next_steps, utc, verdict
from cachekit.reports.single import as_run
from cachekit.reports.text import hit_rate, product, times
from cachekit.results import PassResult, WarmReport
from cachekit.runs import RunReport

_MOST_NODES = 300
_MOST_CHARTS = 24
_MOST_CHECKS = 100
_MOST_FAILURES = 200
_MOST_STEPS = 300
_MOST_LINES = 10
_LONGEST_TEXT = 300


def render(report: RunReport | WarmReport) -> str:
    """Write the page of a run of a plan, or of a run of the warmer alone."""
    run = as_run(report) if isinstance(report, WarmReport) else report
    run = replace(run, steps=in_order(run.steps))
    found = tuple(map(found_by, run.steps))
    reasons = gather.reasons(found)
    return (
        _environment()
        .get_template("page.html")
        .render(
            run=run,
            verdict=verdict(run, found),
            next_steps=next_steps(run, found, reasons),
            facts=tuple(facts(run)),
            timeline=timeline(run.steps),
            checks=gather.first(gather.checks(found), _MOST_CHECKS),
            reasons=reasons,
            failures=gather.failures(found, _MOST_FAILURES),
            slowest=gather.slowest(found),
            steps=gather.first(found, _MOST_STEPS),
            **_nodes(run, found),
        )
    )


def _nodes(run: RunReport, found: tuple[Found, ...]) -> dict[str, Any]:
    warmed, together = gather.warmed_nodes(found), gather.all_nodes(found)
    drawn = (*((together,) if together else ()), *warmed)
    axes = curves.axes(drawn)
    several = len({each.step for each in warmed}) > 1
    charts = [
        curves.chart(each.node.name + (f", step {each.step}" if several else ""), each, axes)
        for each in drawn
        if axes is not None
    ]
    return {
        "nodes": gather.first(gather.node_rows(run, warmed), _MOST_NODES),
        "together": together,
        "axes": axes,
        "charts": gather.first([chart for chart in charts if chart.curves], _MOST_CHARTS),
        "several_warms": several,
    }


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("cachekit.reports.html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    environment.globals.update(
        tones=TONES, most_lines=_MOST_LINES, frame=curves, first=gather.first
    )
    environment.filters.update(
        clip=_clip,
        url=_url,
        number=lambda number: "?" if number is None else f"{number:,}",
        seconds=format_seconds,
        share=format_share,
        times=times,
        hit_rate=hit_rate,
        hit_share=_hit_share,
        utc=utc,
        product=product,
        left_out=gather.left_out,
        change=_change,
        said=_said,
    )
    return environment


def _printable(value: object) -> object:
    """Escape what does not print in every text that the template puts out."""
    return shown(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _clip(text: str) -> str:
    """Shorten what is too long for a page, and say by how much."""
    more = len(text) - _LONGEST_TEXT
    return f"{text[:_LONGEST_TEXT]}… ({more:,} more)" if more > 0 else text


def _url(url: str) -> Markup:
    """Let a URL break where its parts begin, so that it needs no room beside it."""
    safe = str(escape(shown(_clip(url))))
    # Only what no reference such as &amp; holds: to break within one would undo it.
    for sign in ("/", "?", "="):
        safe = safe.replace(sign, f"{sign}<wbr>")
    return Markup(safe)  # noqa: S704 - escaped above


def _hit_share(result: PassResult) -> float | None:
    return None if result.hit_share is None else float(result.hit_share)


def _change(step: StepResult) -> str:
    """Write the counts that are known: `found 3, removed 3, left 0`."""
    counts = {} if step.found is None else vars(step.found)
    told = [f"{name} {value:,}" for name, value in counts.items() if isinstance(value, int)]
    return ", ".join(told) or "-"


def _said(step: StepResult) -> tuple[str, ...]:
    """Tell why a step is not done, what to mind, and what proves it."""
    found = step.found
    told = [*getattr(found, "warnings", ()), *getattr(found, "evidence", ())]
    return (*((step.reason,) if step.reason else ()), *told[:_MOST_LINES])
