"""Thresholds of the gate, and how much is verified: parts of the settings."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Annotated, Any

from cachekit.quantities import Before, OneOrMore, Seconds, Share, Written, parse_share


def _both(value: object) -> object:
    return value if isinstance(value, Mapping) else {"go": value, "floor": value}


def _short_threshold(full: dict[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = full.get("properties", {}).get("go", {"type": ["string", "number"]})
    return schema


@dataclass(frozen=True, kw_only=True)
class MinShare:
    """A share that must be reached.

    At `go` the run is go, from `floor` to `go` degraded, below no-go.
    """

    go: Share
    floor: Share


@dataclass(frozen=True, kw_only=True)
class MaxTime:
    """A time that must be kept.

    Up to `go` the run is go, from there to `floor` degraded, above no-go.
    """

    go: Seconds
    floor: Seconds


AtLeast = Annotated[MinShare, Before(_both, _short_threshold)]
AtMost = Annotated[MaxTime, Before(_both, _short_threshold)]


@dataclass(frozen=True, kw_only=True)
class Gate:
    """Thresholds over the verdicts of a run.

    `required` URLs must all be ok (and hits, where `min_hit` is set).
    """

    min_ok: AtLeast = field(default_factory=lambda: MinShare(go=Fraction(1), floor=Fraction(1)))
    min_hit: AtLeast | None = None
    max_p50: AtMost | None = None
    max_p95: AtMost | None = None
    max_p99: AtMost | None = None
    required: OneOrMore[str] = ()


def parse_verify(written: object) -> Fraction:
    """Read `all`, `off` or `sample:1%` as the share of targets to verify. Raises ValueError."""
    text = "off" if written is False else written
    if text in ("all", "off"):
        return Fraction(text == "all")
    if isinstance(text, str) and text.startswith("sample:"):
        share = parse_share(text.removeprefix("sample:"))
        if share > 0:
            return share
    raise ValueError("expected all, off or a sample such as sample:1%")


Verify = Annotated[Fraction, Written(parse_verify, r"^(all|off|sample:\d+(\.\d+)?%)$", "all")]
