"""A file read for settings: its data, where each value stands, and what is wrong with it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cachekit.checks import KeyPath, show_path
from cachekit.errors import Problem

_USERINFO = re.compile(r"//[^/?#\s]*@")
_LONGEST_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands; `via` is where an alias or merge key brought it in."""

    line: int
    column: int
    via: "Place | None" = None


@dataclass(slots=True)
class Document:
    """One YAML file.

    `environment` names the variables a value was made from; such values are never shown.
    """

    name: str
    data: object = None
    values: dict[KeyPath, Place] = field(default_factory=dict)
    keys: dict[KeyPath, Place] = field(default_factory=dict)
    environment: dict[KeyPath, str] = field(default_factory=dict)
    _reported: dict[KeyPath, None] = field(default_factory=dict)
    _problems: list[tuple[int, int, Problem]] = field(default_factory=list)

    @property
    def problems(self) -> list[Problem]:
        """List what was reported, in the order of the file."""
        ordered = sorted(self._problems, key=lambda problem: problem[:2])
        return [problem for _, _, problem in ordered]

    def report(self, path: KeyPath, message: str, *, at_key: bool = False) -> None:
        """Report what is wrong with the value or key at a path, or with what holds it.

        A message that starts with "expected" is preceded by what was found. What hangs below a
        reported value is not reported again.
        """
        if any(path[:length] in self._reported for length in range(len(path) + 1)):
            return
        self.mute(path)
        shown = path if at_key else self._existing(path)
        if message.startswith("expected"):
            message = f"found {self._found(shown)}, {message}"
        self.report_at(self._place(path, at_key), shown, message)

    def give_up(self, place: Place, message: str) -> None:
        """Report what makes the rest unreadable; nothing more will be reported by path."""
        self.mute(())
        self.report_at(place, (), message)

    def mute(self, path: KeyPath) -> None:
        """Report nothing more about a path and what hangs below it."""
        self._reported[path] = None

    def report_at(self, place: Place, path: KeyPath, message: str) -> None:
        """Report what is wrong at a place of the text."""
        text = f"{show_path(path)}: {message}" if path else message
        if place.via:
            text += f" (brought in at line {place.via.line})"
        problem = Problem(f"{self.name}:{place.line}:{place.column}", text)
        self._problems.append((place.line, place.column, problem))

    def _place(self, path: KeyPath, at_key: bool) -> Place:
        existing = self._existing(path)
        # An item of a short form has no place of its own: its scalar stands for it.
        at_value = existing == path or not isinstance(self._value(existing), Mapping)
        wanted = self.values if at_value and not at_key else self.keys
        return wanted.get(existing) or self.values.get(existing) or Place(1, 1)

    def _existing(self, path: KeyPath) -> KeyPath:
        while path and path not in self.values:
            path = path[:-1]
        return path

    def _value(self, path: KeyPath) -> object:
        value: Any = self.data
        for part in path:
            value = value[part]
        return value

    def _found(self, path: KeyPath) -> str:
        if path in self.environment:
            return f"the value of {self.environment[path]}"
        value = self._value(path)
        if isinstance(value, Mapping | list):
            return "a list" if isinstance(value, list) else "a mapping"
        if value is not None and _is_secret(path):
            return "a value that is not shown"
        return _shown(value)


def _is_secret(path: KeyPath) -> bool:
    return "headers" in path or path[:2] == ("warm", "variants")


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    if not isinstance(value, str):
        return str(value)
    text = _USERINFO.sub("//***@", value)
    return repr(text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…")
