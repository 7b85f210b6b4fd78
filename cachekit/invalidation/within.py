"""A list of URLs, narrowed to what was cleared."""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cachekit.model import Entry, Site, UrlRefusedError
from cachekit.scope import EVERYTHING, Kind, Scope
from cachekit.sources.base import Source, Surroundings


@dataclass(frozen=True, kw_only=True)
class Within:
    """Of the URLs of a source, those that any of the scopes selects."""

    source: Source
    scopes: tuple[Scope, ...]

    def entries(self, surroundings: Surroundings) -> Iterator[bytes | Entry]:
        """Yield them in their order."""
        if EVERYTHING in self.scopes:
            yield from self.source.entries(surroundings)
            return
        selects = _selection(self.scopes, surroundings.site)
        for entry in self.source.entries(surroundings):
            if selects(entry if isinstance(entry, bytes) else entry.url):
                yield entry

    def describe(self) -> str:
        """Name the source, and what of it."""
        if EVERYTHING in self.scopes:
            return self.source.describe()
        return f"{self.source.describe()}, of it {', '.join(map(str, self.scopes))}"


def _selection(scopes: tuple[Scope, ...], site: Site) -> Callable[[bytes], bool]:
    prefixes = tuple(map(os.fsencode, _values(scopes, Kind.URL_PREFIX)))
    regexes = [re.compile(os.fsencode(regex)) for regex in _values(scopes, Kind.URL_REGEX)]

    def selects(url: bytes) -> bool:
        try:
            url = site.absolute(url)
        except UrlRefusedError:
            return True  # the collector counts it by its reason
        target = b"/" + b"/".join(url.split(b"/", 3)[3:])
        return url.startswith(prefixes) or any(regex.search(target) for regex in regexes)

    return selects


def _values(scopes: tuple[Scope, ...], kind: Kind) -> list[str]:
    return [value for scope in scopes if scope.kind is kind for value in scope.values]
