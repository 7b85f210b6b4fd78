"""Counts what was done, target by target, into the results of nodes and run; constant memory."""

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence

from cachekit.events import FILL, VERIFY, Asked, TargetDone
from cachekit.model import Verdict, shown, shown_url
from cachekit.results import Latency, NodeResult, PassResult, ReasonCount, TargetResult
from cachekit.warming.reasons import explain

_TICKS_PER_SECOND = 20_000
_LONGEST_TICKS = 3600 * _TICKS_PER_SECOND
_COUNT_AT = 1000
_FOLD_AT = 20_000
# 0, 30, 50, 70, 80, 90, 93, …, 99, 99.3, …: five to each tenth of what is left above.
_PERCENTILES = tuple(
    round(100 - above * 10**-tenths, 9) for tenths in range(7) for above in (100, 70, 50, 30, 20)
)
_EXAMPLES = 3
_SLOWEST = 5
_NAMED = 5


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


class PassTally:
    """One pass over one node."""

    def __init__(self) -> None:
        self.asked = 0
        self.ok = 0
        self.retries = 0
        self.hits = 0
        self.counted = 0
        self.verdicts: Counter[str] = Counter()
        self.latencies = Latencies()

    def add(self, alike: Sequence[TargetDone]) -> None:
        """Count targets that are alike."""
        one, count = alike[0], len(alike)
        self.asked += count
        self.verdicts[one.verdict] += count
        if one.ok:
            self.ok += count
            self.latencies.add([done.seconds for done in alike])
        if one.asked.counts_for_hit:
            self.counted += count
            if one.verdict is Verdict.HIT:
                self.hits += count

    def merge(self, other: "PassTally") -> None:
        """Count all of another's targets too."""
        self.asked += other.asked
        self.ok += other.ok
        self.retries += other.retries
        self.hits += other.hits
        self.counted += other.counted
        self.verdicts.update(other.verdicts)
        self.latencies.merge(other.latencies)

    def result(self) -> PassResult:
        """Freeze the counts."""
        return PassResult(
            asked=self.asked,
            ok=self.ok,
            retries=self.retries,
            hits=self.hits,
            counted=self.counted,
            verdicts=dict(sorted(self.verdicts.items())),
            latency=self.latencies.result(),
        )


class Named:
    """The first few of something by name, and how many there are."""

    def __init__(self) -> None:
        self.count = 0
        self._first: list[str] = []

    def add(self, name: str) -> None:
        """Count one."""
        self.count += 1
        if self.count <= _NAMED:
            self._first.append(name)

    def listed(self) -> list[str]:
        """Name them, and say how many more there are."""
        more = self.count - len(self._first)
        return [*self._first, f"and {more:,} more"] if more else list(self._first)


class Required:
    """How the required URLs fared."""

    def __init__(self) -> None:
        self.asked = 0
        self.failed = Named()
        self.not_hit = Named()

    def add(self, done: TargetDone) -> None:
        """Count one required target."""
        self.asked += done.pass_name == FILL
        if not done.ok:
            self.failed.add(_with_reason(done))
        elif (
            done.pass_name == VERIFY
            and done.asked.counts_for_hit
            and done.verdict is not Verdict.HIT
        ):
            self.not_hit.add(_with_reason(done, "no hit"))

    def problems(self, targets: int, *, hits: bool) -> list[str]:
        """Say what is wrong with them: `targets` were to be asked, and to be hits if `hits`."""
        wrong = self.failed.listed() + (self.not_hit.listed() if hits else [])
        missing = targets - self.asked
        return [*wrong, f"{missing} not asked"] if missing else wrong


def _with_reason(done: TargetDone, *found: str) -> str:
    why = ": ".join((*found, *done.reasons[:1]))
    return f"{shown_url(done.url)} on {done.node} ({why})"


