"""What a scope selects, as words that bans and requests are made of.

A word says by a regular expression what an object must be: `url` and `host` of its page, its
`tags`, its `release`. `keys` are tags as xkey takes them. No words at all select everything.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from cachekit.caches.varnish.patterns import (
    literal,
    of_host,
    one_of,
    page_of,
    tagged,
    written,
)
from cachekit.scope import Kind, Scope

Words = Mapping[str, str]

MAX_BYTES = 7500
"""What one value may come to: Varnish takes headers of 8 kB (http_req_hdr_len), name included."""

_PIECE_BYTES = 4000
_OTHER_RELEASE = "other release"


@dataclass(frozen=True, kw_only=True)
class Headers:
    """The headers by which the VCL marks what it stores.

    `url` and `host` are those of the request, `tags` a list and `release` one id that the
    application sends.
    """

    url: str = "x-url"
    host: str = "x-host"
    tags: str = "x-cache-tags"
    release: str = "x-release"

    def __post_init__(self) -> None:
        for name in (self.url, self.host, self.tags, self.release):
            check_header_name(name)


def check_header_name(name: str) -> None:
    """Refuse what is no name of a header. Raises ValueError."""
    if not name or not all(each.isascii() and (each.isalnum() or each in "-_") for each in name):
        raise ValueError(f"{name!r} is no name of a header")


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """How a Varnish tells its objects apart: by headers of theirs, or by the request."""

    headers: Headers = field(default_factory=Headers)
    separators: str = ", "
    match: Literal["object", "request"] = "object"

    def ban(self, words: Words) -> str:
        """Write the expression that selects what fits all the words."""
        conditions = [f"{self._field(name)} {pattern}" for name, pattern in words.items()]
        return " && ".join(conditions) or "obj.status != 0"

    def words(self, scope: Scope, site: str) -> Iterator[Words]:
        """Say what a scope selects, many values in few pieces. Raises ValueError."""
        if scope.kind is Kind.EVERYTHING:
            yield {}
        elif scope.kind is Kind.RELEASE:
            releases = [_fitting(literal(value)) for value in scope.values]
            yield from ({"release": one_of(piece)} for piece in pieces(releases))
        elif scope.kind is Kind.TAG:
            tags = [_fitting(literal(self._tag(value))) for value in scope.values]
            yield from ({"tags": tagged(piece, self.separators)} for piece in pieces(tags))
        else:
            yield from _pages(scope, site)

    def _tag(self, value: str) -> str:
        if set(value.strip()) & set(self.separators):
            raise ValueError(f"tag {value}: contains what separates tags, {self.separators!r}")
        return value.strip()

    def _field(self, word: str) -> str:
        if word == _OTHER_RELEASE:
            return f"obj.http.{self.headers.release} !="
        if self.match == "request" and word in ("host", "url"):
            return "req.url ~" if word == "url" else "req.http.host ~"
        return f"obj.http.{getattr(self.headers, word)} ~"


def all_but(release: str) -> Words:
    """Select what does not carry a release; what carries none is selected, too.

    That holds for `!=` alone: `!~` is false where there is no header. Raises ValueError.
    """
    if not re.fullmatch(r"[!#-\[\]-~]+", release):
        raise ValueError(f"release {release}: `spare_live` takes ids of letters, digits, `-._`")
    return {_OTHER_RELEASE: release}


def keys(scope: Scope) -> Iterator[Words]:
    """Say tags as xkey takes them: plain, separated by spaces. Raises ValueError."""
    for tag in scope.values:
        if set(tag.strip()) & set(" ,"):
            raise ValueError(f"tag {tag}: xkey takes spaces and commas for separators")
    for piece in pieces(_fitting(tag.strip()) for tag in scope.values):
        yield {"keys": " ".join(piece)}


def pieces(values: Iterable[str]) -> Iterator[list[str]]:
    """Group values, each as a whole, to what is short enough for one header."""
    piece: list[str] = []
    size = 0
    for value in values:
        width = len(value.encode("utf-8", "surrogateescape")) + 1
        if piece and size + width > _PIECE_BYTES:
            yield piece
            piece, size = [], 0
        piece.append(value)
        size += width
    if piece:
        yield piece


def _pages(scope: Scope, site: str) -> Iterator[Words]:
    if scope.kind is Kind.URL_REGEX:
        host = of_host(page_of("/", site).netloc)
        yield from ({"host": host, "url": _fitting(written(value))} for value in scope.values)
        return
    targets: dict[str, list[str]] = {}
    for value in scope.values:
        page = page_of(value, site)
        targets.setdefault(page.netloc, []).append(_fitting(literal(page.target)))
    for netloc, of_netloc in targets.items():
        for piece in pieces(of_netloc):
            url = one_of(piece, whole=scope.kind is Kind.URL)
            yield {"host": of_host(netloc), "url": url}


def _fitting(pattern: str) -> str:
    """Give back a pattern that fits in one header. Raises ValueError."""
    if len(pattern.encode("utf-8", "surrogateescape")) > MAX_BYTES:
        raise ValueError(f"{pattern[:80]}… is too long for Varnish")
    return pattern
