"""An HTTP/1.1 server in a thread of the test, which records every request as it arrived."""

import asyncio
import selectors
import ssl
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Self

from tests.servers.process import ServerFailedError, family_of, host_port
from tests.servers.tls import Certificate

# Beyond what nginx and Varnish would pass on; a head without end must not fill the memory.
MAX_HEAD_BYTES = 4_000_000


@dataclass(frozen=True)
class Received:
    """One request: `target` and `head` are the bytes as they arrived, header names lower case.

    A repeated header is joined with ", ". `time` is `time.monotonic()`.
    """

    method: str
    target: bytes
    headers: dict[str, str]
    time: float
    head: bytes = field(repr=False)
    body: bytes = field(default=b"", repr=False)

    @property
    def host(self) -> str:
        """The Host header, empty if there is none."""
        return self.headers.get("host", "")

    @property
    def path(self) -> bytes:
        """The target without its query."""
        return self.target.partition(b"?")[0]


def parse_head(head: bytes) -> Received:
    """Read a request head; one that is no HTTP gets an empty method."""
    first, *lines = head.split(b"\r\n")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.decode("latin-1").partition(":")
        if colon:
            key = name.lower()
            text = value.strip()
            headers[key] = f"{headers[key]}, {text}" if key in headers else text
    method, _, rest = first.partition(b" ")
    target, space, _version = rest.rpartition(b" ")
    name = method.decode("latin-1") if space else ""
    return Received(name, target if space else first, headers, time.monotonic(), head)


class Connection(asyncio.Protocol):
    """One client: takes requests off the wire one after another, and answers each in turn."""

    def __init__(self, server: "LoopServer") -> None:
        self.server = server
        self.closed = asyncio.Event()
        self._buffer = b""
        self._task: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not isinstance(transport, asyncio.Transport):
            raise TypeError(transport)
        self.transport = transport
        self.server.joined(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set()
        self._writable.set()
        self.server.left(self)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) > MAX_HEAD_BYTES:
            self.transport.abort()
        else:
            self._next()

    def _next(self) -> None:
        """Begin the next request, unless one is being answered or it has not all arrived."""
        if self._task is not None or self.transport.is_closing():
            return
        request = self._take()
        if request is not None:
            self._task = asyncio.get_running_loop().create_task(self._serve(request))

    def _take(self) -> Received | None:
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        if not end:
            return None
        request = parse_head(head)
        length = int(request.headers.get("content-length") or 0)
        if len(rest) < length:
            return None
        self._buffer = rest[length:]
        if length:
            return Received(**{**vars(request), "body": rest[:length]})
        return request

    async def _serve(self, request: Received) -> None:
        try:
            await self.server.serve(request, self)
        except BaseException:
            # A mistake in a test's own page: the client must not wait for it for ever.
            self.transport.abort()
            raise
        finally:
            self._task = None
        if request.headers.get("connection", "").lower() == "close":
            self.transport.close()
        self._next()

    async def write(self, data: bytes) -> None:
        """Send bytes, waiting while the client is slow to read; nothing once it is gone."""
        if not self.transport.is_closing():
            self.transport.write(data)
            await self._writable.wait()


