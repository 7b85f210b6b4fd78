"""URLs from sitemaps of every kind: urlset, index, plain text, RSS, Atom, found by robots.txt.

What a sitemap says is not trusted: no entity is expanded, no tree is built, and every file, its
inflated size and the depth of an index have an end.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from io import BufferedReader, RawIOBase
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, cast

from lxml import etree

from cachekit.errors import SourceError
from cachekit.model import Entry, UrlRefusedError, has_userinfo
from cachekit.quantities import Bytes
from cachekit.sources.base import Surroundings
from cachekit.sources.reading import inflated, listed, naming, redacted

MAX_DEPTH = 3
_CHUNK = 64 * 1024
_HTML = (b"<!doctype html", b"<html")
_XML = (b"<", b"\xef\xbb\xbf<", b"\xff\xfe", b"\xfe\xff")
_URL = re.compile(r"(?i)https?://")
_ROBOTS_LINE = re.compile(rb"(?i)(?:\xef\xbb\xbf)?\s*sitemap\s*:\s*([^\s#]+)")
# The element that holds one address, by the root element it stands under.
_ITEMS = {"urlset": "url", "sitemapindex": "sitemap", "rss": "item", "RDF": "item", "feed": "entry"}
_DATES = ("lastmod", "updated", "published", "pubDate", "date")

SubSitemap = str
"""The address of another sitemap."""


@dataclass(frozen=True, kw_only=True)
class Sitemap:
    """A sitemap by its URL or file path; one named `robots.txt` leads to those it lists.

    `alternates` adds the other languages of a page. A file may inflate to `max_inflated` (the
    protocol allows 50 MB), and one reading may take `max_sitemaps` files.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    sitemap: str
    alternates: bool = True
    max_inflated: Bytes = 64 * 1024**2
    max_sitemaps: int = 1000

    def entries(self, surroundings: Surroundings) -> Iterator[Entry]:
        """Yield what it and its sub-sitemaps list, in order, while they are read."""
        return _Walk(self, surroundings).read(self.sitemap)

    def describe(self) -> str:
        """Name the sitemap."""
        return redacted(self.sitemap)


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
        name = redacted(place)
        with self._opened(place, name) as file:
            head = file.peek().lstrip().lower()
            if _is_robots(place):
                yield from _in_robots(name, file)
            elif head.startswith(_HTML):
                raise _html(name)
            elif head.startswith(_XML):
                listing = _Listing(name, self._options.alternates, self._surroundings.drop)
                yield from _in_xml(name, file, listing)
            else:
                yield from _in_text(name, file)

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
        self._refuse_endless(redacted(place), depth)
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


class _Capped(RawIOBase):
    """A file that is refused when it turns out longer than it may be."""

    def __init__(self, name: str, file: BufferedReader, limit: int) -> None:
        self._name = name
        self._file = file
        self._limit = limit
        self._left = limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._file.readinto1(buffer)
        self._left -= count
        if self._left < 0:
            message = f"inflates to more than {self._limit} bytes; raise max_inflated if it may"
            raise SourceError(self._name, message)
        return count


