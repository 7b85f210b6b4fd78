"""Texts of a plan: placeholders for the facts of a deploy, and conditions over them."""

import re
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, TypeVar

from cachekit.checks.texts import FACTS
from cachekit.step_settings import StepSettings

_PLACEHOLDER = re.compile(rf"\{{({'|'.join((*FACTS, 'node'))})\}}")
_COMPARISON = re.compile(r"(.*?)\s*(==|!=)\s*(.*)", re.DOTALL)
_LATER = ("when", "run", "steps")
_Step = TypeVar("_Step", bound=StepSettings)


def expanded(text: str, facts: Mapping[str, str]) -> str:
    """Put facts in place of their placeholders; one that is not known here stays as it is."""
    return _PLACEHOLDER.sub(lambda match: facts.get(match[1], match[0]), text)


def expanded_step(step: _Step, facts: Mapping[str, str]) -> _Step:
    """Expand all texts of a step that are not expanded later: its condition, words, inner steps."""
    written = {field.name: getattr(step, field.name) for field in fields(step)}
    now = {key: _expanded(value, facts) for key, value in written.items() if key not in _LATER}
    return replace(step, **now)


def holds(when: str, facts: Mapping[str, str]) -> bool:
    """Judge a condition: `A == B`, `A != B`, or a text that is not empty once it is expanded."""
    match = _COMPARISON.fullmatch(when.strip())
    if match is None:
        return bool(expanded(when, facts).strip())
    left, right = (expanded(match[side], facts).strip() for side in (1, 3))
    return (left == right) is (match[2] == "==")


def _expanded(value: Any, facts: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return expanded(value, facts)
    if type(value) is tuple:
        return tuple(_expanded(item, facts) for item in value)
    return value
