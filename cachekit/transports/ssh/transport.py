"""The contract of transports, kept by `ssh` processes."""

import itertools
import re
import secrets
import socket
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from cachekit.deadline import Deadline, DeadlineError
from cachekit.errors import CommandError, UnreachableError
from cachekit.model import Address, shown
from cachekit.transports.base import Completed
from cachekit.transports.ssh.client import Client, arguments, control_arguments
from cachekit.transports.ssh.dialled import DialledSocket
from cachekit.transports.ssh.failures import dial_failure, failure_of, last_words
from cachekit.transports.ssh.login import NO_FORWARDINGS, SSH_FAILED, Login, NoShellError
from cachekit.transports.ssh.masters import control_path, socket_folder
from cachekit.transports.ssh.remote import answer, end_mark, program

# What `timeout` says of a command that it ended, politely or not.
_TIMED_OUT = (124, 137)
# What means something to ssh in the path of a forwarding: separators, tokens, variables.
_NOT_FORWARDED = re.compile(r"[:%$\\\x00-\x20\x7f]")
_EXIT_SECONDS, _GLANCE_SECONDS = 1.0, 0.1
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Ssh:
    """A node behind a destination as the `ssh` command takes it."""

    node: str
    destination: str

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", deadline: Deadline) -> Completed:
        """Run one command in one call; the node ends it a little before our own deadline."""
        control = control_path(self.destination)
        client = self._login.shell([NO_FORWARDINGS], control, deadline)
        try:
            return self._ran(client, argv, stdin, deadline)
        finally:
            client.end()

    def dial(self, address: Address, *, deadline: Deadline) -> socket.socket:
        """Connect to host and port, or to a unix socket; the first answer proves it."""
        if address.unix_path:
            dialled = self._dial_path(address, deadline)
        else:
            dialled = self._dial_port(address, deadline)
        try:
            dialled.settimeout(deadline.remaining())
        except DeadlineError:
            dialled.close()
            raise
        return dialled

    @property
    def _login(self) -> Login:
        return Login(self.node, self.destination)

    def _ran(
        self, client: Client, argv: Sequence[str], stdin: bytes, deadline: Deadline
    ) -> Completed:
        nonce, noise = secrets.token_hex(16), len(client.said())
        began, seconds = time.monotonic(), max(1, int(deadline.remaining() - 0.5))
        sent = program(argv, seconds, nonce) + stdin
        try:
            received = client.converse(sent, end_mark(nonce), deadline)
        except DeadlineError as error:
            raise self._unknown(argv, f"no answer: {error}") from error
        found, status = answer(received, nonce), client.status()
        if found is None:
            raise self._unknown(argv, self._why_ended(client, status))
        if found.status is None:
            raise CommandError(
                self.node, f"{shown(argv[0])} cannot be run: not found, or not executable"
            )
        if found.status in _TIMED_OUT and time.monotonic() - began >= seconds:
            raise CommandError(
                self.node, f"{shown(argv[0])} was ended: not done within {deadline.seconds:g} s"
            )
        return Completed(found.status, found.stdout, client.said(noise))

    def _why_ended(self, client: Client, status: int | None) -> str:
        if status == SSH_FAILED:
            return last_words(client.said())
        return f"the connection was lost (ssh ended with {status})"

    def _unknown(self, argv: Sequence[str], reason: str) -> UnreachableError:
        return UnreachableError(
            self.node, f"{reason}; it cannot be known whether {shown(argv[0])} ended there"
        )

    def _dial_port(self, address: Address, deadline: Deadline) -> socket.socket:
        control = control_path(self.destination)
        if control is not None:
            try:
                self._login.share(control, deadline)
            except NoShellError:
                control = None
        argv = [*arguments(deadline), *control_arguments(control)]
        argv += ["-W", f"{address.host}:{address.port or 0}", "--", self.destination]
        ours, theirs = socket.socketpair()
        with closing(theirs):
            try:
                client = Client(self.node, argv, stdin=theirs.fileno(), stdout=theirs.fileno())
            except UnreachableError:
                ours.close()
                raise
        return self._dialled(ours, client, address, _EXIT_SECONDS)

    def _dial_path(self, address: Address, deadline: Deadline) -> socket.socket:
        """Forward a local socket, by a connection of its own: a master would keep the cause."""
        folder = socket_folder()
        if folder is None:
            raise UnreachableError(self.node, f"{address}: no socket can be made in /tmp here")
        if _NOT_FORWARDED.search(address.unix_path):
            raise UnreachableError(self.node, f"{address} cannot be forwarded: rename it")
        local = folder / f"dial-{next(_numbers)}"
        forwarding = ["-oClearAllForwardings=no", "-L", f"{local}:{address.unix_path}"]
        client = self._login.shell(forwarding, None, deadline)
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(str(local))
        except OSError as error:
            connection.close()
            said = failure_of(client.said(), self.destination).reason
            client.end()
            raise UnreachableError(self.node, f"{address}: not forwarded: {said}") from error
        finally:
            local.unlink(missing_ok=True)
        # The session goes on when the way through it ends, unlike with -W.
        return self._dialled(connection, client, address, _GLANCE_SECONDS)

    def _dialled(
        self, connection: socket.socket, client: Client, address: Address, exit_seconds: float
    ) -> socket.socket:
        node, destination = self.node, self.destination

        def explain() -> UnreachableError | None:
            status = client.status(exit_seconds)
            reason = dial_failure(client.said(), status, address, destination)
            return UnreachableError(node, reason) if reason else None

        return DialledSocket(connection, client, explain)
