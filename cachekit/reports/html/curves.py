"""Latency curves: time over percentile, on a scale that gives every tenth of the tail its room."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from cachekit.quantities import format_seconds
from cachekit.reports.html.gather import Warmed
from cachekit.results import Latency

WIDTH, HEIGHT = 340, 250
LEFT, RIGHT, TOP, BOTTOM = 52, 326, 66, 210
_LONGEST_AT = 0.35
"""Room for the longest answer beyond the last percentile, in tenths of the tail."""
_TICK_ROOM = 28
# Of middling lightness, so that they stand out on white and on black alike; and dashes tell them
# apart where colours do not.
_COLD = ("cold", "#3b82f6", "5 3")
_WARM = ("warm", "#ea580c", "")


@dataclass(frozen=True)
class Tick:
    """A mark on an axis."""

    at: float
    label: str


@dataclass(frozen=True)
class Curve:
    """The answers of one pass."""

    name: str
    colour: str
    dashes: str
    summary: str
    path: str


@dataclass(frozen=True)
class Chart:
    """The curves of one node."""

    title: str
    count: int
    curves: tuple[Curve, ...]


@dataclass(frozen=True)
class Axes:
    """What all charts share, so that they can be compared: tenths of the tail, and times."""

    depth: float
    low: float
    high: float

    def x(self, percentile: float) -> float:
        """Place a percentile."""
        above = 1 - percentile / 100
        tenths = self.depth + _LONGEST_AT if above <= 0 else -math.log10(above)
        return LEFT + (RIGHT - LEFT) * tenths / (self.depth + _LONGEST_AT)

    def y(self, seconds: float) -> float:
        """Place a time."""
        share = math.log(max(seconds, self.low) / self.low) / math.log(self.high / self.low)
        return BOTTOM - (BOTTOM - TOP) * share

    def percentiles(self) -> Iterator[Tick]:
        """Mark percentiles that have room beside the last, and the longest answer."""
        end, last = self.x(100), -math.inf
        whole = range(1, int(self.depth + 1e-9) + 1)
        for percentile in (0.0, 50.0, *(round(100 - 10 ** (2 - tenths), 9) for tenths in whole)):
            at = self.x(percentile)
            if at - last >= _TICK_ROOM and end - at >= _TICK_ROOM / 2:
                last = at
                yield Tick(at, f"{percentile:g}%" if percentile else "0")
        yield Tick(end, "max")

    def times(self) -> Iterator[Tick]:
        """Mark times: each power of ten, and what is between where there are few."""
        few = self.high / self.low < 100
        for power in range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))):
            for step in (1, 2, 5) if few else (1,):
                seconds = step * 10.0**power
                if self.low <= seconds <= self.high:
                    yield Tick(self.y(seconds), format_seconds(seconds))


def axes(warmed: Iterable[Warmed]) -> Axes | None:
    """Choose axes that hold the curves of all; None where there is none."""
    points = [
        point
        for each in warmed
        for latency in (each.node.fill.latency, each.node.verify.latency)
        for point in latency.curve
    ]
    if not points:
        return None
    times = [max(seconds, 1e-5) for _, seconds in points]
    tail = max((percent for percent, _ in points if percent < 100), default=0.0)
    return Axes(max(1.0, -math.log10(1 - tail / 100)), min(times) / 1.3, max(times) * 1.3)


def chart(title: str, each: Warmed, shared: Axes) -> Chart:
    """Draw the curves of one node."""
    fill, verify = each.node.fill.latency, each.node.verify.latency
    drawn = ((_COLD, fill), (_WARM, verify))
    curves = tuple(_curve(*style, latency, shared) for style, latency in drawn if latency.curve)
    return Chart(title, fill.count, curves)


def _curve(name: str, colour: str, dashes: str, latency: Latency, shared: Axes) -> Curve:
    return Curve(name, colour, dashes, _summary(latency), _path(latency.curve, shared))


def _summary(latency: Latency) -> str:
    told = (("p50", latency.p50), ("p95", latency.p95), ("max", latency.longest))
    return ", ".join(f"{name} {format_seconds(time)}" for name, time in told if time is not None)


def _path(curve: Sequence[tuple[float, float]], shared: Axes) -> str:
    return "M" + " ".join(f"{shared.x(p):.1f},{shared.y(seconds):.1f}" for p, seconds in curve)
