"""One run at a time per site and node, and per server where two would harm it.

Flock, so that a lock dies with its process, however it dies.
"""

import fcntl
import hashlib
import json
import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TextIO

from cachekit.errors import JournalError, LockedError


@contextmanager
def locked(state_dir: Path, site: str, addresses: Iterable[str]) -> Iterator[None]:
    """Hold the lock of a site on all these nodes, or on none.

    Raises LockedError naming the holder.
    """
    with ExitStack() as held:
        for address in sorted(set(addresses)):
            held.enter_context(locked_one(state_dir, f"{site} on {address}", "warmed"))
        yield


@contextmanager
def locked_one(state_dir: Path, subject: str, doing: str) -> Iterator[None]:
    """Hold the lock of one subject, which is being `doing`. Raises LockedError, JournalError."""
    path = _path(state_dir, subject)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        message = f"{path}: cannot be locked: {error.strerror}; choose another --state-dir"
        raise JournalError(message) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockedError(
                f"{subject} is being {doing} by {_holder(file)}; try again later"
            ) from None
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S %z")}))
        file.flush()
        yield
        file.truncate(0)


def _holder(file: TextIO) -> str:
    file.seek(0)
    try:
        holder = json.loads(file.read())
        return f"process {holder['pid']} since {holder['since']}"
    except (ValueError, KeyError, TypeError):
        return "another process"


def _path(state_dir: Path, subject: str) -> Path:
    name = re.sub(r"[^A-Za-z0-9.]+", "-", subject).strip("-")[:100]
    digest = hashlib.sha256(subject.encode()).hexdigest()[:8]
    return state_dir / "locks" / f"{name}-{digest}.lock"
