"""Runs a plan: fill pass, verify pass, gate; with lock and journal, until done or stopped."""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from cachekit.events import (
    FILL,
    VERIFY,
    Event,
    Listener,
    NodeAbandoned,
    PassFinished,
    PassStarted,
    RunPlanned,
    TargetDone,
)
from cachekit.model import Expect, Node, Traits
from cachekit.replay import Fault, Request, Response, replay, route_to
from cachekit.results import Outcome, WarmReport
from cachekit.warming import gate, journal
from cachekit.warming.judge import NOTHING_SPECIAL, Judge, follow
from cachekit.warming.lock import locked
from cachekit.warming.marks import Marks
from cachekit.warming.pace import Auto, Concurrency, Fixed
from cachekit.warming.plan import WarmPlan, applicable, header_lines, terms_of
from cachekit.warming.schedule import OVERLOADED, Lane, Retries, Schedule, Stop, Target, Way
from cachekit.warming.tally import Tally
from cachekit.warming.verdicts import Classifier

MAX_LISTED = 1000


def run_warm(
    plan: WarmPlan,
    state_dir: Path,
    *,
    resume: bool = False,
    stop: Stop | None = None,
    listeners: Sequence[Listener] = (),
    max_listed: int = MAX_LISTED,
) -> WarmReport:
    """Warm what the plan names and judge the result.

    A second run of the same site on the same node is kept out by a lock. Raises LockedError and
    JournalError; what goes wrong with nodes and URLs is in the report.
    """
    addresses = [str(node.address) for node in plan.nodes]
    with locked(state_dir, str(plan.site), addresses):
        facts = {
            "site": plan.facts.site,
            "nodes": plan.facts.nodes,
            "lists": plan.facts.lists,
            "targets": plan.targets,
        }
        record = (
            journal.resume(state_dir, plan.key, plan.urls.digest)
            if resume
            else journal.start(state_dir, plan.key, plan.urls.digest, facts)
        )
        try:
            return _Run(
                plan, record, stop or Stop(plan.settings.warm.budget), listeners, max_listed
            ).run()
        finally:
            record.close()


class _Progress:
    """Which targets of one node are done.

    Asked in the fill pass, ok in it, asked in the verify pass.
    """

    def __init__(self, size: int) -> None:
        self.filled = Marks(size)
        self.ok = Marks(size)
        self.verified = Marks(size)

    def add(self, done: TargetDone) -> None:
        if done.pass_name == VERIFY:
            self.verified.add(done.ordinal)
            return
        self.filled.add(done.ordinal)
        if done.ok:
            self.ok.add(done.ordinal)


class _Journaled:
    """A schedule that lets nothing start before what is done has been recorded."""

    def __init__(self, schedule: Schedule, record: journal.Journal) -> None:
        self._schedule = schedule
        self._flush = record.flush
        self.wait = schedule.wait
        self.cut = schedule.cut

    def admit(self) -> Request | None:
        self._flush()
        return self._schedule.admit()


