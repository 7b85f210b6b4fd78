"""Results as plain data, as JSON and the journal hold it, and back; docs/report.md has its shape.

`version` grows when a field is removed or changes its meaning; new fields do not change it.
"""

from collections.abc import Mapping
from dataclasses import asdict, fields
from enum import Enum
from fractions import Fraction
from functools import cache
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from cachekit.outcomes import ActionReport, StepResult
from cachekit.results import NodeResult, WarmReport

VERSION = 1
_Report = TypeVar("_Report", WarmReport, ActionReport)


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


def warm_report(document: Mapping[str, Any]) -> WarmReport:
    """Read back a document of warming. Raises ValueError where it is none."""
    return _report(WarmReport, document)


def action_report(document: Mapping[str, Any]) -> ActionReport:
    """Read back a document of actions on caches. Raises ValueError where it is none."""
    return _report(ActionReport, {**document, "action": document.get("command")})


def plain(value: Any) -> Any:
    """Turn results into what JSON has: enums and fractions have no form of their own there."""
    if isinstance(value, Mapping):
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


def _report(kind: type[_Report], document: Mapping[str, Any]) -> _Report:
    try:
        report: _Report = _read(kind, document)
    except (TypeError, AttributeError, LookupError) as error:
        raise ValueError(f"not the document of a {kind.__name__}: {error}") from error
    return report


def _read(kind: Any, value: Any) -> Any:
    """Read a value of this type: what JSON has no form for was written as something plainer."""
    if hasattr(kind, "__dataclass_fields__"):
        return kind(**{name: _read(of, value[name]) for name, of in _types(kind) if name in value})
    arguments = get_args(kind)
    if type(None) in arguments:
        return None if value is None else _read(_fitting(arguments, value), value)
    if get_origin(kind) is tuple:
        return tuple(_read(arguments[0], item) for item in value)
    if get_origin(kind) is Mapping:
        return {key: _read(arguments[1], item) for key, item in value.items()}
    return kind(value) if issubclass(kind, Enum | Fraction) else value


@cache
def _types(kind: type) -> tuple[tuple[str, Any], ...]:
    hints = get_type_hints(kind)
    return tuple((field.name, hints[field.name]) for field in fields(kind))


def _fitting(kinds: tuple[Any, ...], value: Any) -> Any:
    """Choose the type of which the value has the most fields, where several are possible."""
    first, *others = (kind for kind in kinds if kind is not type(None))
    if not others:
        return first
    return max(
        (first, *others), key=lambda kind: len(value.keys() & {name for name, _ in _types(kind)})
    )