class LoopServer:
    """A thread with an event loop and a listening socket; subclasses answer in `answer()`.

    Everything may be read from any thread while it runs. close() drops all clients, cancels what
    was being answered, and returns when the thread has ended.
    """

    running: ClassVar[set["LoopServer"]] = set()

    def __init__(
        self, *, host: str = "127.0.0.1", port: int = 0, tls: Certificate | None = None
    ) -> None:
        self.host = host
        self.port = port
        self.connections = 0
        """How many clients have connected since the start or reset()."""
        self.most_in_flight = 0
        """The highest number of requests that were being answered at one time."""
        self._tls = tls
        self._in_flight = 0
        self._records: list[Received] = []
        self._lock = threading.Lock()
        self._clients: set[Connection] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._started = threading.Event()
        self._problem: BaseException | None = None

    async def answer(self, request: Received, connection: Connection) -> None:
        """Answer one request."""
        raise NotImplementedError

    @property
    def address(self) -> str:
        """`host:port`."""
        return host_port(self.host, self.port)

    @property
    def url(self) -> str:
        """The base URL, without a slash at its end."""
        return f"{'http' if self._tls is None else 'https'}://{self.address}"

    @property
    def in_flight(self) -> int:
        """How many requests are being answered now."""
        return self._in_flight

    @property
    def requests(self) -> list[Received]:
        """All requests so far, in order of arrival."""
        with self._lock:
            return list(self._records)

    def targets(self) -> list[bytes]:
        """Return the raw request targets in order of arrival."""
        return [request.target for request in self.requests]

    def count(
        self,
        target: str | bytes | None = None,
        *,
        method: str | None = None,
        host: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> int:
        """Count the requests that match all that is given; targets byte for byte."""
        raw = target.encode() if isinstance(target, str) else target
        wanted = {name.lower(): value for name, value in (headers or {}).items()}
        return sum(
            raw in {None, request.target}
            and method in {None, request.method}
            and host in {None, request.host}
            and all(request.headers.get(name) == value for name, value in wanted.items())
            for request in self.requests
        )

    def counts(self, *header_names: str) -> Counter[tuple[str, ...]]:
        """Count by (method, target, Host, the named headers); an absent header is ""."""
        names = [name.lower() for name in header_names]
        return Counter(
            (
                request.method,
                request.target.decode("latin-1"),
                request.host,
                *(request.headers.get(name, "") for name in names),
            )
            for request in self.requests
        )

    def reset(self) -> None:
        """Forget all requests and counts."""
        with self._lock:
            self._records.clear()
            self.connections = 0
            self.most_in_flight = self._in_flight

    async def serve(self, request: Received, connection: Connection) -> None:
        """Record a request, then answer it."""
        with self._lock:
            self._records.append(request)
            self._in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self._in_flight)
        try:
            await self.answer(request, connection)
        finally:
            with self._lock:
                self._in_flight -= 1

    def joined(self, connection: Connection) -> None:
        """Take note of a new client."""
        self._clients.add(connection)
        with self._lock:
            self.connections += 1

    def left(self, connection: Connection) -> None:
        """Forget a client that is gone."""
        self._clients.discard(connection)

    def start(self) -> Self:
        """Listen; the port is known when this returns."""
        self._started.clear()
        self._thread = threading.Thread(
            target=self._run, name=f"{type(self).__name__} {self.host}", daemon=True
        )
        self._thread.start()
        self._started.wait(10.0)
        if self._loop is None:
            raise ServerFailedError(f"{type(self).__name__} did not start: {self._problem}")
        self.running.add(self)
        return self

    def close(self) -> None:
        """Drop all clients, stop listening and end the thread."""
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10.0)
            if self._thread.is_alive():
                raise ServerFailedError(f"the thread of {type(self).__name__} did not end")
            self._loop = None
        self.running.discard(self)

    def _run(self) -> None:
        loop = asyncio.SelectorEventLoop(selectors.EpollSelector())
        try:
            listener = loop.run_until_complete(self._listen())
        except BaseException as problem:  # noqa: BLE001 - start() raises it in the other thread
            self._problem = problem
            self._started.set()
            loop.close()
            return
        self._loop = loop
        self._started.set()
        loop.run_forever()
        loop.run_until_complete(self._stop_listening(listener))
        loop.run_until_complete(self._drop_clients())
        loop.close()

    async def _listen(self) -> asyncio.Server:
        context = None
        if self._tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self._tls.cert_file, self._tls.key_file)
        listener = await asyncio.get_running_loop().create_server(
            lambda: Connection(self),
            self.host,
            self.port,
            family=family_of(self.host),
            backlog=1024,
            ssl=context,
        )
        self.port = listener.sockets[0].getsockname()[1]
        return listener

    async def _stop_listening(self, listener: asyncio.Server) -> None:
        # A client accepted just now has no transport yet, and asyncio leaks its socket when it
        # makes one for a listener that is closed (an assertion in Server._attach).
        for sock in listener.sockets:
            asyncio.get_running_loop().remove_reader(sock.fileno())
        for _ in range(5):
            await asyncio.sleep(0)
        listener.close()

    async def _drop_clients(self) -> None:
        # Of clients that left, too: their answers may still be waiting out a delay.
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in list(self._clients):
            connection.transport.abort()
        # Aborted transports close their sockets in the next turns of the loop.
        while self._clients:
            await asyncio.sleep(0)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.close()
