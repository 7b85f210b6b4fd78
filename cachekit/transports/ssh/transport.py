"""The contract of transports, kept by `ssh` processes."""

import random
import secrets
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from cachekit.deadline import Deadline, DeadlineError
from cachekit.errors import CommandError, UnreachableError
from cachekit.model import Address, shown
from cachekit.transports.base import Completed
from cachekit.transports.ssh import remote
from cachekit.transports.ssh.client import (
    CLEAR_FORWARDINGS,
    Client,
    arguments,
    control_arguments,
)
from cachekit.transports.ssh.failures import failure_of
from cachekit.transports.ssh.limits import logging_in
from cachekit.transports.ssh.masters import control_path

_RETRY_SECONDS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
# What `timeout` and the shell say of a command that was ended.
_ENDED = (124, 137, 143)


class _PassingError(UnreachableError):
    """Turned away before the login; nothing ran, and another try may do."""


@dataclass(frozen=True, slots=True)
class Ssh:
    """A node behind a destination as the `ssh` command takes it."""

    node: str
    destination: str

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", deadline: Deadline) -> Completed:
        """Run one command, in one call; the node ends it a little before our own deadline."""
        nonce = secrets.token_hex(16)
        with self._session([*CLEAR_FORWARDINGS], deadline) as client:
            noise = len(client.said())
            began, left = time.monotonic(), deadline.remaining()
            seconds = max(1, int(left - 0.5))
            sent = remote.program(argv, seconds, nonce) + stdin
            try:
                received = client.converse(sent, remote.end_mark(nonce), deadline)
            except DeadlineError as error:
                raise self._lost(argv, f"no answer within {deadline.seconds:g} s") from error
            answer = remote.answer(received, nonce)
            status = client.status()
            if answer is None:
                raise self._lost(argv, self._reason(client, status))
            if answer.status is None:
                raise CommandError(
                    self.node, f"{shown(argv[0])} cannot be run: not found, or not executable"
                )
            if answer.status in _ENDED and time.monotonic() - began >= seconds:
                raise CommandError(
                    self.node,
                    f"{shown(argv[0])} was ended: not done within {deadline.seconds:g} s",
                )
            return Completed(answer.status, answer.stdout, client.said(noise))

    def dial(self, address: Address, *, deadline: Deadline) -> socket.socket:
        raise NotImplementedError

    @contextmanager
    def _session(self, options: Sequence[str], deadline: Deadline) -> Iterator[Client]:
        """Open a shell on the node that waits for what to do."""
        client = self._logged_in(lambda: self._opened(options, deadline), deadline)
        try:
            yield client
        finally:
            client.end()

    def _opened(self, options: Sequence[str], deadline: Deadline) -> Client:
        control = control_path(self.destination)
        argv = [*arguments(deadline), *control_arguments(control), *options]
        argv += ["--", self.destination, remote.BOOTSTRAP]
        client = Client(self.node, argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            received = client.converse(b"", remote.READY, deadline)
            if remote.READY in received:
                return client
            raise self._not_ready(client, received)
        except DeadlineError as error:
            said = failure_of(client.said(), self.destination).reason
            client.end(with_proxies=control is None or not control.exists())
            raise UnreachableError(
                self.node, f"no login within {deadline.seconds:g} s: {said}"
            ) from error
        except UnreachableError:
            client.end()
            raise

    def _logged_in(self, attempt: Callable[[], Client], deadline: Deadline) -> Client:
        """Try again while sshd turns us away before the login, as it does when many come at once."""
        with logging_in(self.node, self.destination, deadline):
            for pause in _RETRY_SECONDS:
                try:
                    return attempt()
                except _PassingError:
                    pause *= random.uniform(0.5, 1.5)  # noqa: S311, PLW2901 - no secret
                    if deadline.remaining() < 2 * pause:
                        raise
                    time.sleep(pause)
            return attempt()

    def _not_ready(self, client: Client, received: bytes) -> UnreachableError:
        status = client.status()
        if status == 255:
            failure = failure_of(client.said(), self.destination)
            kind = _PassingError if failure.passing else UnreachableError
            return kind(self.node, failure.reason)
        said = (client.said() + received).decode(errors="replace").strip()[-300:]
        return UnreachableError(
            self.node,
            f"its login shell ended with {status} instead of running `sh`: {shown(said)}; the"
            " account needs an ordinary shell",
        )

    def _reason(self, client: Client, status: int | None) -> str:
        if status == 255 and client.said():
            return failure_of(client.said(), self.destination).reason
        return f"ssh ended with {status}"

    def _lost(self, argv: Sequence[str], reason: str) -> UnreachableError:
        return UnreachableError(
            self.node,
            f"{reason}; it cannot be known whether {shown(argv[0])} ended there",
        )
