"""Checks of caches: where they are, and what else they touch."""

import re
from collections.abc import Iterator

from cachekit.caches.base import Coupled
from cachekit.caches.namespace import PLACEHOLDER
from cachekit.checks.faults import Fault, KeyPath
from cachekit.errors import ConfigError
from cachekit.model import Address
from cachekit.near_misses import did_you_mean, nearest
from cachekit.scope import EVERYTHING
from cachekit.settings import Settings


def of_cache(settings: Settings, name: str) -> Iterator[Fault]:
    """Check where a cache is, and that the others it names exist."""
    cache = settings.caches[name]
    try:
        places = cache.places(settings.nodes)
    except ConfigError as error:
        key, separator, message = str(error).partition(": ")
        known = separator and hasattr(cache, key)
        yield (("caches", name, key), message) if known else (("caches", name), str(error))
        return
    yield from _of_namespace(settings, name)
    if not places:
        yield ("caches", name), "is nowhere: name its nodes in `on`, or its `servers`"
    if isinstance(cache, Coupled):
        for other in cache.implied(EVERYTHING).keys() - settings.caches.keys():
            hint = did_you_mean(other, settings.caches)
            yield ("caches", name), f"names the cache {other}, which does not exist{hint}"


def _of_namespace(settings: Settings, name: str) -> Iterator[Fault]:
    """Check a namespace against slips, and against those beside it on the same servers."""
    cache = settings.caches[name]
    namespace: str = getattr(cache, "namespace", "")
    path: KeyPath = ("caches", name, "namespace")
    for word in re.findall(r"\{(\w+)\}", namespace):
        if word != "release" and nearest(word, ["release"]):
            yield path, f"unknown placeholder {{{word}}}; did you mean {PLACEHOLDER}?"
    for other, beside in settings.caches.items():
        wider: str = getattr(beside, "namespace", "")
        within = wider and namespace != wider and namespace.startswith(wider)
        if within and not _stores(settings, name).isdisjoint(_stores(settings, other)):
            yield path, f"lies within that of {other}, whose clears would reach it"


def _stores(settings: Settings, name: str) -> set[tuple[str | None, Address]]:
    """Name the servers of a cache, each with the node that it is dialled from."""
    return {
        (place.node.name if place.node else None, address)
        for place in settings.caches[name].places(settings.nodes)
        for address in place.addresses
    }
