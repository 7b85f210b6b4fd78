"""The contract of a source of URLs.

A source is one frozen dataclass: its fields are its keys in `warmlists:`, its entry-point name
(group `cachekit.sources`) is the key that chooses it, and `entries` reads it. Common keys of a warm
list (`include`, `limit`, `expect`, …) are not its business, nor are hosts, duplicates and order:
those are applied to all sources alike by `cachekit.warming.collect`.
"""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol, cast, runtime_checkable

from cachekit.model import Entry, Site

MAX_FETCHED_BYTES = 64 * 1024**2
"""A sitemap may have 50 MB; a body above this is refused."""

_IN_MEMORY_BYTES = 1024**2


def _unheard(reason: str) -> None:
    pass


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
    stdin: BinaryIO
    drop: Callable[[str], None] = _unheard


def new_body() -> BinaryIO:
    """Open what a fetch stores a body in: in memory while small, then on disk; gone when closed."""
    file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)  # noqa: SIM115 - the caller's
    return cast("BinaryIO", file)


@runtime_checkable
class Source(Protocol):
    """One list of URLs."""

    def entries(self, surroundings: Surroundings) -> Iterator[bytes | Entry]:
        """Yield what is listed, lazily and in its own order. Raises SourceError.

        Where there is no more to say of it than its URL, that alone is an entry, at a third of the
        cost.
        """
        ...

    def describe(self) -> str:
        """Name the list for people: its file, URL or first entries."""
        ...
