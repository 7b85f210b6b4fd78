"""Checks of warm lists, and of the URLs in them."""

from collections.abc import Iterator, Mapping
from math import isfinite

from cachekit.checks.faults import Fault, KeyPath
from cachekit.checks.values import of_expect, of_headers, of_patterns, within
from cachekit.model import Variant
from cachekit.near_misses import did_you_mean
from cachekit.settings import Settings
from cachekit.sources.url_list import ListedUrl, Urls


def of_list(settings: Settings, name: str) -> Iterator[Fault]:
    """Check one warm list."""
    path, warm_list = ("warmlists", name), settings.warmlists[name]
    known = settings.warm.variants
    yield from within((*path, "limit"), warm_list.limit, 1)
    yield from of_patterns(path, warm_list)
    yield from of_expect((*path, "expect"), warm_list.expect)
    remedy = None if warm_list.personal else "add it to this list"
    yield from of_headers((*path, "headers"), warm_list.headers, remedy)
    yield from of_names((*path, "variants"), warm_list.variants, known)
    if isinstance(warm_list.source, Urls):
        for inside, message in problems_of_urls(warm_list.source, known):
            yield (*path, "urls", *inside), message


def problems_of_urls(urls: Urls, variants: Mapping[str, Variant] | None) -> Iterator[Fault]:
    """Find what cannot work in a list of URLs; without `variants`, any name of one will do."""
    for index, url in enumerate(urls.urls):
        if isinstance(url, ListedUrl):
            if url.priority is not None and not isfinite(url.priority):
                yield (index, "priority"), "expected a number"
            yield from of_expect((index, "expect"), url.expect)
            if variants is not None:
                yield from of_names((index, "variants"), url.variants, variants)


def of_names(
    path: KeyPath, names: tuple[str, ...] | None, known: Mapping[str, Variant]
) -> Iterator[Fault]:
    """Check that names of variants exist."""
    for index, name in enumerate(names or ()):
        if name not in known:
            yield (*path, index), f"expected a variant of warm.variants{_choice(name, known)}"


def _choice(name: str, known: Mapping[str, Variant]) -> str:
    if not known:
        return ", but it has none"
    return did_you_mean(name, known) or f": {', '.join(known)}"
