"""Checks of what follows from changed files: its caches and lists exist, and take what it says."""

import os
import re
from collections.abc import Iterable, Iterator

from cachekit.caches.base import Cache, Split
from cachekit.checks.faults import Fault, KeyPath
from cachekit.checks.site import site_of
from cachekit.checks.values import positive, within
from cachekit.invalidation.patterns import fill, places
from cachekit.invalidation_settings import Rule
from cachekit.model import UrlRefusedError
from cachekit.near_misses import did_you_mean
from cachekit.scope import Kind
from cachekit.settings import Settings

_SAMPLES = ("x", "/x")
"""What may be captured: a segment, or a path with its slash."""


def of_invalidation(settings: Settings) -> Iterator[Fault]:
    """Check the names and limits; patterns were checked where they were read."""
    path: KeyPath = ("invalidation",)
    invalidation = settings.invalidation
    for index, rule in enumerate(invalidation.rules):
        yield from _of_rule((*path, "rules", index), rule, settings)
    yield from _of_names((*path, "rebuild"), invalidation.rebuild, "cache", settings.caches)
    yield from _of_names((*path, "lists"), invalidation.lists or (), "list", settings.warmlists)
    yield from within((*path, "merge_above"), invalidation.merge_above, 1)
    yield from within((*path, "chunk"), invalidation.chunk, 1)
    if invalidation.assets is not None:
        yield from positive((*path, "assets", "long"), invalidation.assets.long)
        yield from _of_text((*path, "assets", "url"), Kind.URL, invalidation.assets.url, settings)


def _of_rule(path: KeyPath, rule: Rule, settings: Settings) -> Iterator[Fault]:
    for name, stale in rule.clear.items():
        place = (*path, "clear", name)
        cache = _named(settings, name)
        if cache is None:
            yield place, _unknown("cache", name, settings.caches)
            continue
        texts = list(stale.texts())
        for kind in dict.fromkeys(kind for kind, _ in texts):
            if kind not in cache.scopes:
                known = ", ".join(sorted(cache.scopes)).replace("-", "_")
                yield place, f"takes no {kind.replace('-', '_')}; it takes {known}"
        for kind, text in texts:
            yield from _of_text((*place, kind.name.lower()), kind, text, settings)
    for text in rule.warm:
        yield from _of_text((*path, "warm"), Kind.URL, text, settings)


def _of_text(path: KeyPath, kind: Kind, text: str, settings: Settings) -> Iterator[Fault]:
    """Find what cannot work, whatever is captured."""
    faults = [
        _fault(kind, fill(text, dict.fromkeys(places(text), each)), settings) for each in _SAMPLES
    ]
    if all(faults):
        yield path, faults[0]


def _fault(kind: Kind, value: str, settings: Settings) -> str:
    try:
        if kind is Kind.URL_REGEX:
            re.compile(value)
        if kind in (Kind.URL, Kind.URL_PREFIX) and (site := site_of(settings)):
            site.absolute(os.fsencode(value))
    except re.error as error:
        return f"expected a regular expression: {error}"
    except UrlRefusedError as error:
        return f"expected a URL of the site or of `allow_hosts`: {error}"
    return ""


def _named(settings: Settings, name: str) -> Cache | None:
    """Find a cache, or a part of one as `code/opcode`."""
    cache = settings.caches.get(name.partition("/")[0])
    if cache is None or "/" not in name:
        return cache
    return cache.parts().get(name.partition("/")[2]) if isinstance(cache, Split) else None


def _of_names(
    path: KeyPath, names: Iterable[str], what: str, known: Iterable[str]
) -> Iterator[Fault]:
    for index, name in enumerate(names):
        if name not in known:
            yield (*path, index), _unknown(what, name, known)


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    have = ", ".join(known) or "none"
    return f"no {what} is called {name}; there are: {have}{did_you_mean(name, known)}"
