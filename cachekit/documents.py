"""Results as plain data, as JSON and the journal hold it; its shape is in docs/report.md.

`version` grows when a field is removed or changes its meaning; new fields do not change it.
"""

from dataclasses import asdict
from enum import Enum
from fractions import Fraction
from typing import Any

from cachekit.outcomes import ActionReport, StepResult
from cachekit.results import NodeResult, WarmReport

VERSION = 1


def warm_document(report: WarmReport) -> dict[str, Any]:
    """Give a report of warming as plain data."""
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


def action_document(report: ActionReport, exit_code: int) -> dict[str, Any]:
    """Give a report of actions on caches as plain data; `exit_code` is that of the process."""
    return {
        "version": VERSION,
        "command": report.action,
        "what": report.what,
        "outcome": report.outcome.value,
        "exit_code": int(exit_code),
        "elapsed": round(report.elapsed, 6),
        "ended_early": report.ended_early,
        "notes": list(report.notes),
        "steps": [_step(step) for step in report.steps],
    }


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


def _node(node: NodeResult) -> dict[str, Any]:
    row: dict[str, Any] = plain(asdict(node))
    row["ok_share"] = float(node.ok_share)
    for name, result in (("fill", node.fill), ("verify", node.verify)):
        share = result.hit_share
        row[name]["hit_share"] = None if share is None else float(share)
    return row


def _step(step: StepResult) -> dict[str, Any]:
    facts: dict[str, Any] = plain(vars(step))
    facts["elapsed"] = round(step.elapsed, 6)
    return facts
