"""The report for programs.

One JSON document, or JSON lines; the shape is documented in docs/report.md.

`version` grows when a field is removed or changes its meaning; new fields do not change it.
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from enum import Enum
from fractions import Fraction
from typing import Any

from cachekit.events import Event, TargetDone
from cachekit.results import NodeResult, PlanFacts, WarmReport

VERSION = 1


def render(report: WarmReport) -> str:
    """Write one JSON document, indented."""
    return json.dumps(document(report), indent=2) + "\n"


def document(report: WarmReport) -> dict[str, Any]:
    """Give the report as plain data."""
    facts = plain(
        {key: value for key, value in vars(report).items() if key not in ("nodes", "total")}
    )
    return {
        "version": VERSION,
        "command": "warm",
        **facts,
        "nodes": [_node(node) for node in report.nodes],
        "total": _node(report.total),
    }


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
    return json.dumps({"event": "report", **document(report)}) + "\n"


def target_lines(write: Callable[[str], object]) -> Callable[[Event], None]:
    """Make a listener that writes every target as one line of JSON."""

    def listen(event: Event) -> None:
        if isinstance(event, TargetDone):
            row = {"event": "target", "ok": event.ok, **plain(event.result())}
            write(json.dumps(row) + "\n")

    return listen


def _node(node: NodeResult) -> dict[str, Any]:
    row: dict[str, Any] = plain(asdict(node))
    row["ok_share"] = float(node.ok_share)
    for name, result in (("fill", node.fill), ("verify", node.verify)):
        share = result.hit_share
        row[name]["hit_share"] = None if share is None else float(share)
    return row


def plain(value: Any) -> Any:
    """Turn results into what JSON has: enums and fractions have no form of their own there."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Fraction):
        return float(value)
    if hasattr(value, "__dataclass_fields__"):
        return plain(asdict(value))
    return value
