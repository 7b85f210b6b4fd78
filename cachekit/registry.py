"""Names → classes by entry points; a class is imported when it is first used."""

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

SOURCES = "cachekit.sources"
CACHES = "cachekit.caches"
GOLIVE = "cachekit.golive"


@cache
def _group(group: str) -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=group)}


def names(group: str) -> tuple[str, ...]:
    """List what is installed in a group, sorted."""
    return tuple(sorted(_group(group)))


def load(group: str, name: str) -> Any:
    """Import the class behind a name. Raises KeyError for a name that is not installed."""
    return _group(group)[name].load()
