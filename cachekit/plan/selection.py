"""What was chosen by name: caches or parts of them, nodes and groups."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from cachekit.caches.base import Cache, Place, Split
from cachekit.errors import Problem
from cachekit.near_misses import did_you_mean
from cachekit.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What was chosen by name: caches, or parts of them as `code/opcode`, and where.

    Nothing means all.
    """

    caches: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()

    def narrowed(self, places: Iterable[Place]) -> tuple[Place, ...]:
        """Keep the places that were chosen: by node, by group, or by their own name."""
        if not self.nodes and not self.groups:
            return tuple(places)
        return tuple(each for each in places if self._holds(each))

    def _holds(self, place: Place) -> bool:
        if place.name in self.nodes:
            return True
        node = place.node
        return node is not None and (
            node.name in self.nodes or not set(self.groups).isdisjoint(node.groups)
        )


@dataclass(frozen=True, slots=True)
class Chosen:
    """A cache that was selected, with those of its parts that were, and its places."""

    name: str
    parts: Mapping[str, Cache]
    places: tuple[Place, ...]


def chosen(settings: Settings, selection: Selection, problems: list[Problem]) -> Iterator[Chosen]:
    """Give each cache that was selected once; what does not exist is added to the problems."""
    _check_places(settings, selection, problems)
    if not settings.caches:
        problems.append(Problem("", "the settings have no `caches:`"))
    for name, parts in _parts_by_cache(settings, selection, problems).items():
        places = selection.narrowed(settings.caches[name].places(settings.nodes))
        if places:
            yield Chosen(name, parts, places)
        elif selection.caches:
            problems.append(Problem(name, "is at none of the chosen nodes"))


def parts_of(name: str, cache: Cache) -> Mapping[str, Cache]:
    """Give the parts of a cache by their full names; one without parts is its only one."""
    if not isinstance(cache, Split):
        return {name: cache}
    return {f"{name}/{part}": each for part, each in cache.parts().items()}


def _parts_by_cache(
    settings: Settings, selection: Selection, problems: list[Problem]
) -> dict[str, dict[str, Cache]]:
    found: dict[str, dict[str, Cache]] = {}
    for written in selection.caches or settings.caches:
        name = written if written in settings.caches else written.partition("/")[0]
        if name not in settings.caches:
            known = ", ".join(settings.caches) or "none"
            hint = did_you_mean(written, settings.caches)
            problems.append(Problem(written, f"no cache is called so; there are: {known}{hint}"))
            continue
        parts = parts_of(name, settings.caches[name])
        if written != name and written not in parts:
            hint = did_you_mean(written, parts)
            known = ", ".join(parts)
            problems.append(Problem(written, f"no part is called so; there are: {known}{hint}"))
            continue
        kept = parts if written == name else {written: parts[written]}
        found[name] = {**found.get(name, {}), **kept}
    return found


def _check_places(settings: Settings, selection: Selection, problems: list[Problem]) -> None:
    stores = {
        place.name for each in settings.caches.values() for place in each.places(settings.nodes)
    }
    groups = {group for node in settings.nodes.values() for group in node.groups}
    for kind, names, known in (
        ("node", selection.nodes, stores | settings.nodes.keys()),
        ("group", selection.groups, groups),
    ):
        for name in names:
            if name not in known:
                hint = did_you_mean(name, known)
                problems.append(Problem(f"--{kind} {name}", f"no {kind} is called so{hint}"))
