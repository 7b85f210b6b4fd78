"""The report for programs: one JSON document, or JSON lines; docs/report.md has their shape."""

import json
from collections.abc import Callable

from cachekit.documents import VERSION, plain, warm_document
from cachekit.events import Event, TargetDone
from cachekit.results import PlanFacts, WarmReport


def render(report: WarmReport) -> str:
    """Write one JSON document, indented."""
    return json.dumps(warm_document(report), indent=2) + "\n"


def plan(facts: PlanFacts) -> str:
    """Write what a run would ask as one JSON document."""
    return (
        json.dumps(
            {"version": VERSION, "command": "warm --dry-run", **plain(vars(facts))}, indent=2
        )
        + "\n"
    )


def last_line(report: WarmReport) -> str:
    """Write the report as the last of the JSON lines; the targets came before it."""
    return json.dumps({"event": "report", **warm_document(report)}) + "\n"


def target_lines(write: Callable[[str], object]) -> Callable[[Event], None]:
    """Make a listener that writes every target as one line of JSON."""

    def listen(event: Event) -> None:
        if isinstance(event, TargetDone):
            row = {"event": "target", "ok": event.ok, **plain(event.result())}
            write(json.dumps(row) + "\n")

    return listen
