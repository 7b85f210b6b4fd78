"""A server that misbehaves in one chosen way per path: the faults that a node can show."""

import asyncio
import functools
import random
import socket
import struct
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from tests.servers.loop_server import Connection, LoopServer, Received
from tests.servers.origin import Page
from tests.servers.process import family_of, free_port
from tests.servers.tls import Certificate

Behaviour = Literal[
    "ok",
    "accept_silent",
    "big_body",
    "close_without_answer",
    "garbage",
    "gzip_bomb",
    "huge_header",
    "redirect_login",
    "redirect_loop",
    "redirect_offsite",
    "reset_mid_body",
    "slow_drip",
    "slow_header",
    "storm_503",
    "too_many_requests",
    "truncated",
    "wrong_encoding",
    "wrong_length",
]
BEHAVIOURS: tuple[Behaviour, ...] = get_args(Behaviour)

BODY = b"<!doctype html><title>ok</title><p>" + b"x" * 4000 + b"</p>\n"
LOGIN_FORM = "<!doctype html><title>Log in</title><form><input type=password></form>\n"


@dataclass(frozen=True)
class Lie:
    """One behaviour and its numbers; each behaviour reads those it needs."""

    behaviour: Behaviour = "ok"
    first: int = 1
    """too_many_requests, storm_503: how many requests of a path are refused before 200."""
    limit: int | None = None
    """storm_503: refuse also while more than this many requests are in flight."""
    retry_after: str | None = "1"
    """too_many_requests, storm_503: the Retry-After header, None for no header."""
    delay: float = 0.0
    """Seconds before the answer begins, with any behaviour; a refusal comes at once."""
    interval: float = 0.05
    """slow_drip, slow_header: seconds between two bytes."""
    megabytes: int = 200
    """big_body, gzip_bomb: the size of the body; of the bomb, inflated."""
    header_bytes: int = 1_000_000
    """huge_header: the size of the header's value."""
    location: str = ""
    """redirect_offsite, redirect_login: where to; a place of their own when empty."""


class LyingServer(LoopServer):
    """A server of faults. What a path does: as told by lie(); else its first segment if that is
    the name of a behaviour (`/truncated/7`); else `default`.
    """

    def __init__(
        self,
        *,
        default: Behaviour | Lie = "ok",
        host: str = "127.0.0.1",
        port: int = 0,
        tls: Certificate | None = None,
    ) -> None:
        super().__init__(host=host, port=port, tls=tls)
        self.default = default if isinstance(default, Lie) else Lie(default)
        self._lies: dict[bytes, Lie] = {}
        self._seen: Counter[bytes] = Counter()
        self._held: list[socket.socket] = []

    def lie(self, path: str, behaviour: Behaviour, **numbers: Any) -> None:
        """Set what one path does, e.g. `lie("/a", "too_many_requests", first=2)`."""
        self._lies[path.encode()] = replace(Lie(behaviour), **numbers)

    def reset(self) -> None:
        """Forget all requests, counts and lies; `default` stays."""
        super().reset()
        self._lies.clear()
        self._seen.clear()

    def refused_port(self, host: str | None = None) -> int:
        """Return a port that refuses connections, kept from others until the server closes."""
        holder = self._hold(host or self.host)
        return int(holder.getsockname()[1])

    def unanswered_port(self, host: str | None = None) -> int:
        """Return a port where connecting itself hangs, as with a firewall that drops packets.

        Linux ignores a SYN while the queue of connections to accept is full, and a backlog of
        zero still lets one in.
        """
        listener = self._hold(host or self.host)
        listener.listen(0)
        for _ in range(3):
            filler = socket.socket(listener.family)
            filler.setblocking(False)
            self._held.append(filler)
            filler.connect_ex(listener.getsockname())
        return int(listener.getsockname()[1])

    def _hold(self, host: str) -> socket.socket:
        holder = socket.socket(family_of(host))
        self._held.append(holder)
        holder.bind((host, free_port(host)))
        return holder

    def close(self) -> None:
        """End the thread and give all ports back."""
        super().close()
        while self._held:
            self._held.pop().close()

    def lie_of(self, request: Received) -> Lie:
        """Choose what happens to a request."""
        told = self._lies.get(request.target) or self._lies.get(request.path)
        segment = request.path.split(b"/")[1:2]
        named = next((name for name in BEHAVIOURS if [name.encode()] == segment), None)
        return told or (Lie(named) if named else self.default)

    async def answer(self, request: Received, connection: Connection) -> None:
        lie = self.lie_of(request)
        self._seen[request.target] += 1
        # Judged on arrival, while the others are in flight; what is refused need not wait.
        call = Call(self, lie, request, connection, refused=self.refuses(lie, request))
        if lie.delay and not call.refused:
            await asyncio.sleep(lie.delay)
        await ANSWERS[lie.behaviour](call)

    def refuses(self, lie: Lie, request: Received) -> bool:
        """Tell whether a behaviour that refuses for a while still does."""
        if lie.behaviour not in {"storm_503", "too_many_requests"}:
            return False
        busy = lie.limit is not None and self.in_flight > lie.limit
        return busy or self._seen[request.target] <= lie.first


