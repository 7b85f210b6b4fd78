"""Carries out a plan: clears inside out, what is broad warmed at once, and URLs in chunks."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from cachekit.chunks import (
    ChunksReport,
    Course,
    clear_and_warm,
    for_a_part,
    nodes_of,
    of_clear,
    of_warm,
    refuse_if_locked,
    with_lists,
    worst,
)
from cachekit.errors import CachekitError, ConfigError, Problem
from cachekit.invalidation.assets import AssetFinding, Keeping, ask_assets
from cachekit.invalidation.causes import Scoped
from cachekit.invalidation.plan import REBUILD, InvalidationPlan
from cachekit.invalidation.within import Within
from cachekit.outcomes import ActionReport
from cachekit.plan import Plan, plan_clear
from cachekit.releases import per_release
from cachekit.results import WarmReport
from cachekit.runs import RunOutcome
from cachekit.scope import Kind, Scope
from cachekit.settings import Settings, WarmList
from cachekit.sources.url_list import Urls
from cachekit.warming.plan import WarmPlan, plan_warm

_BESIDES = "what was invalidated"


@dataclass(frozen=True, kw_only=True)
class InvalidationReport:
    """What became of a plan; `elapsed` in seconds.

    `clears` came first, then `warm` for what no chunk has, then the chunks; `problem` ended it
    before that. What is None was not begun, or there was nothing of it.
    """

    plan: InvalidationPlan
    assets: tuple[AssetFinding, ...] = ()
    gates_assets: bool = False
    clears: tuple[ActionReport, ...] = ()
    warm: WarmReport | None = None
    chunks: ChunksReport | None = None
    problem: str = ""
    ended_early: str = ""
    elapsed: float = 0.0

    @property
    def of_work(self) -> RunOutcome:
        """The worst of all that was done."""
        outcomes = [of_clear(each) for each in self.clears]
        outcomes += [of_warm(self.warm)] if self.warm else []
        outcomes += [self.chunks.outcome] if self.chunks else []
        outcomes += [RunOutcome.FAILED] if self.problem or self.ended_early else []
        return worst(outcomes)

    @property
    def outcome(self) -> RunOutcome:
        """The worst of that, of what the gate says of assets, and of what the plan lacks."""
        gated = [_OF_KEEPING[each.keeping] for each in self.assets if self.gates_assets]
        refused = [RunOutcome.FAILED] if self.plan.is_refused or self.plan.left_out else []
        return worst([self.of_work, *gated, *refused])


def look(plan: InvalidationPlan, settings: Settings, course: Course) -> InvalidationReport:
    """Ask the nodes about changed assets, and let everything be refused that will be.

    Nothing is changed. Raises ConfigError.
    """
    course = _of_live(course)
    _plan_clears(plan, settings, course)
    wants_nodes = plan.warms or plan.assets or plan.within
    nodes = nodes_of(settings, course.selection) if wants_nodes else ()
    gates = settings.invalidation.assets is not None and settings.invalidation.assets.gate == "fail"
    assets = ask_assets(plan.assets, settings, nodes, course.stop) if plan.assets else ()
    return InvalidationReport(plan=plan, assets=assets, gates_assets=gates)


def invalidate(
    looked: InvalidationReport, settings: Settings, course: Course
) -> InvalidationReport:
    """Clear and warm what was looked at before; nothing, if the plan is refused.

    Raises ConfigError and LockedError before anything is touched.
    """
    plan, began, course = looked.plan, time.monotonic(), _of_live(course)
    if plan.is_refused:
        return looked
    clears = _plan_clears(plan, settings, course)
    if plan.warms or plan.within:
        refuse_if_locked(settings, course)
    report = replace(looked, clears=_cleared(clears, course))
    is_whole = len(report.clears) == len(clears)
    for follow in (_warmed, _renewed):
        is_whole = is_whole and course.goes_on(report.of_work)
        report = follow(report, settings, course) if is_whole else report
    is_whole = is_whole and report.of_work is not RunOutcome.FAILED
    return replace(
        report,
        ended_early="" if is_whole else course.stop.reason,
        elapsed=time.monotonic() - began,
    )


def _of_live(course: Course) -> Course:
    """Let nothing be spared because it is of the live release: its files are what has changed."""
    return replace(course, conditions=replace(course.conditions, live_is_stale=True))


def _plan_clears(plan: InvalidationPlan, settings: Settings, course: Course) -> list[Plan]:
    """Plan the clears that come before the chunks.

    Raises ConfigError with all that is refused, of the chunks as well.
    """
    before: dict[tuple[str, Kind], list[str]] = {}
    for each in plan.at_once:
        before.setdefault((each.cache, each.kind), []).extend(each.scope.values)
    scopes = [(cache, Scope(kind, tuple(values))) for (cache, kind), values in before.items()]
    chunked = [(c, Scope(Kind.URL, tuple(urls))) for c, urls in plan.chunked.items() if urls]
    plans: list[Plan] = []
    problems: dict[Problem, None] = {}
    for cache, scope in (*scopes, *chunked):
        try:
            plans.append(_plan_clear(cache, scope, settings, course))
        except ConfigError:
            problems |= dict.fromkeys(_refusals(plan, (cache, scope.kind), settings, course))
    if problems:
        raise ConfigError(list(problems))
    return plans[: len(scopes)]


def _plan_clear(cache: str, scope: Scope, settings: Settings, course: Course) -> Plan:
    selection = replace(course.selection, caches=(cache,))
    return plan_clear(settings, selection, scope, course.conditions)


def _refusals(
    plan: InvalidationPlan, refused: tuple[str, Kind], settings: Settings, course: Course
) -> Iterator[Problem]:
    """Find what is refused among things of a kind, and say of each by which file and rule."""
    for each, causes in plan.clears.items():
        if (each.cache, each.kind) != refused:
            continue
        try:
            _plan_clear(each.cache, each.scope, settings, course)
        except ConfigError as error:
            hint = _hint(each, settings) if causes[0].rule == REBUILD else ""
            yield from (Problem(str(causes[0]), f"{why}{hint}") for why in error.problems)


def _hint(each: Scoped, settings: Settings) -> str:
    wants_live = each.cache in per_release(settings) and not settings.release
    live = "; with `release:` or --live its entries of the live release go alone"
    return f"{live if wants_live else ''}; `rebuild:` can leave it out"


def _cleared(plans: Sequence[Plan], course: Course) -> tuple[ActionReport, ...]:
    reports: list[ActionReport] = []
    for plan in plans:
        if not course.goes_on(worst([of_clear(each) for each in reports])):
            break
        reports.append(course.clear(plan))
    return tuple(reports)


def _warmed(report: InvalidationReport, settings: Settings, course: Course) -> InvalidationReport:
    """Warm what no chunk clears: URLs that rules name, and of the lists what was cleared."""
    plan = report.plan
    in_chunks = frozenset().union(*plan.chunked.values())
    lists = {}
    if urls := tuple(url for url in plan.warms if url not in in_chunks):
        lists[_BESIDES] = WarmList(source=Urls(urls=urls))
    lists |= _lists_within(plan, settings)
    if not lists:
        return report
    try:
        warm = _plan_warm(lists, settings, course, everything=plan.rebuilds)
        return replace(report, warm=course.warm(warm)) if len(warm.urls) else report
    except CachekitError as error:  # what was cleared must be in a report all the same
        return replace(report, problem=str(error))


def _lists_within(plan: InvalidationPlan, settings: Settings) -> dict[str, WarmList]:
    if plan.within is None:
        return {}
    lists = {name: settings.warmlists[name] for name in plan.lists}
    return {
        name: replace(each, source=Within(source=each.source, scopes=plan.within))
        for name, each in lists.items()
    }


def _plan_warm(
    lists: Mapping[str, WarmList], settings: Settings, course: Course, *, everything: bool
) -> WarmPlan:
    """Plan to warm lists: as in any warm where everything was cleared, else as a part of it."""
    return plan_warm(
        with_lists(settings if everything else for_a_part(settings), lists),
        nodes=nodes_of(settings, course.selection),
        lists=tuple(lists),
        stop=course.stop,
    )


def _renewed(report: InvalidationReport, settings: Settings, course: Course) -> InvalidationReport:
    held_by = report.plan.chunked
    in_chunks = frozenset().union(*held_by.values())
    urls = [url for url in report.plan.warms if url in in_chunks]
    try:
        chunks = clear_and_warm(
            settings, urls, course, size=settings.invalidation.chunk, held_by=held_by
        )
    except CachekitError as error:  # another run came between
        return replace(report, problem=str(error))
    return replace(report, chunks=chunks) if urls else report


_OF_KEEPING = {
    Keeping.LONG: RunOutcome.FAILED,
    Keeping.UNKNOWN: RunOutcome.UNKNOWN,
    Keeping.SHORT: RunOutcome.DONE,
}
