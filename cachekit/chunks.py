"""Clears pages and warms them chunk by chunk: of a live site, no more than a chunk is ever cold."""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from cachekit.caches.base import Conditions, Place
from cachekit.errors import CachekitError, ConfigError
from cachekit.events import Listener
from cachekit.execution import Limits, StepListener, execute
from cachekit.lock import locked
from cachekit.lost_nodes import lost, without_lost
from cachekit.model import Node, Site
from cachekit.outcomes import ActionReport
from cachekit.plan import Plan, Selection, plan_clear
from cachekit.replay import place_of
from cachekit.results import Outcome, WarmReport
from cachekit.runs import RunOutcome
from cachekit.scope import Kind, Scope
from cachekit.settings import Settings, WarmList
from cachekit.sources.url_list import Urls
from cachekit.warming.journal import forget
from cachekit.warming.plan import WarmPlan, plan_warm
from cachekit.warming.stop import Stop
from cachekit.warming.warmer import run_warm

CHUNK = 50
PAGE_LAYER = 40
"""From here on caches hold pages, which a request fills again; what is further in holds data."""

PATIENCE_SECONDS = 600.0
"""So long another run is waited for, where not to go on would do harm."""

_LIST = "what was cleared"
_OF_WARM = {
    Outcome.GO: RunOutcome.DONE,
    Outcome.DEGRADED: RunOutcome.DEGRADED,
    Outcome.NO_GO: RunOutcome.FAILED,
}


@dataclass(frozen=True, kw_only=True)
class Course:
    """What holds for a whole run of clears and warms, and who hears of them.

    `selection` narrows the nodes that are warmed as well as the caches. So many seconds of
    `patience` another run that warms them is waited for before anything is touched.
    """

    conditions: Conditions
    stop: Stop
    limits: Limits = field(default_factory=Limits)
    selection: Selection = field(default_factory=Selection)
    step_listener: StepListener | None = None
    listeners: Sequence[Listener] = ()
    patience: float = 0.0

    def clear(self, plan: Plan) -> ActionReport:
        """Carry out the plan of a clear."""
        return execute(
            plan,
            self.conditions,
            limits=self.limits,
            stop=self.stop,
            listener=self.step_listener,
        )

    def warm(self, plan: WarmPlan) -> WarmReport:
        """Warm what was planned; it was cleared, so another run is waited for.

        Raises LockedError and JournalError.
        """
        return run_warm(
            plan,
            self.conditions.state_dir,
            stop=self.stop,
            listeners=self.listeners,
            patience=PATIENCE_SECONDS,
        )

    def goes_on(self, outcome: RunOutcome) -> bool:
        """Whether there is a next thing to do after one that ended so."""
        return not self.stop.reason and (outcome is not RunOutcome.FAILED or self.limits.keep_going)


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """What became of some URLs.

    `warm` is None where nothing was asked: `problem` says why, or `cuts` count what the settings
    leave out. `not_warmed` are the nodes that were left as they are, each with why.
    """

    urls: tuple[str, ...]
    clears: tuple[ActionReport, ...]
    warm: WarmReport | None = None
    cuts: Mapping[str, int] = field(default_factory=dict)
    problem: str = ""
    not_warmed: Mapping[str, str] = field(default_factory=dict)

    @property
    def outcome(self) -> RunOutcome:
        """The worst of its clears and its warming."""
        outcomes = [of_clear(each) for each in self.clears]
        outcomes += [of_warm(self.warm)] if self.warm else []
        outcomes += [RunOutcome.FAILED] if self.problem else []
        return worst(outcomes)


@dataclass(frozen=True, kw_only=True)
class ChunksReport:
    """All chunks that were begun, in order; `urls` counts those of the others, too."""

    urls: int
    chunks: tuple[Chunk, ...]
    elapsed: float

    @property
    def left(self) -> int:
        """How many URLs were not reached: they are as they were, and none of them is cold."""
        return self.urls - sum(len(chunk.urls) for chunk in self.chunks)

    @property
    def outcome(self) -> RunOutcome:
        """The worst of all chunks; what was not reached counts as failed."""
        outcomes = [chunk.outcome for chunk in self.chunks]
        return worst([*outcomes, RunOutcome.FAILED] if self.left else outcomes)


def of_clear(report: ActionReport) -> RunOutcome:
    """Give the outcome of a clear as that of a run."""
    return RunOutcome(report.outcome.value)


def of_warm(report: WarmReport) -> RunOutcome:
    """Give what the gate says as the outcome of a run."""
    return _OF_WARM[report.outcome]


def worst(outcomes: Collection[RunOutcome]) -> RunOutcome:
    """Give the worst of them; none at all are done."""
    return max(outcomes, key=lambda each: each.rank, default=RunOutcome.DONE)


def clear_and_warm(
    settings: Settings,
    urls: Sequence[str],
    course: Course,
    *,
    size: int = CHUNK,
    held_by: Mapping[str, Collection[str]] | None = None,
) -> ChunksReport:
    """Clear URLs of the page caches and warm them, `size` at a time, until one chunk fails.

    With `keep_going`, the others follow all the same. `held_by` names for each cache the URLs to
    clear there, instead of all of them in every page cache at the chosen nodes. Raises ConfigError
    for what is refused and LockedError, both before anything is touched.
    """
    began = time.monotonic()
    distinct = list(dict.fromkeys(urls))
    if held_by is None:
        held_by = dict.fromkeys(page_caches(settings, course.selection), frozenset(distinct))
    parts = [(part, _clears(settings, part, held_by, course)) for part in _parts(distinct, size)]
    if parts:
        refuse_if_locked(settings, course)
    chunks: list[Chunk] = []
    for part, plans in parts:
        if not course.goes_on(worst([chunk.outcome for chunk in chunks[-1:]])):
            break
        chunks.append(_chunk(settings, part, plans, course))
    return ChunksReport(urls=len(distinct), chunks=tuple(chunks), elapsed=time.monotonic() - began)


