"""Checks of warm lists, and of the URLs in them."""

from collections.abc import Iterator, Mapping
from math import isfinite

from cachekit.checks.faults import Fault
from cachekit.checks.names import of_names
from cachekit.checks.values import of_expect, of_headers, of_patterns, within
from cachekit.model import Variant
from cachekit.settings import Settings
from cachekit.sources.url_list import ListedUrl, Urls

_VARIANT = "a variant of warm.variants"


def of_list(settings: Settings, name: str) -> Iterator[Fault]:
    """Check one warm list."""
    path, warm_list = ("warmlists", name), settings.warmlists[name]
    known = settings.warm.variants
    yield from within((*path, "limit"), warm_list.limit, 1)
    yield from of_patterns(path, warm_list)
    yield from of_expect((*path, "expect"), warm_list.expect)
    remedy = None if warm_list.personal else "add it to this list"
    yield from of_headers((*path, "headers"), warm_list.headers, remedy)
    yield from of_names((*path, "variants"), warm_list.variants, _VARIANT, known)
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
                yield from of_names((index, "variants"), url.variants, _VARIANT, variants)
