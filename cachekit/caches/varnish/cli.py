"""The management port of one varnishd: its framing, its authentication, its commands in a row.

See `varnish-cli(7)` and include/vcli.h of Varnish: each reply is a line of 13 bytes with status and
length, that many bytes, and a newline.
"""

import hashlib
import re
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

from cachekit.deadline import Deadline, DeadlineError
from cachekit.errors import RefusedError, UnexpectedReplyError, UnreachableError
from cachekit.model import shown

OK, TRUNCATED, UNKNOWN_COMMAND, AUTHENTICATE, CLOSING = 200, 201, 101, 107, 500

_IO_SECONDS = 10.0
_AT_ONCE = 500
_CHALLENGE_LENGTH = 32
_MAX_REPLY = 100_000_000
_RECEIVE_BYTES = 64 * 1024
_HEAD = re.compile(rb"(\d{3}) +(\d{1,8}) *\n")
_HEAD_LENGTH = 13
_VERSION = re.compile(r"(?m)^[\w+-]+?-(\d[\w.+-]*) revision")


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer of the management port."""

    status: int
    text: str

    def __str__(self) -> str:
        return f"{self.status} {' '.join(shown(self.text).split())[:300]}".strip()


class Cli:
    """A connection over a socket that is open already. Errors name the place."""

    def __init__(self, place: str, connection: socket.socket, deadline: Deadline) -> None:
        self.place = place
        self.version: str | None = None
        self._socket = connection
        self._deadline = deadline
        self._buffer = bytearray()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def log_in(self, secret: bytes | None) -> None:
        """Read the greeting, and answer its challenge with the very bytes of the secret file."""
        with self._translated():
            reply = self._receive_reply()
            if reply.status == AUTHENTICATE:
                reply = self._authenticated(reply, secret)
            if reply.status != OK:
                raise UnexpectedReplyError(self.place, f"the management port greets with {reply}")
        match = _VERSION.search(reply.text)
        self.version = match[1] if match else None

    def ask(self, command: str) -> Reply:
        """Send one command and give its reply, whatever its status."""
        (reply,) = self.ask_all([command])
        return reply

    def ask_all(self, commands: Iterable[str]) -> Iterator[Reply]:
        """Send commands without waiting for each, and give their replies in order."""
        waiting = iter(commands)
        with self._translated():
            while batch := list(islice(waiting, _AT_ONCE)):
                self._send(batch)
                for _ in batch:
                    yield self._receive_reply()

    def _authenticated(self, greeting: Reply, secret: bytes | None) -> Reply:
        if secret is None:
            raise RefusedError(
                self.place, "the management port wants a secret; name its file in `secret_file`"
            )
        challenge = greeting.text[:_CHALLENGE_LENGTH].encode("latin-1") + b"\n"
        digest = hashlib.sha256(challenge + secret + challenge).hexdigest()
        self._send([f"auth {digest}"])
        reply = self._receive_reply()
        if reply.status in (CLOSING, AUTHENTICATE):
            raise RefusedError(
                self.place,
                "the management port does not accept the secret of `secret_file`; it must be the"
                " file that varnishd was started with (-S), to the last newline",
            )
        return reply

    def _send(self, commands: Sequence[str]) -> None:
        self._socket.settimeout(self._deadline.remaining(_IO_SECONDS))
        self._socket.sendall("".join(f"{each}\n" for each in commands).encode("latin-1"))

    def _receive_reply(self) -> Reply:
        head = self._receive(_HEAD_LENGTH)
        match = _HEAD.fullmatch(head)
        if match is None or int(match[2]) > _MAX_REPLY:
            raise UnexpectedReplyError(
                self.place,
                f"no management port of Varnish answers there, but something that says {head!r}",
            )
        text = self._receive(int(match[2]) + 1)[:-1]
        return Reply(int(match[1]), text.decode("utf-8", "replace"))

    def _receive(self, size: int) -> bytes:
        buffer = self._buffer
        while len(buffer) < size:
            self._socket.settimeout(self._deadline.remaining(_IO_SECONDS))
            block = self._socket.recv(_RECEIVE_BYTES)
            if not block:
                raise ConnectionError(
                    "it was closed in the middle of a reply" if buffer else "it was closed"
                )
            buffer += block
        taken = bytes(buffer[:size])
        del buffer[:size]
        return taken

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except DeadlineError:
            raise
        except TimeoutError as error:
            raise UnreachableError(
                self.place,
                "the management port does not answer in time; is varnishd stopped, or is it"
                " something else that listens there?",
            ) from error
        except OSError as error:
            raise UnreachableError(
                self.place, f"the connection to the management port broke: {error}"
            ) from error
