"""Getting to the node: what opens a connection, and tries again where sshd turns it away."""

import random
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from cachekit.deadline import Deadline, DeadlineError
from cachekit.errors import UnreachableError
from cachekit.model import shown
from cachekit.transports.ssh.client import Client, arguments, control_arguments
from cachekit.transports.ssh.failures import failure_of
from cachekit.transports.ssh.limits import logging_in
from cachekit.transports.ssh.masters import opening
from cachekit.transports.ssh.remote import BOOTSTRAP, READY

NO_FORWARDINGS = "-oClearAllForwardings=yes"
SSH_FAILED = 255
_RETRY_SECONDS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
_SAID_CHARACTERS = 300


class NoShellError(UnreachableError):
    """The account can log in and run no command; it may be allowed to forward."""


class _TurnedAwayError(UnreachableError):
    """There was no login yet, so that another try is safe and may do."""


@dataclass(frozen=True, slots=True)
class Login:
    """Opens connections to a node. Failures are UnreachableErrors, and nothing ran there then."""

    node: str
    destination: str

    def shell(self, options: Sequence[str], control: Path | None, deadline: Deadline) -> Client:
        """Open a shell on the node that waits for what to do."""
        with logging_in(self.node, self.destination, deadline) as jump_host:
            for pause in _RETRY_SECONDS:
                try:
                    return self._attempt(options, control, deadline)
                except _TurnedAwayError:
                    if jump_host and control:
                        self._ask_the_jump_host(deadline)
                    chosen = pause * random.uniform(0.5, 1.5)  # noqa: S311 - no secret
                    if deadline.has_passed or deadline.remaining() < 2 * chosen:
                        raise
                    time.sleep(chosen)
            return self._attempt(options, control, deadline)

    def share(self, control: Path, deadline: Deadline) -> None:
        """Open the connection that others share, unless it is there."""
        with opening(control, deadline):
            if not control.exists():
                # Not by `ssh -fN`: where another call opens it first, that would never end.
                self.shell([NO_FORWARDINGS], control, deadline).end()

    def _ask_the_jump_host(self, deadline: Deadline) -> None:
        """Log in unshared: with ControlPersist, ssh keeps quiet about what a jump host says."""
        with suppress(_TurnedAwayError):
            self._attempt([NO_FORWARDINGS], None, deadline).end()

    def _attempt(self, options: Sequence[str], control: Path | None, deadline: Deadline) -> Client:
        argv = [*arguments(deadline), *control_arguments(control), *options]
        argv += ["--", self.destination, BOOTSTRAP]
        client = Client(self.node, argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        with ExitStack() as undo:
            # A proxy that a master in the background goes through is not to be ended with it.
            undo.callback(lambda: client.end(with_proxies=not (control and control.exists())))
            try:
                received = client.converse(b"", READY, deadline)
            except DeadlineError as error:
                raise self._silent(client, deadline) from error
            if READY not in received:
                raise self._failure(client, received)
            undo.pop_all()
        return client

    def _failure(self, client: Client, received: bytes) -> UnreachableError:
        status = client.status()
        if status is None or not 0 <= status < SSH_FAILED:
            failure = failure_of(client.said(), self.destination)
            kind = _TurnedAwayError if failure.passes else UnreachableError
            return kind(self.node, failure.reason)
        return NoShellError(
            self.node,
            f"its login shell ended with {status} and did not run `sh`, but said:"
            f" {_quoted(client.said() + received)}; the account needs an ordinary shell",
        )

    def _silent(self, client: Client, deadline: Deadline) -> UnreachableError:
        return UnreachableError(
            self.node,
            f"no login within {deadline.seconds:g} s, ssh said: {_quoted(client.said())};"
            f" does `ssh {shown(self.destination)}` get there?",
        )


def _quoted(said: bytes) -> str:
    return shown(said.decode(errors="replace").strip()[-_SAID_CHARACTERS:]) or "nothing"
