"""The error tree and the exit codes.

::

    CachekitError             what a user can cause or mend: one message, never a traceback
    ├── ConfigError           settings or options are wrong; carries every problem (exit 2)
    ├── NodeError             one node failed
    │   ├── UnreachableError  no connection, no answer in time, or TLS refused
    │   └── CommandError      a command on it failed, or did not end in time
    ├── CacheError            one cache at one place failed
    │   ├── RefusedError      the server, or a guard of ours, says no
    │   └── UnexpectedReplyError  an answer that does not fit what was asked
    ├── SourceError           a list of URLs cannot be read or is hostile
    ├── LockedError           another run holds the lock of this site and node (exit 75)
    ├── JournalError          a run cannot be recorded or resumed (exit 2)
    └── OutputError           a report cannot be written where it was wanted

A verdict that disagrees is a result, not an exception; a bug keeps its traceback.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum


class ExitCode(IntEnum):
    """What the process says to the deploy tool."""

    OK = 0
    FAILED = 1
    USAGE = 2
    DEGRADED = 3
    LOCKED = 75  # EX_TEMPFAIL of sysexits.h: try again later
    INTERRUPTED = 130
    TERMINATED = 143


def parse_codes(written: object) -> frozenset[int]:
    """Read exit codes as `1,3`; none of a text that is empty. Raises ValueError."""
    if isinstance(written, frozenset):
        return written
    words = str(written).replace(",", " ").split()
    if not all(word.isdecimal() and 0 < int(word) < 256 for word in words):
        raise ValueError("expected exit codes such as 1,3")
    return frozenset(map(int, words))


class CachekitError(Exception):
    """Base of everything that is reported as a message instead of a traceback."""

    exit_code = ExitCode.FAILED


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with the settings: where it stands and what would be right."""

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


class ConfigError(CachekitError):
    """Settings or options that cannot work; `problems` holds all of them, not just the first."""

    exit_code = ExitCode.USAGE

    def __init__(self, problems: Sequence[Problem] | str) -> None:
        if isinstance(problems, str):
            problems = [Problem("", problems)]
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class NodeError(CachekitError):
    """A failure of one node; the others go on."""

    def __init__(self, node: str, message: str) -> None:
        self.node = node
        super().__init__(f"node {node}: {message}" if node else message)


class UnreachableError(NodeError):
    """The node gave no usable answer: refused, silent, or not who it should be."""


class CommandError(NodeError):
    """A command ran on the node and failed, or was ended by its deadline."""


class CacheError(CachekitError):
    """A failure of one cache at one place, which is the name of a node or a server."""

    def __init__(self, place: str, message: str) -> None:
        self.place = place
        super().__init__(f"{place}: {message}")


class RefusedError(CacheError):
    """The server, or a guard of ours, will not do it; the message says what to do."""


class UnexpectedReplyError(CacheError):
    """The server's answer does not fit what was asked of it."""


class SourceError(CachekitError):
    """A list of URLs that cannot be read, or that is refused as hostile."""

    def __init__(self, source: str, message: str) -> None:
        self.source = source
        super().__init__(f"{source}: {message}")


class LockedError(CachekitError):
    """Another run holds the lock of this site and node."""

    exit_code = ExitCode.LOCKED


class JournalError(CachekitError):
    """A run that cannot be recorded, or not be resumed."""

    exit_code = ExitCode.USAGE


class OutputError(CachekitError):
    """A report that cannot be written where it was wanted, although it was made."""
