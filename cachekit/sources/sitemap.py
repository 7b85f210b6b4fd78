"""URLs from sitemaps of every kind, and from those that an index or a robots.txt leads to.

Sitemaps are not trusted: every file, its inflated size and the depth of an index have an end.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

from cachekit.errors import SourceError
from cachekit.model import Entry, UrlRefusedError, has_userinfo, shown_url
from cachekit.quantities import Bytes
from cachekit.sources.base import Surroundings
from cachekit.sources.reading import Filled, inflated, naming
from cachekit.sources.sitemap_formats import SubSitemap, in_robots, in_sitemap

MAX_DEPTH = 3
_URL = re.compile(r"(?i)https?://")


@dataclass(frozen=True, kw_only=True)
class Sitemap:
    """A sitemap by its URL or file path; one named `robots.txt` leads to those it lists.

    `alternates` adds the other languages of a page. A file may inflate to `max_inflated` (the
    protocol allows 50 MB), and one reading may take `max_sitemaps` files.
    """

    sitemap: str | Path
    alternates: bool = True
    max_inflated: Bytes = 64 * 1024**2
    max_sitemaps: int = 1000

    def entries(self, surroundings: Surroundings) -> Iterator[Entry]:
        """Yield what it and its sub-sitemaps list, in order, while they are read."""
        return _Walk(self, surroundings).read(str(self.sitemap))

    def describe(self) -> str:
        """Name the sitemap."""
        return _shown(str(self.sitemap))


class _Walk:
    """One reading of a sitemap and all it leads to."""

    def __init__(self, options: Sitemap, surroundings: Surroundings) -> None:
        self._options = options
        self._surroundings = surroundings
        self._seen: set[str] = set()

    def read(self, place: str, depth: int = 0) -> Iterator[Entry]:
        """Yield the entries of one file, and in their place those of its sub-sitemaps."""
        self._seen.add(place)
        for found in self._found(place):
            if isinstance(found, Entry):
                yield found
            elif inner := self._inner(place, found, depth):
                yield from self.read(inner, depth + 1)

    def _found(self, place: str) -> Iterator[Entry | SubSitemap]:
        name = _shown(place)
        with self._opened(place, name) as file:
            if _is_robots(place):
                yield from in_robots(name, file)
            else:
                drop = self._surroundings.drop
                alternates = self._options.alternates
                yield from in_sitemap(name, file, alternates=alternates, drop=drop)

    @contextmanager
    def _opened(self, place: str, name: str) -> Iterator[BufferedReader]:
        fetch = self._surroundings.fetch if _URL.match(place) else _open_file
        with naming(name), fetch(place) as file:
            yield BufferedReader(_Capped(name, inflated(file), self._options.max_inflated))

    def _inner(self, place: str, location: SubSitemap, depth: int) -> str | None:
        try:
            url = self._public(location)
        except UrlRefusedError as refusal:
            self._surroundings.drop(f"sub-sitemap: {refusal}")
            return None
        self._refuse_endless(_shown(place), depth)
        return url

    def _public(self, location: SubSitemap) -> str:
        raw = self._surroundings.site.absolute(location.encode(errors="surrogateescape"))
        if has_userinfo(raw):
            raise UrlRefusedError("user name or password in the URL")
        url = raw.decode(errors="surrogateescape")
        if url in self._seen:
            raise UrlRefusedError("listed again")
        return url

    def _refuse_endless(self, name: str, depth: int) -> None:
        if depth == MAX_DEPTH:
            raise SourceError(name, f"nests indexes more than {MAX_DEPTH} deep; name an inner one")
        most = self._options.max_sitemaps
        if len(self._seen) >= most:
            raise SourceError(name, f"leads to more than {most} sitemaps; raise max_sitemaps")


class _Capped(Filled):
    """A file that is refused when it turns out longer than it may be."""

    def __init__(self, name: str, file: BufferedReader, limit: int) -> None:
        super().__init__(file)
        self._name = name
        self._limit = limit
        self._left = limit

    def readinto(self, buffer: Any) -> int:
        count = super().readinto(buffer)
        self._left -= count
        if self._left < 0:
            message = f"inflates to more than {self._limit} bytes; raise max_inflated if it may"
            raise SourceError(self._name, message)
        return count


def _shown(place: str) -> str:
    return shown_url(place.encode(errors="surrogateescape"))


def _is_robots(place: str) -> bool:
    return re.split(r"[?#]", place)[0].rpartition("/")[2] == "robots.txt"


def _open_file(place: str) -> BinaryIO:
    try:
        return Path(place).open("rb")
    except FileNotFoundError as error:
        message = "no such file; a sitemap of the site is named by its whole URL"
        raise SourceError(_shown(place), message) from error
