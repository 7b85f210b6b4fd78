"""The words of the field: what a site, node, target, expectation and verdict are.

Plain frozen data, no I/O.
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, NamedTuple

from cachekit.quantities import OneOrMore, Seconds, Written

_URL = re.compile(rb"(?i)(https?)://([^/?#]*)")
_HOST_PORT = re.compile(
    r"(?P<host>\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]|[^\s:/\[\]@]+)(?::(?P<port>\d{1,5}))?"
)
_USERINFO = re.compile(rb"^([A-Za-z][A-Za-z0-9+.-]*://)[^/?#]*@")
_UNSENDABLE = re.compile(rb"[\x00-\x20\x7f]")
DEFAULT_PORTS = {"http": 80, "https": 443}


class Verdict(StrEnum):
    """What one response says about the cache it came through."""

    HIT = "hit"
    MISS = "miss"
    STALE = "stale"
    UNCACHEABLE = "uncacheable"
    BYPASS = "bypass"
    ERROR = "error"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a node listens: a host with an optional port, or a unix socket."""

    host: str = ""
    port: int | None = None
    unix_path: str = ""

    def __str__(self) -> str:
        if self.unix_path:
            return f"unix:{self.unix_path}"
        return self.host if self.port is None else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether it means the machine that dials it: its loopback network or a unix socket."""
        if self.unix_path or self.host.lower() == "localhost":
            return True
        number = self._number()
        return number is not None and number.is_loopback

    @property
    def is_number(self) -> bool:
        """Whether the host is an IP address and no name."""
        return self._number() is not None

    def _number(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
        try:
            return ipaddress.ip_address(self.host.strip("[]"))
        except ValueError:
            return None


def parse_address(written: object) -> Address:
    """Read `10.0.0.11`, `web1:8443`, `[::1]:80` or `unix:/run/web.sock`. Raises ValueError."""
    text = written.strip() if isinstance(written, str) else ""
    if text.startswith("unix:/"):
        return Address(unix_path=text.removeprefix("unix:"))
    match = _HOST_PORT.fullmatch(text)
    port = int(match["port"]) if match and match["port"] else None
    if match is None or match["host"].startswith("-") or not (port is None or 0 < port < 65536):
        raise ValueError("expected an address such as 10.0.0.11, web1:8443, [::1]:80 or unix:/path")
    return Address(host=match["host"], port=port)


NodeAddress = Annotated[
    Address,
    Written(
        parse_address,
        r"^(unix:/.+|\[[0-9A-Fa-f:.]+(%[\w.-]+)?\](:\d+)?|[^\s:/@]+(:\d+)?)$",
        "10.0.0.11:8080",
    ),
]


@dataclass(frozen=True, kw_only=True)
class Node:
    """One machine or instance that serves the site.

    `address` may carry one port for both schemes; `ports` maps `http` and `https` apart. With
    neither, the port of the URL is used. `proxy_protocol` sends a PROXY line first, for nodes that
    listen behind a load balancer.

    Commands and the node's own sockets are reached over SSH where `ssh` names a destination as the
    `ssh` command takes it; on this machine where the address is loopback or `local` is true.
    """

    name: str
    address: NodeAddress
    groups: OneOrMore[str] = ()
    ports: Mapping[str, int] = field(default_factory=dict)
    proxy_protocol: bool = False
    ssh: str | None = None
    local: bool = False

    @property
    def is_here(self) -> bool:
        """Whether commands for it run on this machine."""
        return self.ssh is None and (self.local or self.address.is_loopback)


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A named set of request headers a URL is warmed under.

    `personal` must be true to send Cookie or Authorization; such values are never stored or shown.
    """

    name: str
    headers: Mapping[str, str] = field(default_factory=dict)
    personal: bool = False


@dataclass(frozen=True, kw_only=True)
class Expect:
    """What a response must be to count as ok; an unset field is inherited from the wider level.

    `status` defaults to 200-299. Text is looked for in the first 1 MB, decoded. `not_contains`
    holds markers of pages that must never be warmed: soft 404, maintenance.
    """

    status: OneOrMore[int] | None = None
    contains: OneOrMore[str] | None = None
    matches: str | None = None
    not_contains: OneOrMore[str] | None = None
    max_time: Seconds | None = None

    @property
    def needs_body(self) -> bool:
        """Whether judging takes the text of the page."""
        return bool(self.contains or self.matches or self.not_contains)

    def under(self, wider: "Expect") -> "Expect":
        """Fill what is unset here from the wider level."""
        return Expect(
            status=wider.status if self.status is None else self.status,
            contains=wider.contains if self.contains is None else self.contains,
            matches=wider.matches if self.matches is None else self.matches,
            not_contains=wider.not_contains if self.not_contains is None else self.not_contains,
            max_time=wider.max_time if self.max_time is None else self.max_time,
        )