class _Run:
    def __init__(
        self,
        plan: WarmPlan,
        record: journal.Journal,
        stop: Stop,
        listeners: Sequence[Listener],
        max_listed: int,
    ) -> None:
        self._plan = plan
        self._warm = plan.settings.warm
        self._record = record
        self._stop = stop
        self._listeners = tuple(listeners)
        self._tally = Tally(
            {node.name: str(node.address) for node in plan.nodes}, plan.per_node, max_listed
        )
        size = len(plan.urls) * len(plan.variants)
        self._progress = {node.name: _Progress(size) for node in plan.nodes}
        self._classifier = Classifier(self._warm.verdicts)
        self._retries = Retries(self._warm.retries)
        self._skipped = 0

    def run(self) -> WarmReport:
        began = time.monotonic()
        self._replay_journal()
        self._tell(self._planned())
        self._pass(FILL)
        if self._warm.verify:
            self._pass(VERIFY)
        report = self._report(time.monotonic() - began)
        if not report.ended_early:
            self._record.finish(report.outcome)
        return report

    def _replay_journal(self) -> None:
        for done in self._record.records():
            self._count(done)
            self._skipped += done.pass_name == FILL

    def _planned(self) -> RunPlanned:
        return RunPlanned(self._plan.facts, self._skipped)

    def _pass(self, name: str) -> None:
        lanes = [
            self._lane(node, name)
            for node in self._plan.nodes
            if node.name not in self._tally.abandoned
        ]
        schedule = Schedule(lanes, self._stop, rate=self._warm.max_rate)
        judge = Judge(
            name,
            self._plan.site,
            self._classifier,
            elapsed=self._elapsed,
            last_pass=name == VERIFY or not self._warm.verify,
        )
        self._tell(PassStarted(name, self._expected(name)))
        answers = replay(
            _Journaled(schedule, self._record),
            terms=terms_of(self._plan.settings),
            max_in_flight=self._warm.max_in_flight,
        )
        for response in answers:
            target = response.request
            assert isinstance(target, Target)  # noqa: S101 - what the schedule admits
            schedule.landed(target)
            if response.fault is not Fault.CUT and not self._again(target, response):
                self._done(judge.done(target, response), target.way.lane, response)
        self._record.flush()
        self._tell(PassFinished(name))

    def _again(self, target: Target, response: Response) -> bool:
        """Queue the target again, if the answer is not its final one."""
        lane, now = target.way.lane, time.monotonic()
        if response.fault is None and 200 <= response.status < 300:
            return False
        if response.fault is not None:
            lane.note(error=True)
        if self._retries.after(response, target, now):
            return True
        if self._warm.follow and follow(target, response, self._plan.site):
            lane.retry(target, now)
            return True
        return False

    def _done(self, done: TargetDone, lane: Lane, response: Response) -> None:
        if response.fault is None:
            overloaded = response.status >= 500 or response.status in OVERLOADED
            lane.note(error=overloaded)
            if not overloaded:
                lane.concurrency.answered(response.seconds)
        self._record.add(done, notable=self._count(done))
        for listener in self._listeners:
            listener(done)
        if lane.abandoned and lane.node not in self._tally.abandoned:
            self._tally.abandoned[lane.node] = lane.abandoned
            self._tell(NodeAbandoned(lane.node, lane.abandoned))

    def _count(self, done: TargetDone) -> bool:
        self._progress[done.node].add(done)
        return self._tally.add(done)

    def _tell(self, event: Event) -> None:
        for listener in self._listeners:
            listener(event)

    def _lane(self, node: Node, name: str) -> Lane:
        warm = self._warm
        concurrency: Concurrency = (
            Auto(warm.max_in_flight) if warm.concurrency == "auto" else Fixed(warm.concurrency)
        )
        lane = Lane(
            node.name,
            concurrency,
            rate=warm.rate,
            max_error_rate=warm.max_error_rate,
        )
        ways = _ways(self._plan, node, lane)
        lane.feed(self._targets(ways, self._wanted(node, name)))
        return lane

    def _targets(
        self, ways: Callable[[Traits], list[tuple[int, Way]]], wanted: Callable[[int], bool] | None
    ) -> Iterator[Target]:
        base, step = 0, len(self._plan.variants)
        for url, traits in self._plan.urls:
            for place, way in ways(traits):
                if wanted is None or wanted(base + place):
                    yield Target(url, way, base + place)
            base += step

    def _wanted(self, node: Node, name: str) -> Callable[[int], bool] | None:
        progress = self._progress[node.name]
        if name == FILL:
            filled = progress.filled
            return (lambda number: number not in filled) if filled.count else None
        ok, verified = progress.ok, progress.verified
        if self._warm.verify == 1:
            return lambda number: number in ok and number not in verified
        sampled = _sampled(float(self._warm.verify))
        return lambda number: number in ok and number not in verified and sampled(number)

    def _expected(self, name: str) -> int:
        if name == FILL:
            return self._plan.targets - self._skipped
        share = float(self._warm.verify)
        left = sum(p.ok.count * share - p.verified.count for p in self._progress.values())
        return max(0, round(left))

    def _elapsed(self) -> float:
        return max(0.0, time.time() - float(self._record.run["started"]))

    def _report(self, elapsed: float) -> WarmReport:
        plan, tally, warm = self._plan, self._tally, self._warm
        nodes, total = tally.node_results(), tally.total()
        found = gate.checks(warm.gate, nodes, total, self._required_problems())
        outcome = gate.outcome(found)
        ended_early = self._stop.reason if total.asked < total.targets or self._unverified() else ""
        if ended_early:
            outcome = Outcome.NO_GO
        return WarmReport(
            site=str(plan.site),
            outcome=outcome,
            exit_code=outcome.exit_code,
            started=datetime.fromtimestamp(self._record.run["started"], UTC).isoformat(
                timespec="seconds"
            ),
            elapsed=elapsed,
            ended_early=ended_early,
            run=self._record.name,
            skipped=self._skipped,
            urls=len(plan.urls),
            variants=tuple(variant.name for variant in plan.variants if variant.name),
            targets=plan.targets,
            cuts=dict(plan.urls.cuts),
            warnings=plan.warnings,
            nodes=nodes,
            total=total,
            verify=warm.verify,
            sample=gate.sample_of(warm.verify, total.verify),
            checks=found,
            reasons=tally.reasons(),
            failures=tuple(tally.failures),
            failures_cut=tally.failures_cut,
            slowest=tally.slowest(),
        )

    def _unverified(self) -> bool:
        return bool(self._warm.verify) and self._expected(VERIFY) > 0

    def _required_problems(self) -> list[str]:
        wrong = list(self._tally.required_failures)
        if self._warm.gate.min_hit is not None:
            wrong += [f"{named} (no hit)" for named in self._tally.required_not_hit]
        missing = self._plan.required * len(self._plan.nodes) - self._tally.required_asked
        if missing:
            wrong.append(f"{missing} not asked")
        return wrong


def _ways(plan: WarmPlan, node: Node, lane: Lane) -> Callable[[Traits], list[tuple[int, Way]]]:
    """Make one Way per variant and traits of a node, when first needed."""
    route, known = route_to(node, plan.site), dict[int, list[tuple[int, Way]]]()

    def ways(traits: Traits) -> list[tuple[int, Way]]:
        # Traits are shared and outlive the run, so their identity is a cheap key for the hot path.
        found = known.get(id(traits))
        if found is None:
            found = known[id(traits)] = [
                (
                    place,
                    Way(
                        lane,
                        route,
                        variant=variant,
                        traits=traits,
                        expect=_expectation(plan, traits),
                        headers=header_lines(plan.settings, variant, traits),
                    ),
                )
                for place, variant in applicable(plan.variants, traits)
            ]
        return found

    return ways


def _expectation(plan: WarmPlan, traits: Traits) -> Expect:
    wider = plan.settings.warm.expect
    expect = wider if traits.expect is None else traits.expect.under(wider)
    return NOTHING_SPECIAL if expect == NOTHING_SPECIAL else expect


def _sampled(share: float) -> Callable[[int], bool]:
    """Choose targets evenly scattered, and the same ones when a run is resumed."""
    limit = int(share * 2**32)

    def chosen(number: int) -> bool:
        digest = hashlib.blake2b(number.to_bytes(8, "big"), digest_size=4).digest()
        return int.from_bytes(digest, "big") < limit

    return chosen
