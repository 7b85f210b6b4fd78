"""Makes a plan minimal: what a broader scope covers goes, and too many URLs become one scope."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from cachekit.invalidation.causes import Causes, Scoped, merged
from cachekit.scope import Kind
from cachekit.settings import Settings

Clears = Mapping[Scoped, Causes]


@dataclass(frozen=True, kw_only=True)
class Merge:
    """So many URLs of a cache became one scope; `limit` is the `merge_above` they exceed."""

    urls: int
    limit: int
    into: Scoped


def without_covered(clears: Clears) -> Clears:
    """Leave out what a broader scope of the same cache clears as well; it takes on the causes."""
    whole = {each.cache for each in clears if each.kind is Kind.EVERYTHING}
    prefixes = defaultdict(list)
    for each in clears:
        if each.kind is Kind.URL_PREFIX:
            prefixes[each.cache].append(each.value)
    kept: dict[Scoped, list[Causes]] = {}
    for each, causes in clears.items():
        kept.setdefault(_broadest(each, whole, prefixes[each.cache]), []).append(causes)
    return {each: merged(causes) for each, causes in kept.items()}


def merge(
    clears: Clears, settings: Settings, pages: Iterable[str]
) -> tuple[Clears, tuple[Merge, ...]]:
    """Merge the URLs of each cache of pages that has more of them than the settings allow."""
    limit = settings.invalidation.merge_above
    merges = []
    broader: dict[Scoped, Causes] = {}
    for cache in sorted(pages):
        urls = [each.value for each in clears if each.cache == cache and each.kind is Kind.URL]
        if len(urls) > limit:
            into = _common(cache, urls, settings.caches[cache].scopes)
            merges.append(Merge(urls=len(urls), limit=limit, into=into))
            broader.setdefault(into, ())
    return without_covered({**broader, **clears}), tuple(merges)


def _broadest(each: Scoped, whole: Collection[str], prefixes: Sequence[str]) -> Scoped:
    if each.cache in whole:
        return Scoped(each.cache, Kind.EVERYTHING)
    if each.kind in (Kind.URL, Kind.URL_PREFIX):
        covering = [prefix for prefix in prefixes if each.value.startswith(prefix)]
        if covering:
            return Scoped(each.cache, Kind.URL_PREFIX, min(covering, key=len))
    return each


def _common(cache: str, urls: Sequence[str], scopes: Collection[Kind]) -> Scoped:
    """Find the narrowest scope of all URLs: the folder that they share, or everything."""
    # What the first and the last in order share, all share.
    first, last = min(urls), max(urls)
    pairs = enumerate(zip(first, last, strict=False))
    shared = next((at for at, (one, other) in pairs if one != other), len(first))
    folder = first[: first.rfind("/", 0, shared) + 1]
    # scheme://host/ is not narrower than the cache, nor is what several hosts share.
    if folder.count("/") > 3 and Kind.URL_PREFIX in scopes:
        return Scoped(cache, Kind.URL_PREFIX, folder)
    return Scoped(cache, Kind.EVERYTHING)
