"""Getting to the node: what opens a connection, and tries again where sshd turns it away."""

import random
import subprocess
import time
from collections.abc import Callable, Sequence
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

Proof = Callable[[Client, Deadline], bool]


class _TurnedAwayError(UnreachableError):
    """There was no login yet, so that another try is safe and may do."""


@dataclass(frozen=True, slots=True)
class Login:
    """Opens connections to a node. Failures are UnreachableErrors, and nothing ran there then."""

    node: str
    destination: str

    def shell(self, options: Sequence[str], control: Path | None, deadline: Deadline) -> Client:
        """Open a shell on the node that waits for what to do."""
        argv = [*options, "--", self.destination, BOOTSTRAP]
        return self._opened(argv, control, _has_a_shell, deadline)

    def master(self, control: Path, deadline: Deadline) -> None:
        """Open the connection that others share, unless it is there."""
        argv = [NO_FORWARDINGS, "-fN", "--", self.destination]
        with opening(control, deadline):
            if not control.exists():
                self._opened(argv, control, _is_in_the_background, deadline).end()

    def _opened(
        self, argv: Sequence[str], control: Path | None, proof: Proof, deadline: Deadline
    ) -> Client:
        with logging_in(self.node, self.destination, deadline) as jump_host:
            for pause in _RETRY_SECONDS:
                try:
                    return self._attempt(argv, control, proof, deadline)
                except _TurnedAwayError:
                    if jump_host and control:
                        self._ask_the_jump_host(deadline)
                    chosen = pause * random.uniform(0.5, 1.5)  # noqa: S311 - no secret
                    if deadline.has_passed or deadline.remaining() < 2 * chosen:
                        raise
                    time.sleep(chosen)
            return self._attempt(argv, control, proof, deadline)

    def _ask_the_jump_host(self, deadline: Deadline) -> None:
        """Log in unshared: with ControlPersist, ssh keeps quiet about what a jump host says."""
        argv = [NO_FORWARDINGS, "--", self.destination, BOOTSTRAP]
        with suppress(_TurnedAwayError):
            self._attempt(argv, None, _has_a_shell, deadline).end()

    def _attempt(
        self, argv: Sequence[str], control: Path | None, proof: Proof, deadline: Deadline
    ) -> Client:
        argv = [*arguments(deadline), *control_arguments(control), *argv]
        client = Client(self.node, argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        with ExitStack() as undo:
            # A proxy that a master in the background goes through is not to be ended with it.
            undo.callback(lambda: client.end(with_proxies=not (control and control.exists())))
            try:
                if not proof(client, deadline):
                    raise self._failure(client)
            except DeadlineError as error:
                raise self._silent(client, deadline) from error
            undo.pop_all()
        return client

    def _failure(self, client: Client) -> UnreachableError:
        status = client.status()
        if status is None or not 0 <= status < SSH_FAILED:
            failure = failure_of(client.said(), self.destination)
            kind = _TurnedAwayError if failure.passes else UnreachableError
            return kind(self.node, failure.reason)
        return UnreachableError(
            self.node,
            f"its login shell ended with {status} and did not run `sh`, but said:"
            f" {_quoted(client.said() + client.heard)}; the account needs an ordinary shell",
        )

    def _silent(self, client: Client, deadline: Deadline) -> UnreachableError:
        return UnreachableError(
            self.node,
            f"no login within {deadline.seconds:g} s, ssh said: {_quoted(client.said())};"
            f" does `ssh {shown(self.destination)}` get there?",
        )


def _has_a_shell(client: Client, deadline: Deadline) -> bool:
    return READY in client.converse(b"", READY, deadline)


def _is_in_the_background(client: Client, deadline: Deadline) -> bool:
    # Its first process ends once it has logged in.
    return client.wait(deadline) == 0


def _quoted(said: bytes) -> str:
    return shown(said.decode(errors="replace").strip()[-_SAID_CHARACTERS:]) or "nothing"
