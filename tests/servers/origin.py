"""The site behind the nodes: an origin whose pages a test sets, and which counts requests."""

import asyncio
import html
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus

from tests.servers.loop_server import Connection, LoopServer, Received
from tests.servers.tls import Certificate

DEFAULT_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "public, max-age=600",
}


@dataclass(frozen=True)
class Page:
    """What the origin answers; a header given replaces the default one, None takes it away."""

    body: str | bytes = ""
    status: int = 200
    headers: Mapping[str, str | None] = field(default_factory=dict)
    delay: float = 0.0

    def encode(self, *, with_body: bool = True) -> bytes:
        """Return the whole answer as it goes on the wire."""
        body = self.body.encode() if isinstance(self.body, str) else self.body
        lines = {name.lower(): (name, value) for name, value in DEFAULT_HEADERS.items()}
        lines["date"] = ("Date", formatdate(usegmt=True))
        lines["content-length"] = ("Content-Length", str(len(body)))
        given = {name.lower(): (name, value) for name, value in self.headers.items()}
        text = f"HTTP/1.1 {self.status} {reason_of(self.status)}\r\n" + "".join(
            f"{name}: {value}\r\n"
            for name, value in {**lines, **given}.values()
            if value is not None
        )
        return text.encode("latin-1") + b"\r\n" + (body if with_body else b"")


def reason_of(status: int) -> str:
    """Return the reason phrase of a status."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def named_page(request: Received) -> Page:
    """Answer with a small page that names the path, cacheable for ten minutes."""
    name = html.escape(request.target.decode("latin-1"))
    return Page(f"<!doctype html><title>{name}</title><h1>{name}</h1>\n")


PageMaker = Callable[[Received], Page]


class Origin(LoopServer):
    """An HTTP/1.1 keep-alive origin in a thread; any path without a page gets `default`.

    A page is found by the exact request target, else by the target without its query.
    """

    def __init__(
        self, *, host: str = "127.0.0.1", port: int = 0, tls: Certificate | None = None
    ) -> None:
        super().__init__(host=host, port=port, tls=tls)
        self.default: PageMaker = named_page
        self.delay = 0.0
        """Seconds added to every answer."""
        self._pages: dict[bytes, PageMaker] = {}

    def page(
        self,
        path: str | bytes,
        *,
        body: str | bytes = "<!doctype html><title>page</title>\n",
        status: int = 200,
        headers: Mapping[str, str | None] | None = None,
        delay: float = 0.0,
    ) -> None:
        """Set what one path answers."""
        page = Page(body, status, headers or {}, delay)
        self.answer_with(path, lambda _request: page)

    def answer_with(self, path: str | bytes, maker: PageMaker) -> None:
        """Let a function make the page of one path from the request; it runs in the loop."""
        self._pages[path.encode() if isinstance(path, str) else path] = maker

    def reset(self) -> None:
        """Forget all requests, counts and pages."""
        super().reset()
        self._pages.clear()
        self.default = named_page
        self.delay = 0.0

    async def answer(self, request: Received, connection: Connection) -> None:
        maker = self._pages.get(request.target) or self._pages.get(request.path) or self.default
        page = maker(request)
        delay = self.delay + page.delay
        if delay:
            await asyncio.sleep(delay)
        no_body = request.method == "HEAD" or page.status in {204, 304}
        await connection.write(page.encode(with_body=not no_body))
