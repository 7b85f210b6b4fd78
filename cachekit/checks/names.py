"""Checks that what is named exists."""

from collections.abc import Collection, Iterator, Mapping, Sequence

from cachekit.caches.base import Split
from cachekit.checks.faults import Fault, KeyPath
from cachekit.model import Node
from cachekit.near_misses import did_you_mean
from cachekit.settings import Settings


def of_names(
    path: KeyPath, names: Sequence[str] | None, what: str, known: Collection[str]
) -> Iterator[Fault]:
    """Check that names are known; `what` is expected in their place."""
    for index, name in enumerate(names or ()):
        if name not in known:
            yield (*path, index), f"expected {what}{_choice(name, known)}"


def of_nodes(settings: Settings, path: KeyPath, names: Sequence[str]) -> Iterator[Fault]:
    """Check that names are those of nodes or groups."""
    groups = {group: None for node in settings.nodes.values() for group in node.groups}
    yield from of_names(path, names, "a node or group of nodes", {**settings.nodes, **groups})


def of_caches(settings: Settings, path: KeyPath, names: Sequence[str]) -> Iterator[Fault]:
    """Check that names are those of caches, or `cache/part`."""
    for index, name in enumerate(names):
        whole, _, part = name.partition("/")
        if name in settings.caches:
            continue
        if not part or whole not in settings.caches:
            yield (*path, index), f"expected a cache of `caches`{_choice(whole, settings.caches)}"
            continue
        cache = settings.caches[whole]
        parts: Mapping[str, object] = cache.parts() if isinstance(cache, Split) else {}
        if part not in parts:
            yield (*path, index), f"expected a part of {whole}{_choice(part, parts)}"


def nodes_named(settings: Settings, names: Collection[str]) -> list[Node]:
    """Give the nodes that are named, themselves or by a group."""
    return [
        node
        for node in settings.nodes.values()
        if node.name in names or not set(names).isdisjoint(node.groups)
    ]


def _choice(name: str, known: Collection[str]) -> str:
    if not known:
        return ", but it has none"
    return did_you_mean(name, known) or f": {', '.join(known)}"
