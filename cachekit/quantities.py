"""Durations, shares, sizes and rates as people write them, and how settings decode them.

A field is annotated `Seconds`, `Share`, `Bytes` or `OneOrMore[...]`; its value is plain data. The
written form is decoded where settings are read: pydantic finds `Written` and `Before` in the
annotation by duck typing, so nothing here imports it.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any, TypeVar

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(B|[kKMG]i?B?)")
_BYTES = {"b": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
_NUMBER = re.compile(r"-?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")


def parse_seconds(written: object) -> float:
    """Read `500ms`, `30s`, `2m`, `1h`, `1d`; a bare number is seconds. Raises ValueError."""
    if isinstance(written, str) and (match := _DURATION.fullmatch(written.strip())):
        number: float | None = float(match[1]) * _SECONDS[match[2]]
    else:
        number = _bare_number(written)
    if number is None or number < 0 or not math.isfinite(number):
        raise ValueError("expected a duration such as 500ms, 30s, 2m or 1h")
    return number


def parse_share(written: object) -> Fraction:
    """Read `99.9%` exactly.

    A bare number other than 0 is refused: 1 could be 1 % or all. Raises ValueError.
    """
    if isinstance(written, Fraction):
        share = written
    elif isinstance(written, str) and (match := _PERCENT.fullmatch(written.strip())):
        share = Fraction(match[1]) / 100
    elif _bare_number(written) == 0:
        share = Fraction(0)
    else:
        raise ValueError("expected a percentage with its sign, such as 99.9%")
    if not 0 <= share <= 1:
        raise ValueError("expected a percentage from 0% to 100%")
    return share


def parse_bytes(written: object) -> int:
    """Read `64k`, `10M`, `1G` (powers of 1024); a bare number is bytes. Raises ValueError."""
    if isinstance(written, str) and (match := _SIZE.fullmatch(written.strip())):
        number: float | None = float(match[1]) * _BYTES[match[2][0].lower()]
    else:
        number = _bare_number(written)
        number = None if number is None or number % 1 else number
    if number is None or number < 0 or not math.isfinite(number):
        raise ValueError("expected a size such as 64k, 10M or 1G")
    return int(number)


def format_seconds(seconds: float) -> str:
    """Write a duration for people: `12 ms`, `3.4 s`, `5 min 02 s`, `1 h 03 min`."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.3g} ms" if seconds < 0.01 else f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    seconds = round(seconds)
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60):02d} min"


def format_bytes(size: int) -> str:
    """Write a size for people, in powers of 1024: `12 kB`, `3.4 MB`."""
    number = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if number < 999.5:
            return f"{number:.3g} {unit}"
        number /= 1024
    return f"{number:,.1f} TB"


def format_share(share: Fraction | float) -> str:
    """Write a share as a percentage that is never rounded up to 100 %."""
    percent = float(share) * 100
    text = f"{percent:.2f}".rstrip("0").rstrip(".")
    return "99.99%" if text == "100" and share < 1 else f"{text}%"


def format_count(count: int, one: str, many: str = "") -> str:
    """Write a number of things: `1 URL`, `2,500 URLs`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def _bare_number(written: object) -> float | None:
    if isinstance(written, bool) or not isinstance(written, int | float | str):
        return None
    # Python would read `1_000` and words such as `nan`, too.
    if isinstance(written, str) and not _NUMBER.fullmatch(written.strip()):
        return None
    number = float(written)
    return number if math.isfinite(number) else None


@dataclass(frozen=True, slots=True)
class Written:
    """How a quantity stands in a settings file: its parser and the pattern editors check."""

    parse: Callable[[object], Any]
    pattern: str
    example: str

    def __get_pydantic_core_schema__(self, source: object, handler: Callable[[object], Any]) -> Any:
        """Answer pydantic's question how to decode the field, in its own plain-dict form."""
        return {
            "type": "function-plain",
            "function": {"type": "no-info", "function": self.parse},
        }

    def __get_pydantic_json_schema__(self, schema: object, handler: object) -> dict[str, Any]:
        """Answer pydantic's question what the written form looks like."""
        return {
            "anyOf": [
                {"type": "string", "pattern": self.pattern},
                {"type": "number", "minimum": 0},
            ],
            "examples": [self.example],
        }


Seconds = Annotated[float, Written(parse_seconds, r"^\d+(\.\d+)?\s*(ms|s|m|h|d)$", "30s")]
Share = Annotated[Fraction, Written(parse_share, r"^\d+(\.\d+)?\s*%$", "99.9%")]
Bytes = Annotated[int, Written(parse_bytes, r"^\d+(\.\d+)?\s*(B|[kKMG]i?B?)$", "10M")]


@dataclass(frozen=True, slots=True)
class Before:
    """A short form, widened to the full one before it is decoded: one item for a list."""

    widen: Callable[[Any], Any]
    short_schema: Callable[[dict[str, Any]], dict[str, Any]]

    def __get_pydantic_core_schema__(self, source: object, handler: Callable[[object], Any]) -> Any:
        """Answer pydantic's question how to decode the field, in its own plain-dict form."""
        function = {"type": "no-info", "function": self.widen}
        return {"type": "function-before", "function": function, "schema": handler(source)}

    def __get_pydantic_json_schema__(
        self, schema: Any, handler: Callable[[Any], Any]
    ) -> dict[str, Any]:
        """Answer pydantic's question what the short and the full form look like."""
        full = handler(schema["schema"])
        return {"anyOf": [self.short_schema(full), full]}


def _listed(value: object) -> object:
    return [value] if isinstance(value, str | int | float) else value


_Item = TypeVar("_Item")
OneOrMore = Annotated[tuple[_Item, ...], Before(_listed, lambda full: full["items"])]
