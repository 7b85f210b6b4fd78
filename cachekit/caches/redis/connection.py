"""One strict connection to one redis: signed in by redis-py, bulk by pipelines of our own.

Commands are packed and replies parsed by hiredis with nothing in between: a copy of many keys
spends its time on just that.
"""

import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import hiredis

from cachekit.caches.base import Place
from cachekit.caches.redis.replies import Command, Reply, refusal
from cachekit.deadline import Deadline, DeadlineError
from cachekit.errors import RefusedError, UnexpectedReplyError, UnreachableError
from cachekit.model import Address

DEFAULT_PORT = 6379
IO_SECONDS = 10.0
_TLS_SECONDS = 5.0
_OLDEST = (5, 0)
_RECEIVE_BYTES = 256 * 1024
_INCOMPLETE = object()


@dataclass(frozen=True, kw_only=True)
class Access:
    """How to sign in."""

    db: int = 0
    username: str = ""
    password: str = field(default="", repr=False)
    tls: bool = False
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None


class Connection:
    """A connection to one redis of a place. Errors name the place."""

    def __init__(self, place: Place, address: Address, access: Access, deadline: Deadline) -> None:
        if not address.unix_path and address.port is None:
            address = Address(host=address.host, port=DEFAULT_PORT)
        self.place = place.name
        self.address = address
        self._deadline = deadline
        self._reader = hiredis.Reader(notEnoughData=_INCOMPLETE)
        self._buffer = bytearray(_RECEIVE_BYTES)
        self._dialled = place.transport.dial(address, deadline=deadline)
        self._socket = self._dialled
        try:
            self._sign_in(access)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()
        # TLS takes the file descriptor over; what a transport holds beside it is released here.
        self._dialled.close()

    def ask(self, *command: str | int | bytes) -> Reply:
        """Send one command and give its reply. Raises RefusedError."""
        (reply,) = self.pipeline([command])
        self.check(reply)
        return reply

    def pipeline(self, commands: Sequence[Command]) -> list[Reply]:
        """Send commands at once and give their replies in order, refusals as ReplyErrors."""
        self.send(commands)
        return self.receive(len(commands))

    def send(self, commands: Sequence[Command]) -> None:
        """Send commands, whose replies are received later; redis works on them meanwhile.

        Redis reads on while its replies wait, so neither side can block the other.
        """
        with self._translated():
            self._set_timeout()
            self._socket.sendall(b"".join(map(_packed, commands)))

    def receive(self, count: int) -> list[Reply]:
        """Give the next replies in order, refusals as ReplyErrors."""
        with self._translated():
            return [self._receive() for _ in range(count)]

    def check(self, *replies: Reply) -> None:
        """Raise RefusedError if one of the replies is a refusal."""
        for reply in replies:
            if isinstance(reply, hiredis.ReplyError):
                raise refusal(self._where, str(reply))

    def number(self, reply: Reply) -> int:
        """Read a reply that is a number. Raises RefusedError, UnexpectedReplyError."""
        self.check(reply)
        if not isinstance(reply, int):
            raise UnexpectedReplyError(self._where, f"redis answers {reply!r:.80} for a number")
        return reply

    def unexpected(self, command: str, reply: Reply) -> UnexpectedReplyError:
        """Make the error for a reply that does not fit its command."""
        return UnexpectedReplyError(self._where, f"redis answers {command} with {reply!r:.80}")

    def page(self, *command: str | int | bytes) -> tuple[bytes, list[bytes]]:
        """Ask for a page of a listing; give the cursor of the next one, and what is listed."""
        reply = self.ask(*command)
        match reply:
            case [bytes(cursor), list(listed)] if set(map(type, listed)) <= {bytes}:
                return cursor, listed
        raise self.unexpected(str(command[0]), reply)

    @contextmanager
    def parsing(self, command: str) -> Iterator[None]:
        """Turn what a reply of another shape raises into UnexpectedReplyError.

        To be held around what reads replies to this command, and nothing else.
        """
        try:
            yield
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            raise UnexpectedReplyError(
                self._where, f"redis answers {command} with what makes no sense: {error}"
            ) from error

    def info(self) -> dict[str, str]:
        """Give what the server tells of itself now. Raises UnexpectedReplyError."""
        reply = self.ask("INFO")
        lines = reply.decode("utf-8", "replace").splitlines() if isinstance(reply, bytes) else []
        pairs = (line.partition(":") for line in lines if not line.startswith("#"))
        told = {name: value for name, colon, value in pairs if colon}
        if "redis_version" not in told:
            raise self.unexpected("INFO", reply)
        return told

    @cached_property
    def version(self) -> tuple[int, ...]:
        """The server's version, major and minor first."""
        return version_of(self.info())

    def check_usable(self, *, cluster: bool, writing: bool) -> None:
        """Raise RefusedError where entries would be missed, or changed on a replica only."""
        info = self.info()
        if version_of(info) < _OLDEST:
            raise RefusedError(self._where, f"redis {info['redis_version']} is older than 5.0")
        if info.get("loading", "0") != "0":
            raise refusal(self._where, "LOADING Redis is loading the dataset in memory")
        if writing and info.get("role") == "slave":
            raise refusal(self._where, "READONLY its role is slave")
        if info.get("cluster_enabled") == "1" and not cluster:
            raise RefusedError(
                self._where, "it is one node of a cluster and holds a part; set `cluster: true`"
            )

    @property
    def _where(self) -> str:
        """The place, and which of its servers if it has more."""
        here = str(self.address)
        is_all = here in (self.place, f"{self.place}:{DEFAULT_PORT}")
        return self.place if is_all else f"{self.place} at {here}"

    def _sign_in(self, access: Access) -> None:
        from cachekit.caches.redis.handshake import sign_in

        if access.tls:
            self._socket = self._over_tls(access)
        self._set_timeout()
        # Kept, for it closes the socket when it is collected.
        self._client = sign_in(
            self._socket, self._where, access.db, access.username, access.password
        )

    def _over_tls(self, access: Access) -> socket.socket:
        context = self._tls_context(access)
        # A redis without TLS takes the handshake for the start of a command, and waits for more.
        self._dialled.settimeout(self._deadline.remaining(_TLS_SECONDS))
        try:
            return context.wrap_socket(self._dialled, server_hostname=self.address.host.strip("[]"))
        except ssl.SSLCertVerificationError as error:
            raise UnreachableError(
                self._where,
                f"its certificate is refused: {error.verify_message}; does `ca_file:` fit, and the"
                " name in `servers:`?",
            ) from error
        except TimeoutError as error:
            raise UnreachableError(
                self._where, "no answer to the TLS handshake; does it take TLS on that port?"
            ) from error
        except OSError as error:
            raise UnreachableError(
                self._where, f"no TLS connection: {error}; does it take TLS on that port?"
            ) from error

    def _tls_context(self, access: Access) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=access.ca_file)
            if access.cert_file:
                context.load_cert_chain(access.cert_file, access.key_file)
        except OSError as error:
            raise RefusedError(
                self._where, f"ca_file, cert_file or key_file cannot be used: {error}"
            ) from error
        return context

    def _receive(self) -> Reply:
        reply = self._reader.gets()
        while reply is _INCOMPLETE:
            self._set_timeout()
            size = self._socket.recv_into(self._buffer)
            if not size:
                raise ConnectionError("redis closed it")
            self._reader.feed(self._buffer, 0, size)  # type: ignore[arg-type]  # takes any buffer
            reply = self._reader.gets()
        return reply

    def _set_timeout(self) -> None:
        self._socket.settimeout(self._deadline.remaining(IO_SECONDS))

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn what the socket and the parser raise into errors that name the place."""
        try:
            yield
        except DeadlineError:
            raise
        except hiredis.ProtocolError as error:
            raise UnexpectedReplyError(self._where, f"no redis answers there: {error}") from error
        except TimeoutError as error:
            raise UnreachableError(
                self._where, "no answer in time; is it stopped, or its network down?"
            ) from error
        except OSError as error:
            raise UnreachableError(self._where, f"the connection broke: {error}") from error


def _packed(command: Command) -> bytes:
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type]  # of any length
    return packed


def version_of(info: dict[str, str]) -> tuple[int, ...]:
    """Read the version, for comparing."""
    numbers = info["redis_version"].split(".")
    return tuple(int(number) for number in numbers[:2] if number.isdigit())