@dataclass(frozen=True)
class Call:
    """One request that is to be answered with a lie."""

    server: LyingServer
    lie: Lie
    request: Received
    client: Connection
    refused: bool


Answer = Callable[[Call], Awaitable[None]]


async def _ok(call: Call) -> None:
    page = Page(LOGIN_FORM) if call.request.path == b"/login" else Page(BODY)
    await call.client.write(page.encode(with_body=call.request.method != "HEAD"))


async def _silent(call: Call) -> None:
    await call.client.closed.wait()


async def _close(call: Call) -> None:
    call.client.transport.close()


async def _reset(call: Call) -> None:
    await call.client.write(Page(BODY).encode()[:-3000])
    # Long enough for the first part to be read: a reset throws away what is still under way.
    await asyncio.sleep(0.02)
    plain = call.client.transport.get_extra_info("socket")
    # With a linger time of zero, closing sends RST in place of FIN (socket(7)).
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    call.client.transport.abort()


async def _drip(call: Call) -> None:
    head, _, body = Page(BODY).encode().partition(b"\r\n\r\n")
    await call.client.write(head + b"\r\n\r\n")
    await _byte_by_byte(body, call)


async def _slow_header(call: Call) -> None:
    await _byte_by_byte(Page(BODY).encode(), call)


async def _byte_by_byte(data: bytes, call: Call) -> None:
    for number in range(len(data)):
        if call.client.closed.is_set():
            return
        await call.client.write(data[number : number + 1])
        await asyncio.sleep(call.lie.interval)


async def _truncated(call: Call) -> None:
    await call.client.write(Page(BODY).encode()[:-1000])
    call.client.transport.close()


async def _wrong_length(call: Call) -> None:
    """Leave the connection open: the rest then looks like the start of the next answer."""
    await call.client.write(Page(BODY, headers={"Content-Length": str(len(BODY) - 1000)}).encode())


async def _too_many(call: Call) -> None:
    await _refuse_or_serve(429, call)


async def _storm(call: Call) -> None:
    await _refuse_or_serve(503, call)


async def _refuse_or_serve(status: int, call: Call) -> None:
    if call.refused:
        headers = {"Retry-After": call.lie.retry_after, "Cache-Control": "no-store"}
        await call.client.write(Page("busy\n", status, headers).encode())
    else:
        await _ok(call)


async def _redirect(call: Call, location: str) -> None:
    headers = {"Location": location, "Cache-Control": "no-store"}
    await call.client.write(Page("moved\n", 302, headers).encode())


async def _loop(call: Call) -> None:
    await _redirect(call, call.request.target.decode("latin-1"))


async def _offsite(call: Call) -> None:
    away = f"http://elsewhere.example{call.request.target.decode('latin-1')}"
    await _redirect(call, call.lie.location or away)


async def _login(call: Call) -> None:
    form = f"/login?next={call.request.target.decode('latin-1')}"
    await _redirect(call, call.lie.location or form)


async def _huge_header(call: Call) -> None:
    await call.client.write(Page(BODY, headers={"X-Huge": "h" * call.lie.header_bytes}).encode())


async def _bomb(call: Call) -> None:
    headers = {"Content-Encoding": "gzip"}
    await call.client.write(Page(zeros_gzipped(call.lie.megabytes), headers=headers).encode())


@functools.cache
def zeros_gzipped(megabytes: int) -> bytes:
    """Return a gzip file of zero bytes, about a thousandth of its inflated size."""
    megabyte = bytes(1 << 20)
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed = b"".join(packer.compress(megabyte) for _ in range(megabytes))
    return packed + packer.flush()


async def _wrong_encoding(call: Call) -> None:
    await call.client.write(Page(BODY, headers={"Content-Encoding": "gzip"}).encode())


async def _garbage(call: Call) -> None:
    await call.client.write(b"SSH-2.0-" + random.Random(1).randbytes(300) + b"\r\n\r\n")
    call.client.transport.close()


async def _big_body(call: Call) -> None:
    length = str(call.lie.megabytes << 20)
    await call.client.write(Page(headers={"Content-Length": length}).encode())
    megabyte = b"b" * (1 << 20)
    for _ in range(call.lie.megabytes):
        if call.client.closed.is_set():
            return
        await call.client.write(megabyte)


ANSWERS: dict[Behaviour, Answer] = {
    "ok": _ok,
    "accept_silent": _silent,
    "big_body": _big_body,
    "close_without_answer": _close,
    "garbage": _garbage,
    "gzip_bomb": _bomb,
    "huge_header": _huge_header,
    "redirect_login": _login,
    "redirect_loop": _loop,
    "redirect_offsite": _offsite,
    "reset_mid_body": _reset,
    "slow_drip": _drip,
    "slow_header": _slow_header,
    "storm_503": _storm,
    "too_many_requests": _too_many,
    "truncated": _truncated,
    "wrong_encoding": _wrong_encoding,
    "wrong_length": _wrong_length,
}
