"""The contract of a source of URLs.

A source is one frozen dataclass: its fields are its keys in `warmlists:`, its entry-point name
(group `cachekit.sources`) is the key that chooses it, and `entries` reads it. Common keys of a warm
list (`include`, `limit`, `expect`, …) are not its business, nor are hosts, duplicates and order:
those are applied to all sources alike by `cachekit.warming.targets`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol, runtime_checkable

from cachekit.model import Entry, Site


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a source is given to read with.

    `fetch` gets one URL of the site through a chosen node (or the public name, by option) and
    returns its body as a file at position 0; it raises SourceError, and keeps its own deadline and
    size cap. `drop` counts one thing that was found and left out, by reason; nothing is dropped in
    silence.
    """

    site: Site
    fetch: Callable[[str], BinaryIO]
    drop: Callable[[str], None]
    stdin: BinaryIO


@runtime_checkable
class Source(Protocol):
    """One list of URLs."""

    def entries(self, surroundings: Surroundings) -> Iterator[Entry]:
        """Yield what is listed, lazily and in its own order. Raises SourceError."""
        ...

    def describe(self) -> str:
        """Name the list for people: its file, URL or first entries."""
        ...
