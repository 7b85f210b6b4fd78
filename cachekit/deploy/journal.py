"""What a run of a plan has done so far: one file of JSON lines, each on disk before the next step.

`kill -9` loses only what was in flight. `cachekit history` and `cachekit show` read the same files.
"""

import json
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cachekit.documents import plain
from cachekit.errors import JournalError
from cachekit.golive.base import Standing
from cachekit.runs import NodeReport, RunOutcome, RunReport, StepReport

_FORMAT = 1
_KEPT = 100


class RunJournal:
    """The file of a run that goes on; threads of one stage write to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        with _recorded(path):
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            size = os.fstat(self._file).st_size
            if size and os.pread(self._file, 1, size - 1) != b"\n":
                os.write(self._file, b"\n")  # a line torn by a kill

    def write(self, **line: Any) -> None:
        """Record one fact, for good. Raises JournalError."""
        data = (json.dumps({"at": time.time(), **plain(line)}) + "\n").encode()
        with self._lock, _recorded(self.path):
            while data:
                data = data[os.write(self._file, data) :]
            os.fsync(self._file)

    def started(self, step_id: str) -> None:
        """Record that a step is about to begin."""
        self.write(started=step_id)

    def ended(self, step: StepReport) -> None:
        """Record how a step ended."""
        self.write(ended=vars(step))

    def turned(self, node: str, turn: str, reason: str = "") -> None:
        """Record where a node is on its way: going out, out, passed, in, or failed."""
        self.write(node=node, turn=turn, reason=reason)

    def rolled_back(self) -> None:
        """Record that all of it is about to be taken back."""
        self.write(rolled_back=True)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


@dataclass
class Record:
    """A run as its file tells it: `turns` has each node's last turn with its reason."""

    path: Path
    run: dict[str, Any]
    begun: set[str] = field(default_factory=set)
    steps: dict[str, StepReport] = field(default_factory=dict)
    parts: list[StepReport] = field(default_factory=list)
    turns: dict[str, tuple[str, str]] = field(default_factory=dict)
    finished: dict[str, Any] | None = None
    rolled_back: bool = False
    last_at: float = 0.0

    @property
    def name(self) -> str:
        """The name of the run."""
        return self.path.stem

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to be continued."""
        return self.finished is not None and self.finished["exit_code"] in (0, 3)

    def report(self) -> RunReport:
        """Make the report; of a run that was killed, what is known."""
        finished = self.finished or {
            "outcome": RunOutcome.FAILED,
            "exit_code": 1,
            "ended_early": "it was killed, or goes on still",
            "elapsed": self.last_at - self.run["started"],
        }
        told = ("plan", "site", "release", "previous", "facts", "started", "warnings")
        return RunReport(
            run=self.name,
            **{key: self.run[key] for key in told},
            outcome=RunOutcome(finished["outcome"]),
            exit_code=finished["exit_code"],
            ended_early=finished["ended_early"],
            elapsed=finished["elapsed"],
            steps=tuple(sorted(self.parts, key=lambda step: step.started)),
            nodes=node_reports(self.turns),
        )


def node_reports(turns: Mapping[str, tuple[str, str]]) -> tuple[NodeReport, ...]:
    """Say where nodes stand after their last turns."""
    standings = {"in": Standing.IN, "going out": Standing.UNKNOWN, "going in": Standing.UNKNOWN}
    return tuple(
        NodeReport(name=name, standing=standings.get(turn, Standing.OUT), reason=reason)
        for name, (turn, reason) in turns.items()
    )


def start(state_dir: Path, facts: Mapping[str, Any]) -> tuple[RunJournal, Record]:
    """Begin the file of a run. Raises JournalError."""
    folder = _folder(state_dir)
    with _recorded(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _prune(folder)
    # UTC: in the hour that a clock is set back, names of local time would not sort.
    now = time.time()
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now)) + f".{now % 1 * 1000:03.0f}Z"
    plan = re.sub(r"[^\w.-]", "-", facts["plan"])
    path = folder / f"{stamp}-{plan}.jsonl"
    run = {"cachekit": _FORMAT, **facts}
    journal = RunJournal(path)
    journal.write(run=run)
    return journal, Record(path, run)


def resumable(state_dir: Path, site: str, plan: str, release: str) -> Record:
    """Find the newest run of a plan that did not get to its end. Raises JournalError."""
    for record in records(state_dir):
        run = record.run
        if (run["site"], run["plan"]) != (site, plan) or release not in ("", run["release"]):
            continue
        if record.is_done:
            break
        if record.rolled_back:
            raise JournalError(
                f"{record.path}: this run was rolled back, and there is nothing to go on with; run"
                f" {plan} without --resume"
            )
        return record
    which = f" of release {release}" if release else ""
    raise JournalError(
        f"{_folder(state_dir)}: no unfinished run of the plan {plan}{which}; run it without"
        " --resume"
    )


def last_good(state_dir: Path, site: str, plan: str, release: str) -> float | None:
    """Tell when the last run of a plan for this release began that was done in full."""
    for record in records(state_dir):
        run, finished = record.run, record.finished
        if (run["site"], run["plan"], run["release"]) == (site, plan, release):
            done = finished is not None and finished["exit_code"] == 0
            return run["started"] if done else None
    return None


def records(state_dir: Path) -> Iterator[Record]:
    """Read all runs, the newest first."""
    folder = _folder(state_dir)
    for path in sorted(folder.glob("*.jsonl"), reverse=True) if folder.is_dir() else ():
        if record := read(path):
            yield record


def find(state_dir: Path, name: str) -> Record:
    """Read a run by its name, or the newest for `last`. Raises JournalError."""
    for record in records(state_dir):
        if name in ("last", record.name):
            return record
    raise JournalError(f"{_folder(state_dir)}: no run is called {name}; see `cachekit history`")


def require(path: Path) -> Record:
    """Read the file of a run that is known to be one. Raises JournalError."""
    record = read(path)
    if record is None:
        raise JournalError(f"{path}: the record of the run is gone, or no record any more")
    return record


def last_turn(state_dir: Path, site: str, node: str) -> tuple[str, str] | None:
    """Tell the last turn of a node in any run, so that ours are told from others' doings."""
    for record in records(state_dir):
        if record.run["site"] == site and node in record.turns:
            return record.turns[node]
    return None


