"""A small caching reverse proxy, as honest as a real one: it obeys Cache-Control and says so."""

import re
import socketserver
import sys
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from threading import Lock
from typing import Any, NamedTuple

from cachekit.demo.shop import HOST, Page, Shop

_MAX_AGE = re.compile(r"\bmax-age=(\d+)")
_NEVER_STORED = re.compile(r"\b(?:private|no-store|no-cache)\b")


class _Stored(NamedTuple):
    page: Page
    since: float
    until: float


class CachingNode(socketserver.ThreadingTCPServer):
    """One node in front of the shop, listening from its creation; `asked` counts requests.

    A copy is kept per target and Accept-Encoding; each answer says where it came from (RFC 9211).
    """

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, name: str, host: str, port: int, shop: Shop) -> None:
        self.name = name
        self.asked = 0
        self._lock = Lock()
        self._shop = shop
        self._copies: dict[tuple[str, str], _Stored] = {}
        super().__init__((host, port), _Exchange)

    @property
    def address(self) -> str:
        """`host:port`, as a node's address is written."""
        host, port = self.socket.getsockname()
        return f"{host}:{port}"

    def forget(self) -> None:
        """Be cold again."""
        self._copies.clear()

    def answer(self, target: str, accept_encoding: str) -> tuple[Page, dict[str, str]]:
        """Give the page, from the cache where it may be, and the headers that the cache adds."""
        with self._lock:
            self.asked += 1
        key, now = (target, accept_encoding), time.monotonic()
        copy = self._copies.get(key)
        if copy is not None and now < copy.until:
            status = f"{self.name}; hit; ttl={copy.until - now:.0f}"
            return copy.page, {"Cache-Status": status, "Age": f"{now - copy.since:.0f}"}
        page = self._shop.page(target, accept_encoding)
        status = f"{self.name}; fwd={'uri-miss' if copy is None else 'stale'}"
        if seconds := _lifetime(page):
            self._copies[key] = _Stored(page, now, now + seconds)
            status += "; stored"
        return page, {"Cache-Status": status}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Take it calmly when a client goes away in mid-answer."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Exchange(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    server_version = "cachekit-demo"
    sys_version = ""
    # Head and body leave together; apart, the second would wait for the client's delayed ACK.
    wbufsize = -1
    disable_nagle_algorithm = True
    server: CachingNode

    def do_GET(self) -> None:
        """Answer with head and body."""
        self.wfile.write(self._begin())

    def do_HEAD(self) -> None:
        """Answer with the head alone."""
        self._begin()

    def _begin(self) -> bytes:
        if self.headers.get("Host", "").lower() != HOST:
            # Whoever asks a node by its address must still name the site.
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST, explain=f"Only {HOST} is served here")
            return b""
        page, cache_headers = self.server.answer(self.path, self.headers.get("Accept-Encoding", ""))
        self.send_response(page.status)
        for name, value in {**page.headers, **cache_headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(page.body)))
        self.end_headers()
        return page.body

    def log_message(self, *args: Any, **kwargs: Any) -> None:
        """Keep quiet: the report tells what happened."""


def _lifetime(page: Page) -> int:
    if page.status != HTTPStatus.OK or "Set-Cookie" in page.headers:
        return 0
    control = page.headers.get("Cache-Control", "")
    found = _MAX_AGE.search(control)
    return int(found[1]) if found and not _NEVER_STORED.search(control) else 0
