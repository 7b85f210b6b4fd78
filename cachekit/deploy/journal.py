"""What a run of a plan has done so far: one file of JSON lines, each on disk before the next step.

`kill -9` loses only what was in flight.
"""

import json
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cachekit.deploy.history import FORMAT, Record, folder_of, take
from cachekit.documents import plain
from cachekit.errors import JournalError
from cachekit.lock import hold_open
from cachekit.runs import StepReport

_KEPT = 100
_NAMED = 60  # characters of the plan in the name of a run


class RunJournal:
    """The file of a run that goes on; threads of one stage write to it. Raises JournalError.

    `record` is what it holds. What cannot be written later on is only there, `fault` says why, and
    `on_fault` is told: a disk that is full must not leave nodes out.
    """

    def __init__(self, record: Record, **first: Any) -> None:
        self.record = record
        self.fault = ""
        self.on_fault: Callable[[str], None] = _ignored
        self._lock = threading.Lock()
        with _recorded(record.path):
            flags = os.O_RDWR | os.O_APPEND | (os.O_CREAT | os.O_EXCL if "run" in first else 0)
            self._file = os.open(record.path, flags, 0o600)
            hold_open(self._file)
            size = os.fstat(self._file).st_size
            if size and os.pread(self._file, 1, size - 1) != b"\n":
                os.write(self._file, b"\n")  # a line torn by a kill
        self.write(**first)
        if self.fault:
            self.close()
            raise JournalError(self.fault)

    def write(self, **line: Any) -> None:
        """Record one fact, for good; or note why it cannot be."""
        text = json.dumps({"at": time.time(), **plain(line)})
        with self._lock:
            take(self.record, json.loads(text))
            torn = "\n" if self.fault else ""
            try:
                with _recorded(self.record.path):
                    self._append(f"{torn}{text}\n".encode())
            except JournalError as error:
                if not self.fault:
                    self.fault = str(error)
                    self.on_fault(self.fault)

    def _append(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._file, data) :]
        os.fsync(self._file)

    def started(self, step_id: str) -> None:
        """Record that a step is about to begin."""
        self.write(started=step_id)

    def ended(self, step: StepReport) -> None:
        """Record how a step ended."""
        self.write(ended=vars(step))

    def turned(self, step_id: str, node: str, turn: str, reason: str = "") -> None:
        """Record where a step has a node on its way: going out, out, passed, in, failed, …."""
        self.write(node=node, turn=turn, reason=reason, step=step_id)

    def rolled_back(self, plan: str) -> None:
        """Record that all of it is about to be taken back, by which plan."""
        self.write(rolled_back=plan)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def _ignored(_fault: str) -> None:
    """Wait for `fault` to be looked at."""


def start(state_dir: Path, facts: Mapping[str, Any]) -> RunJournal:
    """Begin the file of a run. Raises JournalError."""
    folder = folder_of(state_dir)
    with _recorded(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _prune(folder)
    # UTC: in the hour that a clock is set back, names of local time would not sort.
    now = time.time()
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z"
    plan = re.sub(r"[^\w.-]", "-", facts["plan"])[:_NAMED]
    path = folder / f"{stamp}-{plan}.jsonl"
    run = {"cachekit": FORMAT, **facts}
    return RunJournal(Record(path, run), run=run)


def resume(record: Record) -> RunJournal:
    """Go on with the file of a run. Raises JournalError."""
    return RunJournal(record, resumed=True)


def _prune(folder: Path) -> None:
    """Forget old runs, of each plan by itself: one that runs all day must not displace deploys."""
    kept: Counter[str] = Counter()
    for path in sorted(folder.glob("*.jsonl"), reverse=True):
        plan = path.stem.partition("-")[2]
        kept[plan] += 1
        if kept[plan] > _KEPT:
            path.unlink(missing_ok=True)


@contextmanager
def _recorded(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise JournalError(
            f"{place}: the run cannot be recorded: {error.strerror}; choose another --state-dir"
        ) from error
