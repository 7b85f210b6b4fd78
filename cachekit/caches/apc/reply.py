"""What the hook answers: one marked line of JSON, wherever it stands in the output."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from cachekit.errors import CachekitError, RefusedError, UnexpectedReplyError, UnreachableError
from cachekit.model import shown

MARK = "CACHEKIT1"

Answer = Mapping[str, Any]
_Read = TypeVar("_Read")


class UnprovenError(Exception):
    """The hook did what it was asked, and it did not help; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong at a target, a socket or a master; `kind` as in `_ERRORS`."""

    target: str
    kind: str
    message: str

    def __str__(self) -> str:
        return shown(f"{self.target}: {self.message}" if self.target else self.message)


@dataclass(frozen=True, slots=True)
class Pool:
    """One pool, and since when its master's segments are there: in seconds, of whichever clock."""

    name: str
    php: str
    generation: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Master:
    """One FPM master: its pools, what its steps answered, and what ended them early.

    `passed` are its pools that could not be asked, with the reason, while others could.
    """

    pid: int
    pools: tuple[Pool, ...]
    answers: tuple[Answer, ...]
    failure: Failure | None = None
    passed: tuple[str, ...] = ()

    def __str__(self) -> str:
        return shown(f"master {self.pid} with {', '.join(pool.name for pool in self.pools)}")

    @property
    def answer(self) -> Answer:
        """What its only step answered."""
        (answer,) = self.answers
        return answer


@dataclass(frozen=True, slots=True)
class Reply:
    """All masters that were found at a place, the sockets that led to none, and what else was."""

    place: str
    masters: tuple[Master, ...]
    failures: tuple[Failure, ...]
    found_besides: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What somebody should know all the same."""
        passed = (line for master in self.masters for line in master.passed)
        others = (f"another pool of its master was asked than {line}" for line in passed)
        return (*others, *self.found_besides)

    def read(self, one: Callable[[Master], _Read]) -> tuple[list[_Read], list[Failure]]:
        """Read each master's answers, and collect what failed. Raises UnexpectedReplyError."""
        read, failures = [], list(self.failures)
        for master in self.masters:
            if master.failure:
                failures.append(master.failure)
                continue
            try:
                read.append(one(master))
            except UnprovenError as error:
                failures.append(Failure(str(master), "refused", str(error)))
            except (LookupError, TypeError, ValueError, AttributeError) as error:
                raise UnexpectedReplyError(
                    self.place, f"{master}: answered something else than what was asked"
                ) from error
        if not read and not failures:
            raise UnexpectedReplyError(self.place, "the hook found no pool and no reason for it")
        return read, failures


def error_of(place: str, failures: Sequence[Failure], done: Sequence[str]) -> CachekitError:
    """Make the error that tells all failures, and what was done all the same."""
    message = "; ".join(map(str, failures))
    if done:
        message += f" (done, however: {'; '.join(done)})"
    return _ERRORS[failures[0].kind](place, message)


def parse_reply(place: str, nonce: str, stdout: bytes) -> Reply:
    """Find the line with the nonce, and read it. Raises UnexpectedReplyError."""
    mark = f"{MARK} {nonce} ".encode()
    _, found, line = stdout.rpartition(mark)
    if not found:
        raise UnexpectedReplyError(place, "no answer of the hook")
    try:
        told = json.loads(line.partition(b"\n")[0])
        return Reply(
            place,
            tuple(map(_master, told["masters"])),
            tuple(_failure(*each) for each in told["failures"]),
            tuple(shown(str(line)) for line in told["notes"]),
        )
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise UnexpectedReplyError(place, "the answer of the hook is damaged") from error


def _master(told: Answer) -> Master:
    pools = tuple(map(_pool, told["pools"]))
    pid = int(told["master"])
    names = ", ".join(pool.name for pool in pools)
    failure = told["failure"]
    answers = tuple(told["steps"])
    if not all(isinstance(answer, dict) for answer in answers):
        raise ValueError("an answer is no object")
    return Master(
        pid,
        pools,
        answers,
        failure=_failure(names, *failure) if failure else None,
        passed=tuple(shown(str(line)) for line in told["passed"]),
    )


def _pool(told: Answer) -> Pool:
    generation = (told["master"], told["opcode"], told["user"])
    return Pool(str(told["name"]), str(told["php"]), generation)


def _failure(target: str, kind: str, message: str) -> Failure:
    if kind not in _ERRORS:
        raise ValueError(f"unknown kind of failure {kind!r}")
    return Failure(str(target), kind, str(message))


_ERRORS: Mapping[str, Callable[[str, str], CachekitError]] = {
    "unreachable": UnreachableError,
    "refused": RefusedError,
    "unexpected": UnexpectedReplyError,
}