@dataclass(frozen=True, kw_only=True)
class Traits:
    """What sets a URL apart from the rest; shared by all URLs that have the same."""

    required: bool = False
    cacheable: bool = True
    variants: OneOrMore[str] | None = None
    expect: Expect | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    personal: bool = False


PLAIN = Traits()


class Entry(NamedTuple):
    """One URL as a source found it: the very bytes, absolute or relative to the site.

    `priority` 0.0-1.0 (or hits, for logs: only the order matters), `lastmod` in epoch seconds.
    """

    url: bytes
    priority: float | None = None
    lastmod: float | None = None
    traits: Traits = PLAIN


class UrlRefusedError(ValueError):
    """A URL that must not be asked for; the message is the reason, fit for counting."""


class Site:
    """The public base URL: relative URLs are completed by it, foreign ones refused.

    URLs are never normalised.
    """

    def __init__(self, url: str, allow_hosts: tuple[str, ...] = ()) -> None:
        match = _URL.match(url.encode(errors="surrogateescape"))
        unsendable = _UNSENDABLE.search(url.encode(errors="replace"))
        if match is None or not match[2] or b"@" in match[2] or unsendable:
            raise ValueError("expected a base URL such as https://shop.example")
        self.scheme = match[1].decode().lower()
        self.netloc = match[2].decode(errors="surrogateescape").lower()
        self.base = f"{self.scheme}://{self.netloc}"
        self._base = self.base.encode()
        self._prefix = self._base + b"/"
        self._hosts = frozenset(
            _without_default_port(name.lower()) for name in (self.netloc, *allow_hosts)
        )

    def __str__(self) -> str:
        return self.base

    @property
    def host(self) -> str:
        """The host name without port."""
        return _split_port(self.netloc)[0]

    @property
    def port(self) -> int:
        """The port of the public URL."""
        return _split_port(self.netloc)[1] or DEFAULT_PORTS[self.scheme]

    def absolute(self, url: bytes) -> bytes:
        """Complete one URL; the bytes of path and query stay as they are.

        Raises UrlRefusedError.
        """
        if b"#" in url:
            url = url.partition(b"#")[0]
        if _UNSENDABLE.search(url):
            raise UrlRefusedError("contains a space or control byte")
        if url.startswith(self._prefix):
            return url
        if url.startswith(b"//"):
            url = self.scheme.encode() + b":" + url
        elif url.startswith(b"/"):
            return self._base + url
        match = _URL.match(url)
        if match is None:
            raise UrlRefusedError("not an http(s) URL or a path that starts with /")
        if not self.owns_host(match[2]):
            raise UrlRefusedError("another host")
        return url

    def owns_host(self, netloc: bytes) -> bool:
        """Whether a URL's host and port belong to the site; userinfo does not count."""
        name = netloc.rpartition(b"@")[2].decode(errors="surrogateescape").lower()
        return _without_default_port(name) in self._hosts

    def owns(self, url: bytes) -> bool:
        """Whether an absolute URL belongs to the site."""
        match = _URL.match(url)
        return match is not None and self.owns_host(match[2])


def has_userinfo(url: bytes) -> bool:
    """Whether the URL carries a user name or password."""
    match = _URL.match(url)
    return match is not None and b"@" in match[2]


def shown_url(url: bytes) -> str:
    """Write a URL for people: credentials redacted, what does not print escaped."""
    text = _USERINFO.sub(rb"\1***@", url) if b"@" in url else url
    return shown(text.decode("utf-8", "surrogateescape"))


def shown(text: str) -> str:
    """Escape what could act on a terminal, a log or a report: everything that does not print."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _split_port(netloc: str) -> tuple[str, int | None]:
    match = _HOST_PORT.fullmatch(netloc)
    if match is None:
        return netloc, None
    return match["host"], int(match["port"]) if match["port"] else None


def _without_default_port(netloc: str) -> str:
    host, port = _split_port(netloc)
    return host if port in (None, 80, 443) else f"{host}:{port}"
