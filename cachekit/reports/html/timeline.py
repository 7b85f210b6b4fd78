"""A timeline of the steps: when each began and how long it took, with long pauses cut short."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cachekit.quantities import format_seconds
from cachekit.runs import RunOutcome, StepReport

_SHORTEST = 0.6
"""Percent of the width below which no bar is drawn, lest it be invisible."""
_LONG_PAUSE = 0.2
_PAUSE_WIDTH = 0.06
_MOST_TICKS = 5
_STEPS = (
    0.1,
    0.2,
    0.5,
    1,
    2,
    5,
    10,
    15,
    30,
    60,
    120,
    300,
    600,
    900,
    1800,
    3600,
    7200,
    14400,
    43200,
)


@dataclass(frozen=True)
class Mark:
    """A time on the axis, at so many percent of its width; `is_pause` where time was cut out."""

    at: float
    label: str
    is_pause: bool = False


@dataclass(frozen=True)
class Bar:
    """One step, from `left` on and so wide, in percent of the width; None if it was skipped."""

    step: StepReport
    left: float | None
    width: float
    depth: int
    """How deep within rolls it is."""


@dataclass(frozen=True)
class Timeline:
    """All steps of a run."""

    bars: tuple[Bar, ...]
    marks: tuple[Mark, ...]


def in_order(steps: Sequence[StepReport]) -> tuple[StepReport, ...]:
    """Sort steps by when they began; a roll comes before what is within it."""
    return tuple(sorted(steps, key=lambda step: (step.started, step.id.count("/"), step.id)))


def timeline(steps: Sequence[StepReport]) -> Timeline:
    """Place all steps."""
    begun = [step for step in steps if step.outcome is not RunOutcome.SKIPPED]
    scale = _Scale(_busy([(step.started, step.started + step.elapsed) for step in begun]))
    return Timeline(tuple(_bar(step, scale) for step in steps), tuple(scale.marks()))


def _bar(step: StepReport, scale: "_Scale") -> Bar:
    depth = step.id.count("/")
    if step.outcome is RunOutcome.SKIPPED:
        return Bar(step, None, 0.0, depth)
    left, right = scale.at(step.started), scale.at(step.started + step.elapsed)
    width = max(right - left, _SHORTEST)
    return Bar(step, min(left, 100 - width), width, depth)


def _busy(spans: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Join spans, except where a pause between them is long in proportion to them all."""
    busy = sum(end - start for start, end in spans)
    joined: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if joined and start - joined[-1][1] <= _LONG_PAUSE * busy:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return joined


class _Scale:
    """Percent of the width for a time."""

    def __init__(self, spans: Sequence[tuple[float, float]]) -> None:
        self._spans = spans
        self._busy = sum(end - start for start, end in spans)
        self._pause = self._busy * _PAUSE_WIDTH
        self._whole = (self._busy + self._pause * max(0, len(spans) - 1)) or 1.0

    def at(self, time: float) -> float:
        before = 0.0
        for start, end in self._spans:
            if time <= end:
                return 100 * (before + max(0.0, time - start)) / self._whole
            before += end - start + self._pause
        return 100.0

    def marks(self) -> Iterator[Mark]:
        """Mark round times after the start; after a pause, the time at which work went on."""
        if not self._spans:
            return
        (began, ended), *others = self._spans
        yield Mark(0.0, "0")
        if not others:
            step = _step(ended - began)
            for number in range(1, int((ended - began) / step + 1e-9) + 1 if step else 0):
                yield Mark(self.at(began + number * step), _duration(number * step))
        for start, _ in others:
            pause = 100 * self._pause / self._whole
            yield Mark(self.at(start) - pause / 2, f"+ {format_seconds(start - began)}", True)


def _step(seconds: float) -> float:
    return next((step for step in _STEPS if seconds / step < _MOST_TICKS), seconds / 4)


def _duration(seconds: float) -> str:
    """Write a round time shortly: `30 s`, `2 min`, `1 min 30 s`."""
    text = format_seconds(seconds).replace(".0 s", " s")
    return text.removesuffix(" 00 s").removesuffix(" 00 min")
