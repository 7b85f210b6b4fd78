"""How fast a node is asked: concurrency, fixed or found, and requests per second.

Auto concurrency is TCP's slow start and AIMD (Chiu & Jain 1989; RFC 5681) counted in rounds of
answers instead of round trips. A refusal is explicit news of congestion and takes off a fifth (RFC
8511), not half. One addition: growth pauses while latency says that requests only queue. Of the
published schemes tried (Gradient2, Vegas, pure AIMD) it alone stayed near the best fixed level on
every origin; `make bench` repeats it.
"""

from typing import Protocol

_START = 8
_FLOOR = 16
_MIN_ROUND = 8
_SLOW_START_DROP = 0.5
_DROP = 0.8
_QUEUEING = 2.0
_OVERLOADED = 4.0
_RELIEF = 0.9


class Concurrency(Protocol):
    """How many requests a node may have in flight."""

    limit: int

    def answered(self, seconds: float) -> None:
        """Take note of one good answer and its latency."""
        ...

    def dropped(self) -> None:
        """Take note of a sign of overload: 429, 503 or a time-out."""
        ...


class Fixed:
    """Always the same number."""

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def answered(self, seconds: float) -> None:
        """Ignore the answer."""

    def dropped(self) -> None:
        """Ignore the sign; Retry-After and retries still slow the node down."""


class Auto:
    """Find the level at which the node is busy but does not queue.

    One round is as many answers as the limit. The first rounds double the limit until a drop or
    until the mean latency passes twice the baseline; from then on each round adds one, or holds
    while the latency is above that mark. A drop multiplies by 0.8, at most every second round; the
    drop that ends slow start halves, to the last level that was good. The baseline is the lowest
    mean seen, of a whole round rather than of one request: on an origin with scattered latency the
    single lowest value would hold the limit down for ever.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.limit = min(_START, most)
        self._slow_start = True
        self._baseline = 0.0
        self._answers = 0
        self._seconds = 0.0
        self._saw_drop = False
        self._rounds_since_drop = 2

    def answered(self, seconds: float) -> None:
        """Count one good answer, and close the round when it is full."""
        self._answers += 1
        self._seconds += seconds
        if self._answers >= self.limit and self._answers >= _MIN_ROUND:
            self._close_round()

    def dropped(self) -> None:
        """Leave slow start and shrink, unless that happened a moment ago."""
        factor = _SLOW_START_DROP if self._slow_start else _DROP
        self._slow_start = False
        self._saw_drop = True
        if self._rounds_since_drop >= 2:
            self.limit = max(1, int(self.limit * factor))
            self._rounds_since_drop = 0

    def _close_round(self) -> None:
        mean = self._seconds / self._answers
        self._answers, self._seconds = 0, 0.0
        self._rounds_since_drop += 1
        saw_drop, self._saw_drop = self._saw_drop, False
        self._learn(mean)
        if mean > _OVERLOADED * self._baseline and self.limit > _FLOOR:
            self._slow_start = False
            self.limit = max(_FLOOR, int(self.limit * _RELIEF))
        elif mean > _QUEUEING * self._baseline:
            self._slow_start = False
        elif not saw_drop:
            self.limit = min(self._most, self.limit * 2 if self._slow_start else self.limit + 1)

    def _learn(self, mean: float) -> None:
        if not self._baseline:
            self._baseline = mean
        elif self.limit <= _FLOOR:
            self._baseline = min(self._baseline, mean)
        else:
            self._baseline = min(self._baseline, 0.9 * self._baseline + 0.1 * mean)


class Rate:
    """At most so many starts a second, evenly spaced; unused time is not made up for."""

    def __init__(self, per_second: float) -> None:
        self._interval = 1 / per_second
        self._next = 0.0

    def delay(self, now: float) -> float:
        """Seconds until one may start."""
        return max(0.0, self._next - now)

    def started(self, now: float) -> None:
        """Take note of one start."""
        self._next = max(self._next, now) + self._interval
