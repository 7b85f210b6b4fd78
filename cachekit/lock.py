"""One run at a time per site and node, and per server where two would harm it.

Flock, so that a lock dies with its process, however it dies.
"""

import fcntl
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TextIO

from cachekit.errors import JournalError, LockedError

_LOOK_SECONDS = 0.2


def _never() -> bool:
    return False


@contextmanager
def locked(
    state_dir: Path,
    site: str,
    addresses: Iterable[str],
    *,
    patience: float = 0.0,
    stopped: Callable[[], bool] = _never,
) -> Iterator[None]:
    """Hold the lock of a site on all these nodes, or on none.

    Waits `patience` seconds in all for other holders, unless `stopped` says that it is for nothing.
    Raises LockedError naming the holder.
    """
    end = time.monotonic() + patience
    with ExitStack() as held:
        # All in one order, so that no two runs can wait for each other.
        for address in sorted(set(addresses)):
            left = end - time.monotonic()
            one = locked_one(
                state_dir, f"{site} on {address}", "warmed", patience=left, stopped=stopped
            )
            held.enter_context(one)
        yield


@contextmanager
def locked_one(
    state_dir: Path,
    subject: str,
    doing: str,
    *,
    patience: float = 0.0,
    stopped: Callable[[], bool] = _never,
) -> Iterator[None]:
    """Hold the lock of one subject, which is being `doing`; waits as `locked` does.

    Raises LockedError, JournalError.
    """
    path = state_dir / "locks" / f"{file_name(subject)}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        message = f"{path}: cannot be locked: {error.strerror}; choose another --state-dir"
        raise JournalError(message) from error
    with file:
        if not _taken(file, patience, stopped):
            raise LockedError(f"{subject} is being {doing} by {_holder(file)}; try again later")
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S %z")}))
        file.flush()
        yield
        file.truncate(0)


def hold_open(descriptor: int) -> None:
    """Hold an open file as one's own, for as long as the process lives and keeps it open."""
    with suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def is_held(path: Path) -> bool:
    """Tell whether a process that lives holds a file open as its own."""
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def file_name(subject: str) -> str:
    """Give the name of a file that belongs to a subject: readable, and never that of another."""
    name = re.sub(r"[^A-Za-z0-9.]+", "-", subject).strip("-")[:100]
    return f"{name}-{hashlib.sha256(subject.encode()).hexdigest()[:8]}"


def _taken(file: TextIO, patience: float, stopped: Callable[[], bool]) -> bool:
    """Take the lock, now or within so many seconds."""
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            left = end - time.monotonic()
            if left <= 0 or stopped():
                return False
            time.sleep(min(_LOOK_SECONDS, left))
        else:
            return True


def _holder(file: TextIO) -> str:
    file.seek(0)
    try:
        holder = json.loads(file.read())
        return f"process {holder['pid']} since {holder['since']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
