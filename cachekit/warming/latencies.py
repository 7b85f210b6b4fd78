"""How long answers took, as percentiles; constant memory."""

from collections import Counter
from collections.abc import Mapping, Sequence

from cachekit.results import Latency

_TICKS_PER_SECOND = 20_000
_LONGEST_TICKS = 3600 * _TICKS_PER_SECOND
_COUNT_AT = 1000
_FOLD_AT = 20_000
# 0, 30, 50, 70, 80, 90, 93, …, 99, 99.3, …: five to each tenth of what is left above.
_PERCENTILES = tuple(
    round(100 - above * 10**-tenths, 9) for tenths in range(7) for above in (100, 70, 50, 30, 20)
)


class Latencies:
    """Times at a resolution of 50 microseconds, merged into an HDR histogram only when read."""

    def __init__(self) -> None:
        self._new: list[float] = []
        self._counts: Counter[int] = Counter()

    def add(self, times: Sequence[float]) -> None:
        """Count times in seconds."""
        self._new += times
        if len(self._new) >= _COUNT_AT:
            self._count()

    def merge(self, other: "Latencies") -> None:
        """Count all of another's times too."""
        self._counts.update(other.counts())
        self._bound()

    def counts(self) -> Mapping[int, int]:
        """How often each time was seen, in ticks."""
        self._count()
        return self._counts

    def result(self) -> Latency:
        """Read the percentiles, to three significant digits."""
        from hdrh.histogram import HdrHistogram

        counts = self.counts()
        if not counts:
            return Latency()
        histogram = HdrHistogram(1, _LONGEST_TICKS, 3)
        for ticks, count in counts.items():
            histogram.record_value(max(1, min(ticks, _LONGEST_TICKS)), count)
        count = sum(counts.values())
        curve = [percent for percent in _PERCENTILES if (100 - percent) * count >= 100] + [100]
        ticks_at = histogram.get_percentile_to_value_dict([50, 95, 99, *curve])
        times = {percent: ticks / _TICKS_PER_SECOND for percent, ticks in ticks_at.items()}
        return Latency(
            count=count,
            p50=times[50],
            p95=times[95],
            p99=times[99],
            longest=times[100],
            curve=tuple((percent, times[percent]) for percent in curve),
        )

    def _count(self) -> None:
        # Many at once: that costs a quarter of counting each as it comes.
        self._counts.update([int(seconds * _TICKS_PER_SECOND) for seconds in self._new])
        self._new.clear()
        self._bound()

    def _bound(self) -> None:
        """Round to three significant digits: memory stays bounded however the times scatter."""
        if len(self._counts) <= _FOLD_AT:
            return
        folded: Counter[int] = Counter()
        for ticks, count in self._counts.items():
            step = 10 ** max(0, len(str(ticks)) - 3)
            folded[(ticks + step // 2) // step * step] += count
        self._counts = folded
