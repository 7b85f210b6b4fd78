"""What goes into a replay and what comes out: requests, responses, who admits them, and terms."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from cachekit.model import DEFAULT_PORTS, Node, Site


class Fault(StrEnum):
    """Why there is no usable answer."""

    CONNECT = "connect"
    CONNECT_TIMEOUT = "connect-timeout"
    FIRST_BYTE_TIMEOUT = "first-byte-timeout"
    TIMEOUT = "timeout"
    TLS = "tls"
    BROKEN = "broken"
    TRUNCATED = "truncated"
    TOO_LARGE = "too-large"
    URL = "url"
    CUT = "cut"


@dataclass(frozen=True, kw_only=True, eq=False)
class Route:
    """How a node is reached. Compared by identity, so make one per node.

    `connect_to` holds libcurl's HOST:PORT:CONNECT-TO-HOST:CONNECT-TO-PORT entries; empty parts
    match or keep all. With `by_number` they name no host that would have to be looked up.
    """

    connect_to: tuple[bytes, ...] = ()
    by_number: bool = False
    unix_path: str = ""
    proxy_protocol: bool = False


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What holds for every request of one replay.

    Deadlines in seconds, caps in bytes, and trust.
    """

    connect_timeout: float = 5.0
    first_byte_timeout: float = 30.0
    timeout: float = 60.0
    max_body: int = 64 * 1024**2
    verify: bool = True
    ca_file: Path | None = None
    client_certificate: Path | None = None
    client_key: Path | None = None
    http2: bool = False


class Manner:
    """How requests are asked that have all but their URL in common; make one and share it.

    `headers` are `Name: value` lines. Without `keep_head` the header block is not looked at, which
    makes a third more requests possible.
    """

    __slots__ = ("headers", "keep_head", "method", "route")

    def __init__(
        self,
        route: Route,
        headers: Sequence[str] = (),
        *,
        method: str = "GET",
        keep_head: bool = True,
    ) -> None:
        self.route = route
        self.headers = list(headers)
        self.method = method
        self.keep_head = keep_head


class Request:
    """One request for `url`, whose bytes are sent as they are.

    The body is drained and thrown away unless `sink` takes its chunks; a sink that answers fewer
    bytes than it got ends the transfer.
    """

    __slots__ = ("manner", "sink", "url")

    def __init__(
        self, url: bytes, manner: Manner, sink: Callable[[bytes], int] | None = None
    ) -> None:
        self.url = url
        self.manner = manner
        self.sink = sink


class Response:
    """What came of one request: `head` is the final header block as received, times are in seconds.

    With a `fault` there was no usable answer and `detail` says why; `status` may still be set.
    `held` is how long it kept a place in flight: more than `seconds`, by which the node is judged,
    where this process is what others wait for.
    """

    # Set on the instance only where they differ: most answers are good ones.
    held = 0.0
    detail = ""
    redirect_url = b""
    retry_after = 0.0

    def __init__(self, request: Request, status: int, head: bytes, seconds: float) -> None:
        self.request = request
        self.status = status
        self.head = head
        self.seconds = seconds
        self.fault: Fault | None = None


class Admission(Protocol):
    """Who says which request starts, and when.

    Called from the loop, in its thread; must not block.
    """

    def admit(self, room: int) -> Sequence[Request]:
        """Give what may start now, at most `room` requests."""
        ...

    def wait(self) -> float | None:
        """Seconds until another may start; infinite: after an answer; None: never again."""
        ...

    def cut(self) -> bool:
        """Whether what is in flight must end now."""
        ...


class Batch:
    """The simplest Admission: these requests, as fast as there is room."""

    def __init__(
        self, requests: Sequence[Request], cut: Callable[[], bool] = lambda: False
    ) -> None:
        self._left = list(requests)
        self.cut = cut

    def admit(self, room: int) -> Sequence[Request]:
        """Give the next ones."""
        started, self._left = self._left[:room], self._left[room:]
        return started

    def wait(self) -> float | None:
        """Wait for nothing; None when all have started."""
        return 0.0 if self._left else None


def route_to(node: Node, site: Site) -> Route:
    """Reach the node by its own address for every URL, whatever its host.

    Nothing ever leaves the node.
    """
    address = node.address
    if address.unix_path:
        return Route(unix_path=address.unix_path, proxy_protocol=node.proxy_protocol)
    entries = []
    for scheme, port in node.ports.items():
        public = {DEFAULT_PORTS[scheme]} | ({site.port} if site.scheme == scheme else set())
        entries += [f":{public_port}:{address.host}:{port}" for public_port in sorted(public)]
    entries.append(f"::{address.host}:{address.port or ''}")
    return Route(
        connect_to=tuple(map(encoded, entries)),
        by_number=address.is_number,
        proxy_protocol=node.proxy_protocol,
    )


def place_of(node: Node, site: Site) -> str:
    """Name where that route leads for the site itself: one name, however the node is written."""
    address = node.address
    if address.unix_path:
        return str(address)
    port = node.ports.get(site.scheme) or address.port or site.port
    return f"{address.host.lower()}:{port}"


def public_route() -> Route:
    """Reach the public name as anybody would."""
    return Route()


def encoded(line: str) -> bytes:
    """Give a line to libcurl as it was read: pycurl takes a str only if it is ASCII."""
    return line.encode("utf-8", "surrogateescape")