class _Listing:
    """Takes the events of an XML parser and collects what is listed; builds no tree.

    Only local names count, so every version of every namespace is understood.
    """

    def __init__(self, name: str, alternates: bool, drop: Callable[[str], None]) -> None:
        self.found: list[Entry | SubSitemap] = []
        self._name = name
        self._alternates = alternates
        self._drop = drop
        self._item: str | None = None
        self._depth = 0  # 1 is the item itself, 2 its fields
        self._fields: dict[str, str] = {}
        self._links: list[Mapping[str, str]] = []
        self._text: list[str] = []

    def doctype(self, name: str, public_id: str | None, system: str | None) -> None:
        """Refuse the declaration that entity bombs are made of."""
        if name.lower() == "html":
            raise _html(self._name)
        raise SourceError(self._name, "declares a DOCTYPE, which no sitemap needs; remove it")

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        """Go one element deeper."""
        name = _local(tag)
        if self._item is None:
            self._item = self._item_under(name)
        elif self._depth or name == self._item:
            self._depth += 1
            self._text = []
            if self._depth == 2 and name == "link":
                self._links.append(attributes)

    def data(self, text: str) -> None:
        """Keep text that may belong to a field."""
        if self._depth > 1:
            self._text.append(text)

    def end(self, tag: str) -> None:
        """Keep a field, or turn a complete item into what is listed."""
        if self._depth == 2:
            self._fields.setdefault(_local(tag), "".join(self._text).strip())
        elif self._depth == 1:
            self._finish_item()
        self._depth = max(self._depth - 1, 0)

    def close(self) -> None:
        """Be done."""

    def take(self) -> list[Entry | SubSitemap]:
        """Hand over what was collected since the last time."""
        taken, self.found = self.found, []
        return taken

    def _item_under(self, root: str) -> str:
        if root.lower() == "html":
            raise _html(self._name)
        if root not in _ITEMS:
            raise SourceError(self._name, f"is XML, but <{root[:40]}> starts no sitemap or feed")
        return _ITEMS[root]

    def _finish_item(self) -> None:
        address = self._address()
        if not address:
            self._drop("sitemap entry without an address")
        elif self._item == "sitemap":
            self.found.append(address)
        else:
            priority, lastmod = _priority(self._fields), _lastmod(self._fields)
            addresses = (address, *self._other_languages(address))
            self.found += [Entry(url.encode(), priority, lastmod) for url in addresses]
        self._fields, self._links = {}, []

    def _address(self) -> str:
        if self._item in ("url", "sitemap"):
            return self._fields.get("loc", "")
        pages = (link.get("href", "") for link in self._links if _leads_to_page(link))
        return self._fields.get("link") or next(pages, "").strip()

    def _other_languages(self, address: str) -> Iterator[str]:
        if self._alternates and self._item == "url":
            links = [link for link in self._links if "hreflang" in link and _leads_to_page(link)]
            urls = (link.get("href", "").strip() for link in links)
            yield from (url for url in urls if url not in ("", address))


def _in_xml(name: str, file: BufferedReader, listing: _Listing) -> Iterator[Entry | SubSitemap]:
    parser = etree.XMLParser(
        target=cast(Any, listing),
        resolve_entities=False,
        load_dtd=False,
        no_network=True,
        huge_tree=False,
    )
    # White space before the XML declaration is a common slip of templates.
    chunks = chain((file.read(_CHUNK).lstrip(),), iter(lambda: file.read(_CHUNK), b""))
    try:
        for chunk in chunks:
            parser.feed(chunk)
            yield from listing.take()
        parser.close()
    except etree.XMLSyntaxError as error:
        yield from listing.take()
        raise SourceError(f"{name}:{error.lineno}", f"broken or cut off: {error.msg}") from error


def _in_text(name: str, file: BufferedReader) -> Iterator[Entry]:
    urls = listed(name, file)
    first = next(urls, b"")
    if not first:
        raise SourceError(name, "is empty")
    if not first.lower().startswith((b"http://", b"https://")):
        raise SourceError(name, "is neither XML nor a list of URLs, so no sitemap")
    yield from map(Entry, chain((first,), urls))


def _in_robots(name: str, file: BufferedReader) -> Iterator[SubSitemap]:
    lines = (match[1] for match in map(_ROBOTS_LINE.match, file) if match)
    first = next(lines, None)
    if first is None:
        raise SourceError(name, "names no sitemap; give the sitemap's own URL")
    for location in chain((first,), lines):
        yield location.decode(errors="surrogateescape")


def _is_robots(place: str) -> bool:
    return re.split(r"[?#]", place)[0].rpartition("/")[2] == "robots.txt"


def _open_file(place: str) -> BinaryIO:
    try:
        return Path(place).open("rb")
    except FileNotFoundError as error:
        message = "no such file; a sitemap of the site is named by its whole URL"
        raise SourceError(place, message) from error


def _html(name: str) -> SourceError:
    return SourceError(name, "answered an HTML page, not a sitemap")


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def _leads_to_page(link: Mapping[str, str]) -> bool:
    return link.get("rel", "alternate") == "alternate"


def _priority(fields: Mapping[str, str]) -> float | None:
    try:
        priority = float(fields["priority"])
    except (KeyError, ValueError):
        return None
    return priority if 0 <= priority <= 1 else None


def _lastmod(fields: Mapping[str, str]) -> float | None:
    written = next((fields[name] for name in _DATES if name in fields), None)
    moment = written and (_w3c_date(written) or _mail_date(written))
    if not moment:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _w3c_date(written: str) -> datetime | None:
    try:
        # A year, or year and month, begins with the first day.
        return datetime.fromisoformat(written + "yyyy-01-01"[len(written) :])
    except ValueError:
        return None


def _mail_date(written: str) -> datetime | None:
    try:
        return parsedate_to_datetime(written)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
