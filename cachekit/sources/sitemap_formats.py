"""The formats of sitemaps: XML of every kind, a text of URLs, and the lines of robots.txt.

What a sitemap says is not trusted: no entity is expanded and no tree is built.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from io import BufferedReader
from itertools import chain
from typing import Any, cast

from lxml import etree

from cachekit.errors import SourceError
from cachekit.model import Entry
from cachekit.sources.reading import listed

_CHUNK = 64 * 1024
_HTML = (b"<!doctype html", b"<html")
_XML = (b"<", b"\xef\xbb\xbf<", b"\xff\xfe", b"\xfe\xff")
_ROBOTS_LINE = re.compile(rb"(?i)(?:\xef\xbb\xbf)?\s*sitemap\s*:\s*([^\s#]+)")
# The element that holds one address, by the root element it stands under.
_ITEMS = {"urlset": "url", "sitemapindex": "sitemap", "rss": "item", "RDF": "item", "feed": "entry"}
_DATES = ("lastmod", "updated", "published", "pubDate", "date")
_FIELDS = frozenset({"loc", "link", "priority", *_DATES})
_LONGEST_PART = 4 * 1024**2
_MOST_LINKS = 1000  # of one entry: a page has no more languages, and a hostile file millions

SubSitemap = str
"""The address of another sitemap."""


def in_sitemap(
    name: str, file: BufferedReader, *, alternates: bool, drop: Callable[[str], None]
) -> Iterator[Entry | SubSitemap]:
    """Yield what a sitemap of any format lists, while it is read. Raises SourceError."""
    head = file.peek().lstrip().lower()
    if head.startswith(_HTML):
        raise _html(name)
    if head.startswith(_XML):
        return _in_xml(name, file, _Listing(name, alternates, drop))
    return _in_text(name, file)


def in_robots(name: str, file: BufferedReader) -> Iterator[SubSitemap]:
    """Yield the sitemaps that a robots.txt names. Raises SourceError."""
    lines = (match[1] for match in map(_ROBOTS_LINE.match, file) if match)
    first = next(lines, None)
    if first is None:
        raise SourceError(name, "names no sitemap; give the sitemap's own URL")
    for location in chain((first,), lines):
        yield location.decode(errors="surrogateescape")


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
        self._moved = False

    def doctype(self, name: str, public_id: str | None, system: str | None) -> None:
        """Refuse the declaration that entity bombs are made of."""
        if name.lower() == "html":
            raise _html(self._name)
        raise SourceError(self._name, "declares a DOCTYPE, which no sitemap needs; remove it")

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        """Go one element deeper."""
        self._moved = True
        name = _local(tag)
        if self._item is None:
            self._item = self._item_under(name)
        elif self._depth or name == self._item:
            self._depth += 1
            self._text = []
            if self._depth == 2 and name == "link":
                self._keep_link(attributes)

    def data(self, text: str) -> None:
        """Keep text that may belong to a field."""
        if self._depth > 1:
            self._text.append(text)

    def end(self, tag: str) -> None:
        """Keep a field, or turn a complete item into what is listed."""
        if not self._depth:
            return
        if self._depth == 2 and _local(tag) in _FIELDS:
            self._fields.setdefault(_local(tag), "".join(self._text).strip())
        elif self._depth == 1:
            self._finish_item()
        self._depth -= 1

    def close(self) -> None:
        """Be done."""

    def has_moved(self) -> bool:
        """Whether an element began since the last time."""
        moved, self._moved = self._moved, False
        return moved

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

    def _keep_link(self, link: Mapping[str, str]) -> None:
        if len(self._links) < _MOST_LINKS:
            self._links.append(link)
        else:
            self._drop(f"link beyond the first {_MOST_LINKS} of a sitemap entry")

    def _finish_item(self) -> None:
        address = self._address()
        if not address:
            self._drop("sitemap entry without an address")
        elif self._item == "sitemap":
            self.found.append(address)
        else:
            priority, lastmod = _priority(self._fields), _lastmod(self._fields)
            self.found.append(Entry(address.encode(), priority, lastmod))
            if self._links and self._alternates and self._item == "url":
                urls = self._other_languages(address)
                self.found += [Entry(url.encode(), priority, lastmod) for url in urls]
        self._fields, self._links = {}, []

    def _address(self) -> str:
        if self._item in ("url", "sitemap"):
            return self._fields.get("loc", "")
        pages = (link.get("href", "") for link in self._links if _leads_to_page(link))
        return self._fields.get("link") or next(pages, "").strip()

    def _other_languages(self, address: str) -> Iterator[str]:
        links = (link for link in self._links if "hreflang" in link and _leads_to_page(link))
        urls = (link.get("href", "").strip() for link in links)
        return (url for url in urls if url not in ("", address))


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
    still = 0
    try:
        for chunk in chunks:
            parser.feed(chunk)
            yield from listing.take()
            still = 0 if listing.has_moved() else still + len(chunk)
            if still > _LONGEST_PART:  # libxml2 would keep all of it, and a GB for its attributes
                raise SourceError(name, "holds a tag, text or comment of more than 4 MB")
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


def _html(name: str) -> SourceError:
    return SourceError(name, "answered an HTML page, not a sitemap")


@lru_cache(maxsize=256)
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
    for name in _DATES:
        if name in fields:
            return _epoch_seconds(fields[name])
    return None


@lru_cache(maxsize=1024)  # one date often stands at thousands of URLs
def _epoch_seconds(written: str) -> float | None:
    moment = _w3c_date(written) or _mail_date(written)
    if moment is None:
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
