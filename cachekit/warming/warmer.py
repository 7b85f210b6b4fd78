"""Runs a plan: fill pass, verify pass, gate; with lock and journal, until done or stopped."""

import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from cachekit.errors import JournalError
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
from cachekit.lock import locked
from cachekit.model import Node
from cachekit.replay import Fault, Response, place_of, replay
from cachekit.results import NodeResult, Outcome, WarmReport
from cachekit.settings import Settings
from cachekit.warming import gate, journal
from cachekit.warming.judge import Judge, follow
from cachekit.warming.lane import Lane, Target
from cachekit.warming.marks import Marks
from cachekit.warming.pace import Auto, Concurrency, Fixed
from cachekit.warming.plan import WarmPlan, plan_warm, terms_of
from cachekit.warming.retries import OVERLOADED_OR_BROKEN, Retries
from cachekit.warming.schedule import Schedule
from cachekit.warming.stop import Stop
from cachekit.warming.tally import Tally
from cachekit.warming.verdicts import Classifier
from cachekit.warming.ways import Ways

MAX_LISTED = 1000


def warm(
    settings: Settings,
    state_dir: Path,
    *,
    lists: Sequence[str] | None = None,
    listeners: Sequence[Listener] = (),
) -> WarmReport:
    """Plan and run in one call: warm all nodes of the settings with these lists, or all of them.

    `state_dir` holds locks and journal. Raises ConfigError, SourceError, LockedError, JournalError.
    """
    stop = Stop(settings.warm.budget)
    with tempfile.TemporaryDirectory(prefix="cachekit-") as scratch:
        plan = plan_warm(settings, lists=lists, spool=Path(scratch) / "urls", stop=stop)
        return run_warm(plan, state_dir, stop=stop, listeners=listeners)


def run_warm(  # noqa: PLR0913 - what can be said of one run
    plan: WarmPlan,
    state_dir: Path,
    *,
    resume: bool = False,
    stop: Stop | None = None,
    listeners: Sequence[Listener] = (),
    max_listed: int = MAX_LISTED,
    patience: float = 0.0,
) -> WarmReport:
    """Warm what the plan names and judge the result.

    A second run of the same site on the same node is kept out by a lock; it waits `patience`
    seconds for the first. Raises LockedError and JournalError; what goes wrong with nodes and URLs
    is in the report.
    """
    stop = stop or Stop(plan.settings.warm.budget)
    places = [place_of(node, plan.site) for node in plan.nodes]
    with locked(
        state_dir, str(plan.site), places, patience=patience, stopped=lambda: bool(stop.reason)
    ):
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
            return _Run(plan, record, stop, listeners, max_listed).run()
        finally:
            record.close()