class Tally:
    """The whole run: per node and pass, with reasons, failures and the slowest."""

    def __init__(self, nodes: Mapping[str, str], targets_per_node: int, max_listed: int) -> None:
        self._addresses = nodes
        self._targets = targets_per_node
        self._max_listed = max_listed
        self._fill = {name: PassTally() for name in nodes}
        self._verify = {name: PassTally() for name in nodes}
        self._passes = {FILL: self._fill, VERIFY: self._verify}
        self._known: dict[Asked, PassTally] = {}
        self._fast = -1.0
        self._reasons: dict[tuple[str, bool], tuple[list[int], list[str]]] = {}
        self._slowest: list[tuple[float, int, TargetDone]] = []
        self._sequence = 0
        self.failures: list[TargetResult] = []
        self.failures_cut = 0
        self.required = Required()
        self.required_of = {name: Required() for name in nodes}
        self.abandoned: dict[str, str] = {}

    def is_notable(self, done: TargetDone) -> bool:
        """Whether a report may name the target: failed, with reasons, required, or slow."""
        return done.seconds > self._fast or not done.ok or done.reasons != () or done.asked.required

    def add(self, alike: Sequence[TargetDone]) -> None:
        """Count targets that are alike, as nearly all are; a notable one stands alone."""
        one = alike[0]
        self._pass_of(one.asked).add(alike)
        if self.is_notable(one):
            self._name(one)

    def retried(self, asked: Asked, times: int = 1) -> None:
        """Count retries as they are made: a target may never get its final answer."""
        self._pass_of(asked).retries += times

    def node_results(self) -> tuple[NodeResult, ...]:
        """Freeze the counts of each node."""
        return tuple(
            self._result(name, address, self._fill[name], self._verify[name], self._targets)
            for name, address in self._addresses.items()
        )

    def cold_medians(self) -> dict[str, float]:
        """Give the median time of each node's fill pass, in seconds."""
        medians = {name: tally.latencies.result().p50 for name, tally in self._fill.items()}
        return {name: p50 for name, p50 in medians.items() if p50 is not None}

    def total(self) -> NodeResult:
        """Freeze the counts of all nodes together."""
        fill, verify = PassTally(), PassTally()
        for name in self._addresses:
            fill.merge(self._fill[name])
            verify.merge(self._verify[name])
        return self._result("", "", fill, verify, self._targets * len(self._addresses))

    def reasons(self) -> tuple[ReasonCount, ...]:
        """List reasons: failures first, then by count."""
        found = [
            ReasonCount(
                code=code,
                title=shown(explain(code).title),
                advice=explain(code).advice,
                failure=failure,
                count=count[0],
                examples=tuple(examples),
            )
            for (code, failure), (count, examples) in self._reasons.items()
        ]
        return tuple(sorted(found, key=lambda reason: (not reason.failure, -reason.count)))

    def slowest(self) -> tuple[TargetResult, ...]:
        """List the slowest answers of all passes, slowest first."""
        ranked = sorted(self._slowest, key=lambda item: -item[0])
        return tuple(done.result() for _, _, done in ranked)

    def _name(self, done: TargetDone) -> None:
        if done.reasons:
            self._add_reasons(done)
        if not done.ok:
            self._add_failure(done)
        if done.asked.required:
            self.required.add(done)
            self.required_of[done.node].add(done)
        if done.seconds > self._fast:
            self._add_slow(done)

    def _pass_of(self, asked: Asked) -> PassTally:
        found = self._known.get(asked)
        if found is None:
            found = self._known[asked] = self._passes[asked.pass_name][asked.node]
        return found

    def _result(
        self, name: str, address: str, fill: PassTally, verify: PassTally, targets: int
    ) -> NodeResult:
        return NodeResult(
            name=name,
            address=address,
            targets=targets,
            asked=fill.asked,
            ok=fill.ok - (verify.asked - verify.ok),
            fill=fill.result(),
            verify=verify.result(),
            abandoned=self.abandoned.get(name, ""),
        )

    def _add_reasons(self, done: TargetDone) -> None:
        for code in done.reasons:
            count, examples = self._reasons.setdefault((code, not done.ok), ([0], []))
            count[0] += 1
            if len(examples) < _EXAMPLES and (url := shown_url(done.url)) not in examples:
                examples.append(url)

    def _add_failure(self, done: TargetDone) -> None:
        if len(self.failures) < self._max_listed:
            self.failures.append(done.result())
        else:
            self.failures_cut += 1

    def _add_slow(self, done: TargetDone) -> None:
        self._sequence += 1
        keep = heapq.heappush if len(self._slowest) < _SLOWEST else heapq.heapreplace
        keep(self._slowest, (done.seconds, self._sequence, done))
        if len(self._slowest) == _SLOWEST:
            self._fast = self._slowest[0][0]
