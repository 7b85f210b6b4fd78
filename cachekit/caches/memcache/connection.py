"""One strict connection to one memcached: small calls by pymemcache, bulk by meta pipelines.

A batch of quiet commands ends with `mn` and is read to its `MN`, so that every failure is seen
and counted. Batches are small enough that neither side can block the other while both write.
"""

import base64
import re
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pymemcache.client.base import Client
from pymemcache.exceptions import MemcacheError

from cachekit.caches.base import Place
from cachekit.deadline import Deadline, DeadlineError
from cachekit.errors import RefusedError, UnexpectedReplyError, UnreachableError
from cachekit.model import Address, shown

DEFAULT_PORT = 11211
MAX_KEY = 250
BLANK = re.compile(rb"[\x00-\x20\x7f]")
"""What text commands cannot carry in a key."""
IO_SECONDS = 10.0
# Request bytes of a batch whose replies carry values: what a server accepts without being read.
READ_BATCH_BYTES = 16 * 1024
WRITE_BATCH_BYTES = 256 * 1024
_BATCH_COMMANDS = 1000
_RECEIVE_BYTES = 1024 * 1024


class _Dialled(Client):  # type: ignore[misc]  # it publishes no types
    """A pymemcache client over a socket that a transport has made; it never dials again."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__(("", 0), default_noreply=False)
        self.sock = connection

    def _connect(self) -> None:
        raise ConnectionError("the connection was closed")


class Connection:
    """A connection to the memcached of a place. Errors name the place."""

    def __init__(self, place: Place, deadline: Deadline) -> None:
        self.place = place.name
        self._deadline = deadline
        address = place.addresses[0]
        if not address.unix_path and address.port is None:
            address = Address(host=address.host, port=DEFAULT_PORT)
        self._client = _Dialled(place.transport.dial(address, deadline=deadline))
        self._buffer = b""

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def stats(self, *which: str) -> dict[str, str]:
        """Give the server's own counters or settings, as text."""
        with self.translated():
            self._set_timeout()
            stats: dict[bytes, Any] = self._client.stats(*which)
            return {key.decode(): _text(value) for key, value in stats.items()}

    def number(self, name: str, *which: str) -> int:
        """Give one counter."""
        try:
            return int(self.stats(*which)[name])
        except (KeyError, ValueError) as error:
            raise UnexpectedReplyError(self.place, f"`stats` tells no number {name}") from error

    def flush_all(self) -> None:
        """Make everything that is stored now invisible at once."""
        with self.translated():
            self._set_timeout()
            self._client.flush_all(noreply=False)

    def ask(self, commands: Iterable[bytes], *, batch_bytes: int) -> Iterator[list[bytes]]:
        """Send commands in batches, and yield the reply lines of each batch, without its `MN`.

        For commands whose replies have no values.
        """
        with self.translated():
            for batch in _batches(commands, batch_bytes):
                self._send(b"".join(batch) + b"mn\r\n")
                yield self._receive_to(b"MN\r\n").split(b"\r\n")[:-1]

    def fetch(self, commands: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
        """Send `mg` commands with `v`, and yield each hit: its reply line and its value."""
        with self.translated():
            for batch in _batches(commands, READ_BATCH_BYTES):
                self._send(b"".join(batch) + b"mn\r\n")
                yield from self._values()

    def lines(self, command: bytes) -> Iterator[bytes]:
        """Send one command and yield its reply in blocks of whole lines, to its `END`.

        Raises RefusedError for an answer that refuses it.
        """
        with self.translated():
            self._send(command)
            rest = b""
            while True:
                block = rest + self._receive()
                cut = block.rfind(b"\n") + 1
                block, rest = block[:cut], block[cut:]
                if block.startswith((b"BUSY", b"ERROR", b"CLIENT_ERROR", b"SERVER_ERROR")):
                    raise RefusedError(self.place, f"memcached says: {shown(_text(block).strip())}")
                if block.endswith(b"END\r\n") and block[-6:-5] in (b"", b"\n"):
                    yield block[:-5]
                    return
                yield block

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turn what the client, the socket and the parsing of replies raise into our errors.

        They name the place. To be held around what reads replies, and nothing else.
        """
        try:
            yield
        except DeadlineError:
            raise
        except MemcacheError as error:
            raise UnexpectedReplyError(self.place, f"memcached says: {error}") from error
        except (ValueError, LookupError) as error:
            raise UnexpectedReplyError(
                self.place, f"an answer that makes no sense: {shown(str(error))}"
            ) from error
        except TimeoutError as error:
            raise UnreachableError(
                self.place, "no answer in time; is it stopped, or its network down?"
            ) from error
        except OSError as error:
            raise UnreachableError(self.place, f"the connection broke: {error}") from error

    def _values(self) -> Iterator[tuple[bytes, bytes]]:
        buffer, start = self._buffer, 0
        while True:
            end = buffer.find(b"\r\n", start)
            if end < 0:
                buffer, start = buffer[start:] + self._receive(), 0
                continue
            line = buffer[start:end]
            if line == b"MN":
                self._buffer = buffer[end + 2 :]
                return
            if not line.startswith(b"VA "):
                raise UnexpectedReplyError(self.place, f"memcached says: {line[:80]!r}")
            size = int(line.split(b" ", 2)[1])
            while len(buffer) < end + 4 + size:
                buffer, start, end = buffer[start:] + self._receive(), 0, end - start
            yield line, buffer[end + 2 : end + 2 + size]
            start = end + 4 + size

    def _receive_to(self, end: bytes) -> bytes:
        blocks = [self._buffer]
        self._buffer = b""
        tail = blocks[0][-len(end) :]
        while not (tail == end or tail.endswith(b"\n" + end)):
            try:
                block = self._receive()
            except ConnectionError as error:
                if said := b"".join(blocks)[:80]:
                    raise UnexpectedReplyError(self.place, f"memcached says: {said!r}") from error
                raise
            blocks.append(block)
            tail = (tail + block)[-len(end) - 1 :]
        return b"".join(blocks)[: -len(end)]

    def _send(self, data: bytes) -> None:
        self._set_timeout()
        self._socket.sendall(data)

    def _receive(self) -> bytes:
        self._set_timeout()
        data = self._socket.recv(_RECEIVE_BYTES)
        if not data:
            raise ConnectionError("memcached closed it")
        return data

    def _set_timeout(self) -> None:
        self._socket.settimeout(self._deadline.remaining(IO_SECONDS))

    @property
    def _socket(self) -> socket.socket:
        connection: socket.socket | None = self._client.sock
        if connection is None:
            raise ConnectionError("it was closed after an error")
        return connection


def _batches(commands: Iterable[bytes], batch_bytes: int) -> Iterator[Sequence[bytes]]:
    batch: list[bytes] = []
    size = 0
    for command in commands:
        batch.append(command)
        size += len(command)
        if size >= batch_bytes or len(batch) >= _BATCH_COMMANDS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def wire_key(key: bytes) -> tuple[bytes, bytes]:
    """Give a key as a meta command takes it, and the flag that says how: binary ones in base64."""
    if BLANK.search(key):
        return base64.b64encode(key), b" b"
    return key, b""


def too_long(key: bytes) -> str:
    """Say why a key cannot be asked for; "" if it can."""
    size = len(wire_key(key)[0])
    if size <= MAX_KEY:
        return ""
    name = shown(key.decode("utf-8", "backslashreplace"))
    return f"the key {name} has {size} bytes on the wire, memcached takes {MAX_KEY}"
