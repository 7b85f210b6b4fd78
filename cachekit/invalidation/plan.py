"""Changes and rules → what to clear and to warm, each line explained by file and rule. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cachekit.caches.base import Cache, Conditions
from cachekit.chunks import holds_pages, page_caches
from cachekit.errors import ConfigError, Problem
from cachekit.invalidation.causes import Cause, Causes, Draft, Scoped, merged
from cachekit.invalidation.changes import ChangeKind, FileChange
from cachekit.invalidation.merging import Merge, merge, without_covered
from cachekit.invalidation.patterns import pattern
from cachekit.invalidation_settings import Assets, Rule, Unmatched
from cachekit.model import Site
from cachekit.plan import Selection, is_per_release
from cachekit.plan.selection import chosen, parts_of
from cachekit.scope import EVERYTHING, Kind, Scope
from cachekit.settings import Settings

WITHIN_LISTS = frozenset({Kind.EVERYTHING, Kind.RELEASE, Kind.URL_PREFIX, Kind.URL_REGEX})
"""Scopes on caches of pages of which lists tell what was in them."""

REBUILD = "unmatched: rebuild"


@dataclass(frozen=True, kw_only=True)
class InvalidationPlan:
    """What changes come to.

    `clears` are in their order, inside out; `warms` are URLs. `assets` are files that browsers may
    hold, by their public URL. `unmatched` matched no rule, and `then` says what follows from that.
    `left_out` are lines of rules that no URL could be made of.
    """

    site: str
    changes: int
    clears: Mapping[Scoped, Causes]
    warms: Mapping[str, Causes]
    pages: frozenset[str]
    assets: Mapping[str, Cause]
    merges: tuple[Merge, ...]
    ignored: tuple[FileChange, ...]
    unmatched: tuple[FileChange, ...]
    left_out: tuple[Problem, ...]
    then: Unmatched
    lists: tuple[str, ...]

    @property
    def rebuilds(self) -> bool:
        """Whether a file that no rule matched clears everything."""
        return bool(self.unmatched) and self.then == "rebuild"

    @property
    def is_refused(self) -> bool:
        """Whether a file matched no rule where that must not be."""
        return bool(self.unmatched) and self.then == "fail"

    @property
    def chunked(self) -> Mapping[str, frozenset[str]]:
        """The URLs that are cleared and warmed in chunks, by the cache of pages."""
        return {
            cache: frozenset(
                each.value
                for each in self.clears
                if each.cache == cache and each.kind is Kind.URL and each.value in self.warms
            )
            for cache in self.pages
        }

    @property
    def at_once(self) -> Sequence[Scoped]:
        """All other scopes, which are cleared before."""
        chunked = self.chunked
        return [
            each
            for each in self.clears
            if each.kind is not Kind.URL or each.value not in chunked.get(each.cache, ())
        ]

    @property
    def within(self) -> tuple[Scope, ...] | None:
        """Of which scopes the lists are warmed: everything among them is all; None is none."""
        broad = dict.fromkeys(
            each.scope
            for each in self.clears
            if each.cache in self.pages and each.kind in WITHIN_LISTS
        )
        if not self.lists or not (broad or self.rebuilds):
            return None
        return (EVERYTHING,) if self.rebuilds or EVERYTHING in broad else tuple(broad)

    @property
    def notes(self) -> tuple[str, ...]:
        """Say what is cleared, and cannot be warmed by what is known of it."""
        blind = dict.fromkeys(
            f"{each.cache}: pages cleared by {each.kind} are warmed only as `warm:` names them"
            for each in self.clears
            if each.cache in self.pages and each.kind not in (*WITHIN_LISTS, Kind.URL)
        )
        unlisted = (
            ("no lists of URLs: of what is cleared broadly, nothing more is warmed",)
            if not self.lists and any(each.kind in WITHIN_LISTS for each in self.clears)
            else ()
        )
        in_part = (
            f"{each.cache}: all of it cannot be cleared, so its entries of {each.scope} go alone"
            for each in self.clears
            if each.kind is Kind.RELEASE
        )
        nowhere = (
            ("no cache is here to be cleared; lists are all that is warmed",)
            if self.rebuilds and not self.clears
            else ()
        )
        return (*nowhere, *in_part, *blind, *unlisted)


def plan_invalidation(
    changes: Sequence[FileChange],
    settings: Settings,
    selection: Selection,
    conditions: Conditions,
) -> InvalidationPlan:
    """Apply the rules of the settings to changes, for the chosen nodes and the live release.

    Raises ConfigError for all that no cache could take, with file and rule.
    """
    matching = _Matching(settings, selection, conditions)
    for change in changes:
        matching.take(change)
    draft = matching.draft
    if draft.problems:
        raise ConfigError(list(draft.problems))
    pages = frozenset(page_caches(settings, selection))
    clears = without_covered({each: merged([causes]) for each, causes in draft.clears.items()})
    clears, merges = merge(clears, settings, pages)
    lists = settings.invalidation.lists
    return InvalidationPlan(
        site=str(draft.site),
        changes=len(changes),
        clears=dict(sorted(clears.items(), key=lambda item: _named(settings, item[0].cache).layer)),
        warms={url: merged([causes]) for url, causes in draft.warms.items()},
        pages=pages,
        assets=matching.assets,
        merges=merges,
        ignored=tuple(matching.ignored),
        unmatched=tuple(matching.unmatched),
        left_out=tuple(draft.left_out),
        then=settings.invalidation.unmatched,
        lists=tuple(settings.warmlists) if lists is None else lists,
    )


class _Matching:
    """Takes changes one by one into a draft."""

    def __init__(self, settings: Settings, selection: Selection, conditions: Conditions) -> None:
        self.draft = Draft(Site(settings.site, tuple(settings.allow_hosts)))
        self.assets: dict[str, Cause] = {}
        self.ignored: list[FileChange] = []
        self.unmatched: list[FileChange] = []
        self._settings = settings
        self._conditions = conditions
        self._invalidation = settings.invalidation
        problems: list[Problem] = []
        found = chosen(settings, selection, problems) if settings.caches else ()
        self._here = {each.name: each.parts for each in found}
        if problems:
            raise ConfigError(problems)

    def take(self, change: FileChange) -> None:
        """Add what follows from one change."""
        is_matched = False
        for number, rule in enumerate(self._invalidation.rules):
            if (found := _match(rule, change.path)) is None:
                continue
            written, captures = found
            if rule.ignore:
                if not is_matched:
                    self.ignored.append(change)
                return
            is_matched = True
            self._apply(rule, captures, Cause(change, f"rules[{number}] {written}"))
        if not self._take_asset(change) and not is_matched:
            self._take_unmatched(change)

    def _apply(self, rule: Rule, captures: Mapping[str, str], cause: Cause) -> None:
        for name, stale in rule.clear.items():
            for kind, text in stale.texts():
                for chosen_name in self._chosen(name, kind):
                    value = self.draft.clear(chosen_name, kind, text, captures, cause)
                    if value and kind is Kind.URL and holds_pages(self._settings, name):
                        self.draft.warm(text, captures, cause)
        for text in rule.warm:
            self.draft.warm(text, captures, cause)

    def _chosen(self, name: str, kind: Kind) -> Sequence[str]:
        """Narrow a cache, or a part of one, to what was chosen of it and takes this kind."""
        cache = name.partition("/")[0]
        parts = self._here.get(cache, {})
        if name in parts:
            return (name,)
        if name != cache or len(parts) == len(parts_of(cache, self._settings.caches[cache])):
            return (cache,) if name == cache else ()
        return [part for part, each in parts.items() if kind in each.scopes]

    def _take_asset(self, change: FileChange) -> bool:
        assets = self._invalidation.assets
        if assets is None or (found := _match(assets, change.path)) is None:
            return False
        written, captures = found
        cause = Cause(change, f"assets {written}")
        for name in self._here:
            if holds_pages(self._settings, name):
                self.draft.clear(name, Kind.URL, assets.url, captures, cause)
        url = self.draft.warm(assets.url, captures, cause)
        if change.kind is ChangeKind.MODIFIED and url:
            self.assets[url] = cause
        return True

    def _take_unmatched(self, change: FileChange) -> None:
        self.unmatched.append(change)
        if self._invalidation.unmatched != "rebuild":
            return
        cause = Cause(change, REBUILD)
        for name in self._invalidation.rebuild or self._here:
            for chosen_name in self._chosen(name, Kind.EVERYTHING):
                self._rebuild(chosen_name, cause)

    def _rebuild(self, name: str, cause: Cause) -> None:
        """Clear everything, or where that is refused the live release alone, if it is apart."""
        live, cache = self._conditions.release, _named(self._settings, name)
        is_refused = bool(cache.refusal(EVERYTHING, self._conditions))
        if live and is_refused and is_per_release(cache):
            self.draft.clear(name, Kind.RELEASE, "{live}", {"live": live}, cause)
        else:
            self.draft.clear(name, Kind.EVERYTHING, "", {}, cause)


def _named(settings: Settings, name: str) -> Cache:
    """Give a cache, or a part of one as `code/opcode`."""
    cache = name.partition("/")[0]
    return parts_of(cache, settings.caches[cache]).get(name, settings.caches[cache])


def _match(rule: Rule | Assets, path: str) -> tuple[str, Mapping[str, str]] | None:
    """Give the first pattern that matches, and what it captured."""
    for written in rule.match:
        captures = pattern(written).match(path)
        if captures is not None:
            return written, captures
    return None
