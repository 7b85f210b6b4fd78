"""Counts what was done, target by target, into the results of nodes and run; constant memory."""

import heapq
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from cachekit.events import FILL, VERIFY, Asked, TargetDone
from cachekit.model import Verdict, shown, shown_url
from cachekit.results import NodeResult, PassResult, ReasonCount, TargetResult
from cachekit.warming.latencies import Latencies
from cachekit.warming.reasons import explain

_COUNT_AT = 10_000
_EXAMPLES = 3
_SLOWEST = 5
_NAMED = 5


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

    def add(self, verdict: Verdict, times: Sequence[float], *, ok: bool, counts: bool) -> None:
        """Count targets that ended alike, of which each took its time in seconds."""
        count = len(times)
        self.asked += count
        self.verdicts[verdict] += count
        if ok:
            self.ok += count
            self.latencies.add(times)
        if counts:
            self.counted += count
            if verdict is Verdict.HIT:
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


Ending = tuple[Verdict, bool]
"""How a target ended: verdict, and whether it is ok."""


class Tally:
    """The whole run: per node and pass, with reasons, failures and the slowest."""

    def __init__(self, nodes: Mapping[str, str], targets_per_node: int, max_listed: int) -> None:
        self._addresses = nodes
        self._targets = targets_per_node
        self._max_listed = max_listed
        self._fill = {name: PassTally() for name in nodes}
        self._verify = {name: PassTally() for name in nodes}
        self._passes = {FILL: self._fill, VERIFY: self._verify}
        self._new: defaultdict[Ending, defaultdict[Asked, list[float]]] = defaultdict(
            lambda: defaultdict(list)
        )
        self._uncounted = 0
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
        """Count targets that ended alike, on whatever nodes; a notable one stands alone."""
        one = alike[0]
        times = self._new[one.verdict, one.ok]
        for done in alike:
            times[done.asked].append(done.seconds)
        self._uncounted += len(alike)
        if self._uncounted >= _COUNT_AT:
            self._count()
        if self.is_notable(one):
            self._name(one)

    def retried(self, asked: Asked, times: int = 1) -> None:
        """Count retries as they are made: a target may never get its final answer."""
        self._pass_of(asked).retries += times

    def node_results(self) -> tuple[NodeResult, ...]:
        """Freeze the counts of each node."""
        self._count()
        return tuple(
            self._result(name, address, self._fill[name], self._verify[name], self._targets)
            for name, address in self._addresses.items()
        )

    def cold_medians(self) -> dict[str, float]:
        """Give the median time of each node's fill pass, in seconds."""
        self._count()
        medians = {name: tally.latencies.result().p50 for name, tally in self._fill.items()}
        return {name: p50 for name, p50 in medians.items() if p50 is not None}

    def total(self) -> NodeResult:
        """Freeze the counts of all nodes together."""
        self._count()
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
        return self._passes[asked.pass_name][asked.node]

    def _count(self) -> None:
        """Count the new ones node by node: of many nodes, few came in a row."""
        for (verdict, ok), times_of in self._new.items():
            for asked, times in times_of.items():
                self._pass_of(asked).add(verdict, times, ok=ok, counts=asked.counts_for_hit)
        self._new.clear()
        self._uncounted = 0

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