def read(path: Path) -> Record | None:
    """Read the file of a run; None if it is none."""
    record: Record | None = None
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    for text in lines:
        try:
            line = json.loads(text)
            if record is None:
                record = Record(path, line["run"]) if "run" in line else None
            else:
                _take(record, line)
        except (ValueError, LookupError, TypeError):
            continue  # a line torn by a kill: its step is done again
    return record


def _take(record: Record, line: dict[str, Any]) -> None:
    record.last_at = line["at"]
    if "started" in line:
        record.begun.add(line["started"])
    elif "ended" in line:
        step = _step(line["ended"])
        record.steps[step.id] = step
        record.parts = [*(part for part in record.parts if part.id != step.id), step]
    elif "node" in line:
        record.turns[line["node"]] = (line["turn"], line["reason"])
    elif "finished" in line:
        record.finished = line["finished"]
    elif "resumed" in line:
        record.finished = None
    elif "rolled_back" in line:
        record.rolled_back = True


def _step(written: dict[str, Any]) -> StepReport:
    tuples = {key: tuple(written[key]) for key in ("nodes", "evidence", "warnings")}
    return StepReport(**{**written, **tuples, "outcome": RunOutcome(written["outcome"])})


def _folder(state_dir: Path) -> Path:
    return state_dir / "history"


def _prune(folder: Path) -> None:
    for path in sorted(folder.glob("*.jsonl"), reverse=True)[_KEPT:]:
        path.unlink(missing_ok=True)


@contextmanager
def _recorded(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise JournalError(
            f"{place}: the run cannot be recorded: {error.strerror}; choose another --state-dir"
        ) from error
