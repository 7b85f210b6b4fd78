"""Renews pages before they expire: a warm looks how long they last, and those due are cleared.

Asking for a page that is cached does not make it younger, so what would expire before the next run
is cleared by URL where it is, and warmed again, chunk by chunk. What is fresh is left alone.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from cachekit.caches.base import Conditions
from cachekit.chunks import (
    PATIENCE_SECONDS,
    Chunk,
    ChunksReport,
    Course,
    clear_and_warm,
    page_caches,
    worst,
)
from cachekit.deadline import Deadline
from cachekit.errors import CachekitError, JournalError
from cachekit.events import FILL, Event, TargetDone
from cachekit.execution import Limits
from cachekit.model import Traits, Verdict
from cachekit.plan import Selection
from cachekit.results import Outcome, Renewal, WarmReport
from cachekit.runs import RunOutcome
from cachekit.settings import Settings
from cachekit.warming.headers import remaining
from cachekit.warming.journal import rejudge
from cachekit.warming.plan import WarmPlan, applicable
from cachekit.warming.stop import Stop

_IN_NO_CACHE = (Verdict.MISS, Verdict.UNCACHEABLE, Verdict.BYPASS)
_STEP_SECONDS = 120.0
_CANNOT = (
    "no cache at {nodes} can be cleared by URL, so pages that are cached there cannot be renewed"
    " before they expire; name the page cache under `caches:`"
)
_SICK = (
    "{nodes} did not pass the gate, so no page was cleared there: what is cleared before its origin"
    " is well again may be lost"
)
_OUTCOMES = {
    RunOutcome.DONE: Outcome.GO,
    RunOutcome.SKIPPED: Outcome.GO,
    RunOutcome.FAILED: Outcome.NO_GO,
    RunOutcome.UNKNOWN: Outcome.DEGRADED,
    RunOutcome.DEGRADED: Outcome.DEGRADED,
}


class Lifetimes:
    """A listener of a warm: counts how long pages last, and notes those due by the horizon.

    `horizon` is in seconds from now. Pages that are listed as not cacheable do not count.
    """

    def __init__(self, horizon: float) -> None:
        self._horizon = horizon
        self._fresh = self._unknown = self._missing = 0
        self.due: dict[bytes, dict[str, int]] = {}

    def __call__(self, event: Event) -> None:
        """Take note of one answer of the fill pass."""
        if not isinstance(event, TargetDone) or event.pass_name != FILL:
            return
        if event.ok and event.asked.counts_for_hit:
            self._note(event)

    @property
    def found(self) -> Renewal:
        """What was found; nothing is renewed yet."""
        return Renewal(
            horizon=self._horizon,
            fresh=self._fresh,
            expiring=sum(sum(targets.values()) for targets in self.due.values()),
            unknown=self._unknown,
            missing=self._missing,
        )

    def _note(self, done: TargetDone) -> None:
        if done.verdict in _IN_NO_CACHE:
            self._missing += 1
            return
        left = 0.0 if done.verdict is Verdict.STALE else remaining(done.head)
        if left is None:
            self._unknown += 1
        elif left > self._horizon:
            self._fresh += 1
        else:
            at = self.due.setdefault(done.url, {})
            at[done.node] = at.get(done.node, 0) + 1


@dataclass(frozen=True, kw_only=True)
class _Group:
    """Pages that are alike and due at the same nodes, each with its number of targets there."""

    traits: Traits
    nodes: tuple[str, ...]
    targets: Mapping[str, int]


def renewed(
    report: WarmReport, plan: WarmPlan, lifetimes: Lifetimes, state_dir: Path, stop: Stop
) -> WarmReport:
    """Clear and warm what is due, and complete the report of the warm that was listened to."""
    if report.ended_early:
        return replace(report, renewal=lifetimes.found)
    sick = {node for node, found in report.node_outcomes.items() if found is Outcome.NO_GO}
    groups, problems = _groups(plan, lifetimes, sick)
    outcome, count = RunOutcome.DONE, 0
    try:
        for group in groups:
            done = _renew(plan, group, state_dir, stop)
            count += sum(group.targets[url] for chunk in _good(done) for url in chunk.urls)
            problems += _problems(done, stop)
            outcome = worst((outcome, done.outcome))
            if outcome is RunOutcome.FAILED:
                break
    except CachekitError as error:
        outcome = RunOutcome.FAILED
        problems.append(str(error))
    renewal = replace(lifetimes.found, renewed=count, problems=tuple(dict.fromkeys(problems)))
    return _judged(replace(report, renewal=renewal), _OUTCOMES[outcome], state_dir)


def _judged(report: WarmReport, outcome: Outcome, state_dir: Path) -> WarmReport:
    """Let the worse of the warm and its renewal be the outcome, also of the run on record."""
    if outcome.rank <= report.outcome.rank:
        return report
    report = replace(report, outcome=outcome, exit_code=outcome.exit_code)
    try:
        rejudge(state_dir, report.run, outcome)
    except JournalError as error:
        return replace(report, warnings=(*report.warnings, str(error)))
    return report


def _groups(
    plan: WarmPlan, lifetimes: Lifetimes, sick: Collection[str]
) -> tuple[list[_Group], list[str]]:
    """Gather what can be cleared where it is due, and say at which nodes nothing can, or may."""
    settings = _with_nodes(plan)
    nodes = sorted({node for at in lifetimes.due.values() for node in at})
    clearable = {node for node in nodes if page_caches(settings, Selection(nodes=(node,)))}
    able = clearable.difference(sick)
    left = {
        _CANNOT: [node for node in nodes if node not in clearable],
        _SICK: [node for node in nodes if node in clearable - able],
    }
    found: dict[tuple[int, tuple[str, ...]], tuple[Traits, dict[str, int]]] = {}
    for url, traits in plan.urls:
        at = {node: n for node, n in lifetimes.due.get(url, {}).items() if node in able}
        if at:
            key = id(traits), tuple(sorted(at))
            text = url.decode("utf-8", "surrogateescape")
            found.setdefault(key, (traits, {}))[1][text] = sum(at.values())
    return (
        [_Group(traits=traits, nodes=key[1], targets=of) for key, (traits, of) in found.items()],
        [why.format(nodes=", ".join(names)) for why, names in left.items() if names],
    )


def _renew(plan: WarmPlan, group: _Group, state_dir: Path, stop: Stop) -> ChunksReport:
    settings = plan.settings
    conditions = Conditions(
        deadline=Deadline(_STEP_SECONDS),
        state_dir=state_dir,
        site=settings.site,
        release=settings.release,
        previous=settings.previous,
    )
    course = Course(
        conditions=conditions,
        stop=stop,
        limits=Limits(step_seconds=_STEP_SECONDS),
        selection=Selection(nodes=group.nodes),
        patience=PATIENCE_SECONDS,
    )
    return clear_and_warm(_settings_of(plan, group.traits), list(group.targets), course)


def _settings_of(plan: WarmPlan, traits: Traits) -> Settings:
    """Lay what sets these URLs apart over the settings, as what clears them takes bare URLs.

    Without the parts that may name lists and variants which are not among them.
    """
    settings, warm = _with_nodes(plan), plan.settings.warm
    return Settings(
        site=settings.site,
        allow_hosts=settings.allow_hosts,
        release=settings.release,
        previous=settings.previous,
        nodes=settings.nodes,
        caches=settings.caches,
        warm=replace(
            warm,
            variants={each.name: each for each in applicable(plan.variants, traits) if each.name},
            headers={**warm.headers, **traits.headers},
            expect=traits.expect.under(warm.expect) if traits.expect else warm.expect,
            include=(),
            exclude=(),
        ),
    )


def _with_nodes(plan: WarmPlan) -> Settings:
    """Add the nodes that were named by their address alone."""
    nodes = {node.name: node for node in plan.nodes}
    return replace(plan.settings, nodes={**plan.settings.nodes, **nodes})


def _good(done: ChunksReport) -> Iterator[Chunk]:
    return (chunk for chunk in done.chunks if chunk.outcome is not RunOutcome.FAILED)


def _problems(done: ChunksReport, stop: Stop) -> Iterator[str]:
    for chunk in done.chunks:
        yield from (step.reason for clear in chunk.clears for step in clear.steps if step.reason)
        yield from (f"{node} was not warmed: {why}" for node, why in chunk.not_warmed.items())
        if chunk.problem:
            yield chunk.problem
        for reason in chunk.warm.reasons if chunk.warm else ():
            yield f"{reason.title} - {reason.advice}; e.g. {', '.join(reason.examples)}"
    if done.left:
        yield f"{done.left:,} URLs were left as they were: {stop.reason or 'an earlier one failed'}"
