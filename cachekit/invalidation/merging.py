"""Makes a plan minimal: what a broader scope covers goes, and too many URLs become one scope."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from cachekit.invalidation.causes import Causes, Scoped, merged
from cachekit.scope import Kind
from cachekit.settings import Settings

Clears = Mapping[Scoped, Causes]
_OF_URLS = (Kind.URL, Kind.URL_PREFIX)


@dataclass(frozen=True, kw_only=True)
class Merge:
    """So many scopes of a kind became one; `limit` is the `merge_above` that they exceed."""

    kind: Kind
    count: int
    limit: int
    into: Scoped


def without_covered(clears: Clears) -> Clears:
    """Leave out what a broader scope of the same cache clears as well; it takes on the causes."""
    whole = {each.cache for each in clears if each.kind is Kind.EVERYTHING}
    prefixes: defaultdict[str, list[str]] = defaultdict(list)
    for each in sorted(clears, key=lambda each: each.value):
        widest = prefixes[each.cache]
        # In this order what begins with a prefix comes right after it.
        if each.kind is Kind.URL_PREFIX and not _prefix_of(each.value, widest):
            widest.append(each.value)
    kept: dict[Scoped, list[Causes]] = {}
    for each, causes in clears.items():
        kept.setdefault(_broadest(each, whole, prefixes[each.cache]), []).append(causes)
    return {each: merged(causes) for each, causes in kept.items()}


def merge(
    clears: Clears, settings: Settings, pages: Collection[str]
) -> tuple[Clears, tuple[Merge, ...]]:
    """Merge the scopes of each cache of pages that has more of a kind than the settings allow."""
    limit = settings.invalidation.merge_above
    merges = []
    broader: dict[Scoped, Causes] = {}
    for (cache, kind), values in _by_kind(clears, pages).items():
        if len(values) > limit:
            into = _common(cache, kind, values, settings.caches[cache].scopes)
            merges.append(Merge(kind=kind, count=len(values), limit=limit, into=into))
            broader.setdefault(into, ())
    return without_covered({**broader, **clears}), tuple(merges)


def _broadest(each: Scoped, whole: Collection[str], prefixes: Sequence[str]) -> Scoped:
    for cache in (each.cache.partition("/")[0], each.cache):
        if cache in whole:
            return Scoped(cache, Kind.EVERYTHING)
    if each.kind in _OF_URLS and (covering := _prefix_of(each.value, prefixes)):
        return Scoped(each.cache, Kind.URL_PREFIX, covering)
    return each


def _prefix_of(value: str, prefixes: Sequence[str]) -> str:
    """Find the prefix of a value among some in order, none of which begins with another."""
    before = bisect_right(prefixes, value)
    return prefixes[before - 1] if before and value.startswith(prefixes[before - 1]) else ""


def _by_kind(clears: Clears, pages: Collection[str]) -> dict[tuple[str, Kind], list[str]]:
    """Gather the values of each kind in each cache of pages."""
    found: dict[tuple[str, Kind], list[str]] = {}
    for each in clears:
        if each.cache in pages:
            found.setdefault((each.cache, each.kind), []).append(each.value)
    return dict(sorted(found.items()))


def _common(cache: str, kind: Kind, values: Sequence[str], scopes: Collection[Kind]) -> Scoped:
    """Find the narrowest scope of all values: the folder that URLs share, or everything."""
    if kind not in _OF_URLS:
        return Scoped(cache, Kind.EVERYTHING)
    # What the first and the last in order share, all share.
    first, last = min(values), max(values)
    pairs = enumerate(zip(first, last, strict=False))
    shared = next((at for at, (one, other) in pairs if one != other), len(first))
    folder = first[: first.rfind("/", 0, shared) + 1]
    # scheme://host/ is not narrower than the cache, nor is what several hosts share.
    if folder.count("/") > 3 and Kind.URL_PREFIX in scopes:
        return Scoped(cache, Kind.URL_PREFIX, folder)
    return Scoped(cache, Kind.EVERYTHING)
