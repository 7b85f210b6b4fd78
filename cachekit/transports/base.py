"""The contract of a transport: how a node is reached, apart from what is asked of it."""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from cachekit.deadline import Deadline
from cachekit.model import Address


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that ran to its end on the node: its exit status and what it wrote.

    The status of a command that signal n ended is 128 + n, as a shell tells it.
    """

    status: int
    stdout: bytes
    stderr: bytes


@runtime_checkable
class Transport(Protocol):
    """Runs commands on a node, and connects to what listens there.

    Failures to get there are UnreachableError with the node's name, the cause and what to do;
    a command that ran and failed is a Completed. Nothing waits longer than the deadline.
    """

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", deadline: Deadline) -> Completed:
        """Run one command on the node.

        Raises UnreachableError, also where it cannot be known whether the command ended;
        CommandError where it cannot be run there, or the deadline ended it.
        """
        ...

    def dial(self, address: Address, *, deadline: Deadline) -> socket.socket:
        """Connect from the node's point of view to host and port, or to a unix socket.

        The socket's timeout is set to what is left of the deadline. Raises UnreachableError; where
        only the first answer can prove the way, reading and writing raise it too.
        """
        ...
