"""Commands and sockets of the machine that cachekit runs on, without a detour."""

import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from cachekit.deadline import LOOK_SECONDS, Deadline, DeadlineError
from cachekit.errors import CommandError, UnreachableError
from cachekit.model import Address
from cachekit.transports.base import Completed

CONNECT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Local:
    """The machine that cachekit runs on, under the name of a node.

    Without a name, errors name what was dialled.
    """

    node: str

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", deadline: Deadline) -> Completed:
        """Run one command in a process group of its own, which the deadline ends as a whole."""
        try:
            process = _started(argv, stdin)
        except OSError as error:
            raise CommandError(self.node, f"{argv[0]} cannot be run: {error.strerror}") from error
        with process:
            try:
                stdout, stderr = _communicated(process, deadline)
            except DeadlineError as error:
                raise CommandError(self.node, f"{argv[0]} was ended: {error}") from error
            finally:
                _end(process)
        status = process.returncode
        return Completed(status if status >= 0 else 128 - status, stdout, stderr)

    def dial(self, address: Address, *, deadline: Deadline) -> socket.socket:
        """Connect to host and port, or to a unix socket."""
        seconds = deadline.remaining(CONNECT_SECONDS)
        try:
            connection = _connect(address, seconds)
        except OSError as error:
            cause = error.strerror or str(error)
            if isinstance(error, TimeoutError):
                cause = f"no answer within {seconds:g} s"
            raise UnreachableError(
                self.node, f"{address}: {cause}; is it running there?"
            ) from error
        connection.settimeout(deadline.remaining())
        return connection


def _started(argv: Sequence[str], stdin: bytes) -> subprocess.Popen[bytes]:
    # From a file without a name: a pipe would be fed by 4 kB at a time.
    with tempfile.TemporaryFile() as sent:
        sent.write(stdin)
        sent.seek(0)
        return subprocess.Popen(  # noqa: S603 - no shell; adapters choose what is run
            argv,
            stdin=sent,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )


def _communicated(process: subprocess.Popen[bytes], deadline: Deadline) -> tuple[bytes, bytes]:
    """Read all that it writes. Raises DeadlineError."""
    while True:
        with suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=deadline.remaining(LOOK_SECONDS))


def _connect(address: Address, seconds: float) -> socket.socket:
    if not address.unix_path:
        host = address.host.strip("[]")
        connection = socket.create_connection((host, address.port or 0), timeout=seconds)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(seconds)
    try:
        connection.connect(address.unix_path)
    except OSError:
        connection.close()
        raise
    return connection


def _end(process: subprocess.Popen[bytes]) -> None:
    """Leave nothing of the command behind where it has not ended by itself.

    Its pipes are not read to their end: what has left its group may hold them open.
    """
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