def page_caches(settings: Settings, selection: Selection) -> tuple[str, ...]:
    """Name the caches that hold pages by their URL at the chosen nodes, inside out."""
    found = [
        name
        for name, cache in settings.caches.items()
        if holds_pages(settings, name)
        and name in (selection.caches or settings.caches)
        and selection.narrowed(cache.places(settings.nodes))
    ]
    return tuple(sorted(found, key=lambda name: settings.caches[name].layer))


def holds_pages(settings: Settings, name: str) -> bool:
    """Whether a cache, or a part of one, holds pages by their URL."""
    cache = settings.caches[name.partition("/")[0]]
    return cache.layer >= PAGE_LAYER and Kind.URL in cache.scopes


def nodes_of(settings: Settings, selection: Selection) -> tuple[Node, ...]:
    """Give the nodes to warm. Raises ConfigError if there are none."""
    places = [Place(name=node.name, node=node) for node in settings.nodes.values()]
    nodes = tuple(place.node for place in selection.narrowed(places) if place.node is not None)
    if not nodes:
        raise ConfigError("nothing can be warmed: no node of `nodes:` is chosen")
    return nodes


def refuse_if_locked(settings: Settings, course: Course) -> None:
    """Refuse while another run warms these nodes: what is cleared now would stay cold.

    Raises LockedError.
    """
    site = Site(settings.site, tuple(settings.allow_hosts))
    places = [place_of(node, site) for node in nodes_of(settings, course.selection)]
    with locked(
        course.conditions.state_dir,
        str(site),
        places,
        patience=course.patience,
        stopped=lambda: bool(course.stop.reason),
    ):
        pass


def plan_urls(settings: Settings, urls: Sequence[str], course: Course) -> WarmPlan:
    """Plan to warm just these URLs. Raises ConfigError."""
    return plan_warm(
        with_lists(for_a_part(settings), {_LIST: WarmList(source=Urls(urls=tuple(urls)))}),
        nodes=nodes_of(settings, course.selection),
        lists=[_LIST],
        stop=course.stop,
    )


def for_a_part(settings: Settings) -> Settings:
    """Let nothing that was cleared be cut off, and nothing besides be required by the gate."""
    gate = replace(settings.warm.gate, required=())
    return replace(settings, warm=replace(settings.warm, gate=gate, limit=None))


def with_lists(settings: Settings, lists: Mapping[str, WarmList]) -> Settings:
    """Add lists, or replace some; they are kept in memory, where there is no place for a file."""
    return replace(
        settings,
        warmlists={**settings.warmlists, **lists},
        warm=replace(settings.warm, stream=False),
    )


def _parts(urls: Sequence[str], size: int) -> Iterator[tuple[str, ...]]:
    return (tuple(urls[at : at + size]) for at in range(0, len(urls), size))


def _clears(
    settings: Settings,
    part: Sequence[str],
    held_by: Mapping[str, Collection[str]],
    course: Course,
) -> list[Plan]:
    """Plan the clears of a chunk, caches that hold the same of it together, inside out."""
    caches: dict[tuple[str, ...], list[str]] = {}
    for name in sorted(held_by, key=lambda name: settings.caches[name].layer):
        if held := tuple(url for url in part if url in held_by[name]):
            caches.setdefault(held, []).append(name)
    return [
        plan_clear(
            settings,
            replace(course.selection, caches=tuple(names)),
            Scope(Kind.URL, held),
            course.conditions,
        )
        for held, names in caches.items()
    ]


def _chunk(
    settings: Settings, urls: tuple[str, ...], plans: Sequence[Plan], course: Course
) -> Chunk:
    """Clear a chunk, and warm it at the nodes where all of it was cleared."""
    nodes = [node.name for node in nodes_of(settings, course.selection)]
    clears: list[ActionReport] = []
    not_cleared: dict[str, str] = {}
    for plan in plans:
        left = without_lost(plan, not_cleared, nodes)
        if left.steps:
            clears.append(course.clear(left))
            not_cleared = {**lost(left, clears[-1], nodes), **not_cleared}
    chunk = Chunk(urls=urls, clears=tuple(clears), not_warmed=not_cleared)
    good = tuple(node for node in nodes if node not in not_cleared)
    if not good:
        return replace(chunk, problem="not cleared, so not warmed")
    at_good = replace(course.selection, nodes=good, groups=())
    return _warmed(settings, chunk, replace(course, selection=at_good))


def _warmed(settings: Settings, chunk: Chunk, course: Course) -> Chunk:
    try:
        plan = plan_urls(settings, chunk.urls, course)
        if not len(plan.urls):
            return replace(chunk, cuts=dict(plan.urls.cuts))
        report = course.warm(plan)
        # What ends in the midst of a chunk is cleared and warmed anew, from its beginning.
        forget(course.conditions.state_dir, report.run)
    except CachekitError as error:  # what was cleared must be in a report all the same
        return replace(chunk, problem=str(error))
    return replace(chunk, warm=report, cuts=dict(plan.urls.cuts))