class _Answer(Response):
    request: Target


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
        self._marks = {n.name: Marks(size, f"{record.name} {n.name}") for n in plan.nodes}
        self._ok = {name: marks.ok for name, marks in self._marks.items()}
        self._classifier = Classifier(self._warm.verdicts)
        self._retries = Retries(self._warm.retries)
        self._alike: defaultdict[journal.Likeness, list[TargetDone]] = defaultdict(list)
        self._skipped = 0
        self._cut_short = False

    def run(self) -> WarmReport:
        began = time.monotonic()
        self._replay_journal()
        self._tell(self._planned())
        self._pass(FILL)
        if self._warm.verify and not self._cut_short:
            self._pass(VERIFY)
        report = self._report(time.monotonic() - began)
        return report if report.ended_early else self._finished(report)

    def _finished(self, report: WarmReport) -> WarmReport:
        """Mark the run as complete; what was found stands, whether or not that can be recorded."""
        try:
            self._record.finish(report.outcome)
        except JournalError as error:
            return replace(report, warnings=(*report.warnings, str(error)))
        return report

    def _replay_journal(self) -> None:
        for alike in self._record.records():
            self._count(alike)
            for done in alike:
                self._tally.retried(done.asked, done.retries)
                self._marks[done.node].add_before(done)
            self._skipped += len(alike) * (alike[0].pass_name == FILL)

    def _planned(self) -> RunPlanned:
        return RunPlanned(self._plan.facts, self._skipped)

    def _pass(self, name: str) -> None:
        nodes = [node for node in self._plan.nodes if node.name not in self._tally.abandoned]
        schedule = Schedule(
            [self._lane(node, name) for node in nodes],
            self._stop,
            rate=self._warm.max_rate,
            before_start=self._flush,
        )
        judge = Judge(
            name,
            self._plan.site,
            self._classifier,
            elapsed=self._elapsed,
            cold=self._tally.cold_medians() if name == VERIFY else {},
            last_pass=name == VERIFY or not self._warm.verify,
        )
        self._tell(PassStarted(name, self._expected(name)))
        answers = replay(
            schedule,
            terms=terms_of(self._plan.settings),
            max_in_flight=self._warm.max_in_flight,
        )
        try:
            for response in cast("Iterator[_Answer]", answers):
                target = response.request
                lane = target.way.lane
                schedule.landed(lane)
                if response.fault is None and response.status < 300:
                    lane.answered(response.held)
                elif response.fault is Fault.CUT:
                    self._cut_short = True
                    continue
                elif self._again(target, response):
                    continue
                self._done(judge.done(target, response), lane)
        finally:
            self._flush()
        self._cut_short = self._cut_short or schedule.has_left()
        self._tell(PassFinished(name))

    def _again(self, target: Target, response: Response) -> bool:
        """Say whether this bad answer is not the target's final one; if so, queue it again."""
        lane, now = target.way.lane, time.monotonic()
        if response.fault is not None:
            lane.note(error=True)
        if self._retries.after(response, target, now):
            self._tally.retried(target.way.asked)
            return True
        if response.fault is None:
            lane.note(error=response.status in OVERLOADED_OR_BROKEN)
        if self._warm.follow and follow(target, response, self._plan.site):
            lane.retry(target, now)
            return True
        return False

    def _done(self, done: TargetDone, lane: Lane) -> None:
        if self._tally.is_notable(done):
            self._count((done,))
            self._record.add_notable(done)
        else:
            self._alike[journal.likeness(done)].append(done)
        for listener in self._listeners:
            listener(done)
        if lane.abandoned and lane.node not in self._tally.abandoned:
            self._tally.abandoned[lane.node] = lane.abandoned
            self._tell(NodeAbandoned(lane.node, lane.abandoned))

    def _count(self, alike: Sequence[TargetDone]) -> None:
        self._tally.add(alike)
        one = alike[0]
        if one.ok and one.pass_name == FILL:
            for done in alike:
                self._ok[done.asked.node][done.ordinal] = 1

    def _flush(self) -> None:
        """Count and record what is done, before anything new starts."""
        for alike in self._alike.values():
            self._count(alike)
            self._record.add(alike)
        self._alike.clear()
        try:
            self._record.flush()
        except JournalError as error:
            # What is not recorded would be asked again: end in order, with a report.
            if not self._stop.reason:
                self._stop.request(str(error))

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
        wanted = self._marks[node.name].wanted(name, float(warm.verify))
        lane.feed(Ways(self._plan, node, lane, name).stages(wanted))
        return lane

    def _expected(self, name: str) -> int:
        if name == FILL:
            return self._plan.targets - self._skipped
        share = float(self._warm.verify)
        return sum(marks.left_to_verify(share) for marks in self._marks.values())

    def _node_outcomes(self, nodes: Sequence[NodeResult]) -> dict[str, Outcome]:
        limits, required = self._warm.gate, self._tally.required_of
        hits = limits.min_hit is not None
        return {
            node.name: Outcome.NO_GO
            if self._cut_short
            else gate.node_outcome(
                limits, node, required[node.name].problems(self._plan.required, hits=hits)
            )
            for node in nodes
        }

    def _elapsed(self) -> float:
        return max(0.0, time.time() - float(self._record.run["started"]))

    def _report(self, elapsed: float) -> WarmReport:
        plan, tally, warm = self._plan, self._tally, self._warm
        nodes, total = tally.node_results(), tally.total()
        required = tally.required.problems(
            plan.required * len(plan.nodes), hits=warm.gate.min_hit is not None
        )
        found = gate.checks(warm.gate, nodes, total, required)
        sample = gate.sample_of(warm.verify, total.verify)
        outcome = gate.outcome(found)
        ended_early = self._stop.reason if self._cut_short else ""
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
            warnings=(*plan.warnings, *gate.doubts(warm.gate, total.verify, sample)),
            nodes=nodes,
            total=total,
            verify=warm.verify,
            sample=sample,
            checks=found,
            node_outcomes=self._node_outcomes(nodes),
            reasons=tally.reasons(),
            failures=tuple(tally.failures),
            failures_cut=tally.failures_cut,
            slowest=tally.slowest(),
        )
