"""Many HTTP requests to chosen addresses, fast.

One libcurl multi loop in one thread, in constant memory.

It knows nothing of lists, passes or hits: an Admission says what may start and when, Responses come
out. Where a request goes is its Route; URL, Host, SNI, certificate check and pool keys stay those
of the public URL (CONNECT_TO). The shape of the loop and its traps were measured: see "Replay
engine" in docs/internals.md.
"""

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

import pycurl

from cachekit.model import DEFAULT_PORTS, Node, Site

# libcurl also scans connections on every transfer: without a bound, 20,000 idle ones were 35 times
# slower.
_MAX_IDLE_CONNECTIONS = 500
_SWEEP_SECONDS = 0.1
_LANDED_AT_ONCE = 16
_STATUS, _FIRST_BYTE, _TOTAL = (
    pycurl.RESPONSE_CODE,
    pycurl.STARTTRANSFER_TIME,
    pycurl.TOTAL_TIME,
)
_CA_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")


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


_FAULTS = {
    pycurl.E_COULDNT_CONNECT: Fault.CONNECT,
    pycurl.E_COULDNT_RESOLVE_HOST: Fault.CONNECT,
    pycurl.E_OPERATION_TIMEDOUT: Fault.CONNECT_TIMEOUT,
    pycurl.E_SSL_CONNECT_ERROR: Fault.TLS,
    pycurl.E_PEER_FAILED_VERIFICATION: Fault.TLS,
    pycurl.E_SSL_CERTPROBLEM: Fault.TLS,
    pycurl.E_SSL_CACERT_BADFILE: Fault.TLS,
    pycurl.E_SSL_CIPHER: Fault.TLS,
    pycurl.E_PARTIAL_FILE: Fault.TRUNCATED,
    pycurl.E_FILESIZE_EXCEEDED: Fault.TOO_LARGE,
    pycurl.E_WRITE_ERROR: Fault.TOO_LARGE,
    pycurl.E_URL_MALFORMAT: Fault.URL,
    pycurl.E_UNSUPPORTED_PROTOCOL: Fault.URL,
}
_LOCATION = re.compile(rb"(?i)\nLocation[ \t]*:[ \t]*([^\r\n#]*)")
_TARGET = re.compile(rb"[^:/?#]+://[^/?#]*([^#]*)")
# E_TOO_LARGE, which pycurl has no name for.
_WITHOUT_MESSAGE = {100: "a response header is larger than 100 KB"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Route:
    """How a node is reached. Compared by identity, so make one per node.

    `connect_to` holds libcurl's HOST:PORT:CONNECT-TO-HOST:CONNECT-TO-PORT entries; empty parts
    match or keep all.
    """

    connect_to: tuple[str, ...] = ()
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
    """

    # Set on the instance only where they differ: most answers are good ones.
    fault: Fault | None = None
    detail = ""
    redirect_url = b""
    retry_after = 0.0

    def __init__(self, request: Request, status: int, head: bytes, seconds: float) -> None:
        self.request = request
        self.status = status
        self.head = head
        self.seconds = seconds


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
    return Route(connect_to=tuple(entries), proxy_protocol=node.proxy_protocol)


def public_route() -> Route:
    """Reach the public name as anybody would."""
    return Route()


def replay(admission: Admission, *, terms: Terms, max_in_flight: int = 64) -> Iterator[Response]:
    """Run what `admission` admits, `max_in_flight` at once, and yield each Response when complete.

    Closing the iterator cuts what is in flight.
    """
    loop = _Loop(admission, terms, max_in_flight)
    try:
        yield from loop.run()
    finally:
        loop.close()


class _Loop:
    """One libcurl multi handle with its easy handles, which are reused.

    Making one costs as much as a request.
    """

    def __init__(self, admission: Admission, terms: Terms, max_in_flight: int) -> None:
        self._admission = admission
        self._terms = terms
        self._free_slots = max_in_flight
        self._idle: list[Any] = []
        self._flying: dict[Any, float] = {}
        self._next_sweep = 0.0
        self._ca_file = str(terms.ca_file or _ca_bundle())
        self._multi = pycurl.CurlMulti()
        # Set always: libcurl's default made requests wait on no descriptor at all with many nodes.
        self._multi.setopt(pycurl.M_MAXCONNECTS, _MAX_IDLE_CONNECTIONS)

    def run(self) -> Iterator[Response]:
        multi, flying, admission = self._multi, self._flying, self._admission
        self._refill()
        while flying or admission.wait() is not None:
            _, active = multi.perform()
            if active < len(flying):
                yield from self._drain()
            elif self._free_slots:
                self._refill()
            if time.monotonic() >= self._next_sweep:
                yield from self._sweep()
            self._pause()

    def close(self) -> None:
        for handle in self._flying:
            self._multi.remove_handle(handle)
            handle.close()
        for handle in self._idle:
            handle.close()
        self._flying.clear()
        self._multi.close()

    def _refill(self) -> None:
        room = self._free_slots
        if not room:
            return
        idle, flying, add, now = self._idle, self._flying, self._multi.add_handle, time.monotonic()
        requests = self._admission.admit(room)
        self._free_slots = room - len(requests)
        for request in requests:
            handle = idle.pop() if idle else self._new_handle()
            if handle.has_target:
                self._renew(handle)
            if handle.manner is not request.manner:
                self._set_manner(handle, request.manner)
            if request.sink is not handle.sink:
                handle.setopt(pycurl.WRITEFUNCTION, request.sink or len)
                handle.sink = request.sink
            handle.setopt(pycurl.URL, request.url)
            if b"%" in request.url or not request.url.isascii():
                handle.setopt(pycurl.REQUEST_TARGET, _target_of(request.url))
                handle.has_target = True
            handle.request = request
            flying[handle] = now
            add(handle)

    def _drain(self) -> Iterator[Response]:
        """Land what is complete, and send the next ones after every few.

        All at once would keep answers that came together together: they would be asked for together
        again, each waiting for all the others to be judged, a twentieth of an origin's 30 ms.
        """
        queued = 1
        while queued:
            queued, complete, failed = self._multi.info_read(_LANDED_AT_ONCE)
            for handle in complete:
                yield self._land(handle)
            for handle, code, message in failed:
                response = self._land(handle)
                _explain(response, code, message)
                yield response
            self._refill()
            self._multi.perform()

    def _land(self, handle: Any) -> Response:
        getinfo, head = handle.getinfo, handle.head
        response = Response(
            handle.request,
            getinfo(_STATUS),
            bytes(head),
            getinfo(_TOTAL),
        )
        head.clear()
        if not 200 <= response.status < 300:
            _add_rare(response, handle)
        # Interim answers (100, 103) come first; trailers follow the final block and do no harm.
        final = response.head.rfind(b"\nHTTP/")
        if final >= 0:
            response.head = response.head[final + 1 :]
        self._multi.remove_handle(handle)
        del self._flying[handle]
        self._idle.append(handle)
        self._free_slots += 1
        return response

    def _sweep(self) -> Iterator[Response]:
        """Enforce what libcurl has no deadline for: the first byte, and the order to cut."""
        now = time.monotonic()
        self._next_sweep = now + _SWEEP_SECONDS
        if self._admission.cut():
            yield from self._end(list(self._flying), Fault.CUT, "ended while in flight")
        limit = self._terms.first_byte_timeout
        late = [handle for handle, start in self._flying.items() if now - start > limit]
        silent = [handle for handle in late if not handle.getinfo(_FIRST_BYTE)]
        yield from self._end(silent, Fault.FIRST_BYTE_TIMEOUT, f"no first byte within {limit:g} s")

    def _end(self, handles: list[Any], fault: Fault, detail: str) -> Iterator[Response]:
        now = time.monotonic()
        for handle in handles:
            started = self._flying[handle]
            response = self._land(handle)
            response.fault, response.detail, response.seconds = fault, detail, now - started
            yield response

    def _pause(self) -> None:
        wait = self._admission.wait() if self._free_slots else None
        longest = _SWEEP_SECONDS if wait is None else min(wait, _SWEEP_SECONDS)
        if not self._flying:
            if wait:
                time.sleep(longest)
            return
        # Without libcurl's own timeout here, a third of the CPU stayed idle.
        own = self._multi.timeout()
        seconds = longest if own < 0 else min(own / 1000, longest)
        if seconds > 0:
            self._multi.select(seconds)

    def _set_manner(self, handle: Any, manner: Manner) -> None:
        if handle.manner.route.unix_path and not manner.route.unix_path:
            self._renew(handle)
        _change_manner(handle, manner)

    def _renew(self, handle: Any) -> None:
        """Unset what pycurl cannot unset alone; the connections are the multi handle's."""
        handle.reset()
        self._set_up(handle)

    def _new_handle(self) -> Any:
        handle = pycurl.Curl()
        self._set_up(handle)
        return handle

    def _set_up(self, handle: Any) -> None:
        terms = self._terms
        handle.manner, handle.sink, handle.head = Manner(Route()), None, bytearray()
        handle.has_target = False
        for option, value in (
            (pycurl.NOSIGNAL, 1),
            (
                pycurl.PROXY,
                "",
            ),  # HTTP_PROXY of the environment would swallow what is meant for a node
            (pycurl.PATH_AS_IS, 1),
            (pycurl.FOLLOWLOCATION, 0),
            (pycurl.USERAGENT, ""),
            (
                pycurl.HTTP_VERSION,
                pycurl.CURL_HTTP_VERSION_2TLS if terms.http2 else pycurl.CURL_HTTP_VERSION_1_1,
            ),
            (pycurl.CONNECTTIMEOUT_MS, max(1, int(terms.connect_timeout * 1000))),
            (pycurl.TIMEOUT_MS, max(1, int(terms.timeout * 1000))),
            (pycurl.MAXFILESIZE_LARGE, terms.max_body),
            (
                pycurl.WRITEFUNCTION,
                len,
            ),  # takes each chunk and keeps nothing, without entering Python
            (pycurl.HEADERFUNCTION, handle.head.extend),
        ):
            handle.setopt(option, value)
        self._set_trust(handle)

    def _set_trust(self, handle: Any) -> None:
        terms = self._terms
        handle.setopt(pycurl.SSL_VERIFYPEER, int(terms.verify))
        handle.setopt(pycurl.SSL_VERIFYHOST, 2 if terms.verify else 0)
        if self._ca_file:
            handle.setopt(pycurl.CAINFO, self._ca_file)
        if terms.client_certificate:
            handle.setopt(pycurl.SSLCERT, str(terms.client_certificate))
            handle.setopt(pycurl.SSLKEY, str(terms.client_key or terms.client_certificate))


def _explain(response: Response, code: int, message: str) -> None:
    """Say why there is no usable answer, from libcurl's code and, where that is vague, words."""
    fault = _FAULTS.get(code, Fault.BROKEN)
    # Others are "Connection timed out", "SSL connection timeout", "Resolving timed out".
    if fault is Fault.CONNECT_TIMEOUT and message.startswith("Operation"):
        fault = Fault.TIMEOUT
    elif fault is Fault.URL and "HTTP/0.9" in message:  # what came is no HTTP
        fault = Fault.BROKEN
    response.fault = fault
    response.detail = message or _WITHOUT_MESSAGE.get(code, f"libcurl error {code}")


def _change_manner(handle: Any, manner: Manner) -> None:
    previous = handle.manner
    if manner.route is not previous.route:
        _set_route(handle, previous.route, manner.route)
    if manner.headers != previous.headers:
        _set_list(handle, pycurl.HTTPHEADER, manner.headers)
    if manner.method != previous.method:
        # With CUSTOMREQUEST alone libcurl would wait for the body that a HEAD never gets.
        handle.setopt(pycurl.NOBODY, int(manner.method == "HEAD"))
        handle.setopt(pycurl.CUSTOMREQUEST, manner.method)
    if manner.keep_head != previous.keep_head:
        handle.setopt(pycurl.HEADERFUNCTION, handle.head.extend if manner.keep_head else None)
    handle.manner = manner


def _set_route(handle: Any, previous: Route, route: Route) -> None:
    if route.connect_to != previous.connect_to:
        _set_list(handle, pycurl.CONNECT_TO, route.connect_to)
    if route.unix_path and route.unix_path != previous.unix_path:
        handle.setopt(pycurl.UNIX_SOCKET_PATH, route.unix_path)
    if route.proxy_protocol != previous.proxy_protocol:
        handle.setopt(pycurl.HAPROXYPROTOCOL, int(route.proxy_protocol))


def _set_list(handle: Any, option: int, lines: Sequence[str]) -> None:
    # pycurl takes an empty list for no change, and a str only if it is ASCII.
    if lines:
        handle.setopt(option, [line.encode("utf-8", "surrogateescape") for line in lines])
    else:
        handle.unsetopt(option)


def _target_of(url: bytes) -> bytes:
    """Give path and query as they are; libcurl would escape bytes and turn `%d0` into `%D0`."""
    match = _TARGET.match(url)
    target = match[1] if match else b""
    return target if target.startswith(b"/") else b"/" + target


def _add_rare(response: Response, handle: Any) -> None:
    if response.status < 400:
        resolved = handle.getinfo_raw(pycurl.REDIRECT_URL) or b""
        response.redirect_url = _as_written(resolved, response.head) if resolved else b""
    response.retry_after = float(handle.getinfo(pycurl.RETRY_AFTER))


def _as_written(resolved: bytes, head: bytes) -> bytes:
    """Keep the escapes of a Location as browsers do, where libcurl turns `%d0` into `%D0`."""
    resolved = resolved.partition(b"#")[0]
    match = _LOCATION.search(head)
    written = match[1] if match else b""
    if not resolved.lower().endswith(written.lower()):
        return resolved
    return resolved[: len(resolved) - len(written)] + written


def _ca_bundle() -> Path:
    """Find trusted certificates, as the wheel's libcurl knows none.

    The system's, else certifi's.
    """
    for path in (os.environ.get("SSL_CERT_FILE", ""), *_CA_BUNDLES):
        if path and Path(path).is_file():
            return Path(path)
    import certifi

    return Path(certifi.where())
