"""What runs of plans did: their files, read back."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cachekit.errors import JournalError
from cachekit.golive.base import Standing
from cachekit.lock import is_held
from cachekit.runs import NodeReport, RunOutcome, RunReport, StepReport

FORMAT = 1
_TOLD = ("plan", "site", "release", "previous", "facts", "started")
_KEYS = (*_TOLD, "digest", "warnings")


@dataclass
class Record:
    """A run as its file tells it.

    `steps` are those that still hold, `parts` all that ended. `turns` has each node's last turn
    with its reason, `turns_of` the last turns by step.
    """

    path: Path
    run: dict[str, Any]
    begun: set[str] = field(default_factory=set)
    steps: dict[str, StepReport] = field(default_factory=dict)
    parts: list[StepReport] = field(default_factory=list)
    turns: dict[str, tuple[str, str]] = field(default_factory=dict)
    turns_of: dict[str, dict[str, str]] = field(default_factory=dict)
    finished: dict[str, Any] | None = None
    rolled_back: str = ""
    last_at: float = 0.0

    @property
    def name(self) -> str:
        """The name of the run."""
        return self.path.stem

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to be continued."""
        return self.finished is not None and self.finished["exit_code"] in (0, 3)

    def _unfinished(self) -> dict[str, Any]:
        goes_on = is_held(self.path)
        outcome = RunOutcome.UNKNOWN if goes_on else RunOutcome.FAILED
        return {
            "outcome": outcome,
            "exit_code": int(outcome.exit_code),
            "ended_early": "it goes on still" if goes_on else "it was killed",
            "elapsed": self.last_at - self.run["started"],
        }

    def report(self) -> RunReport:
        """Make the report; of a run that goes on, or was killed, what is known."""
        finished = self.finished or self._unfinished()
        return RunReport(
            run=self.name,
            **{key: self.run[key] for key in _TOLD},
            warnings=tuple(self.run["warnings"]),
            outcome=RunOutcome(finished["outcome"]),
            exit_code=finished["exit_code"],
            ended_early=finished["ended_early"],
            elapsed=finished["elapsed"],
            steps=in_order(self.parts),
            nodes=node_reports(self.turns),
        )


def in_order(steps: Sequence[StepReport]) -> tuple[StepReport, ...]:
    """Put steps in the order of their beginnings, a roll before all that was done within it.

    A roll that was resumed began again when some of its nodes were done.
    """
    first: dict[str, float] = {}
    for step in steps:
        stem = step.id.partition("/")[0]
        first[stem] = min(step.started, first.get(stem, step.started))

    def place(step: StepReport) -> tuple[float, bool, float]:
        stem, within, _ = step.id.partition("/")
        return first[stem], bool(within), step.started

    return tuple(sorted(steps, key=place))


def node_reports(turns: Mapping[str, tuple[str, str]]) -> tuple[NodeReport, ...]:
    """Say where nodes stand after their last turns."""
    standings = {"in": Standing.IN, "going out": Standing.UNKNOWN, "going in": Standing.UNKNOWN}
    return tuple(
        NodeReport(name=name, standing=standings.get(turn, Standing.OUT), reason=reason)
        for name, (turn, reason) in turns.items()
    )


def resumable(state_dir: Path, site: str, plan: str, release: str) -> Record:
    """Find the newest run of a plan that did not get to its end. Raises JournalError."""
    since: list[Record] = []
    for record in records(state_dir):
        run = record.run
        if run["site"] != site:
            continue
        if run["plan"] != plan or release not in ("", run["release"]):
            since.append(record)
            continue
        if record.is_done:
            break
        _refuse_undone(record, since)
        return record
    which = f" of release {release}" if release else ""
    raise JournalError(
        f"{folder_of(state_dir)}: no unfinished run of the plan {plan}{which}; run it without"
        " --resume"
    )


def _refuse_undone(record: Record, since: Sequence[Record]) -> None:
    """Refuse to go on where what was done may not hold any more. Raises JournalError."""
    anew = f"run {record.run['plan']} without --resume"
    if back := record.rolled_back:
        ended = "was rolled back" if record.finished else f"was ended while {back} rolled it back"
        raise JournalError(
            f"{record.path}: this run {ended}, and there is nothing to go on with; {anew}"
        )
    for other in since:
        if other.run["release"] not in ("", record.run["release"]):
            raise JournalError(
                f"{record.path}: {other.run['plan']} of {other.run['release']} ran since"
                f" ({other.name}), so what was done may be undone; {anew}"
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
    folder = folder_of(state_dir)
    for path in sorted(folder.glob("*.jsonl"), reverse=True) if folder.is_dir() else ():
        if record := read(path):
            yield record


def find(state_dir: Path, name: str) -> Record:
    """Read a run by its name, or the newest for `last`. Raises JournalError."""
    for record in records(state_dir):
        if name in ("last", record.name):
            return record
    raise JournalError(f"{folder_of(state_dir)}: no run is called {name}; see `cachekit history`")


def last_turn(state_dir: Path, site: str, node: str) -> tuple[str, str] | None:
    """Tell the last turn of a node in any run, so that ours are told from others' doings."""
    for record in records(state_dir):
        if record.run["site"] == site and node in record.turns:
            return record.turns[node]
    return None


def read(path: Path) -> Record | None:
    """Read the file of a run; None if it is none, or of another version."""
    record: Record | None = None
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    for text in lines:
        try:
            line = json.loads(text)
            if record is None:
                record = _begun(path, line["run"])
            else:
                take(record, line)
        except (ValueError, LookupError, TypeError):
            continue  # a line torn by a kill: its step is done again
    return record


def take(record: Record, line: Mapping[str, Any]) -> None:
    """Take one line of its file into a record. Raises LookupError, TypeError, ValueError."""
    record.last_at = line["at"]
    if "started" in line:
        record.begun.add(line["started"])
    elif "ended" in line:
        step = _step(line["ended"])
        record.steps[step.id] = step
        record.parts = [*(part for part in record.parts if part.id != step.id), step]
    elif "node" in line:
        _turn(record, line["step"], line["node"], line["turn"], line["reason"])
    elif "finished" in line:
        record.finished = line["finished"]
    elif "resumed" in line:
        record.finished = None
    elif "rolled_back" in line:
        record.rolled_back = line["rolled_back"]


def _turn(record: Record, step_id: str, node: str, turn: str, reason: str) -> None:
    record.turns[node] = (turn, reason)
    record.turns_of.setdefault(step_id, {})[node] = turn
    if turn == "failed":
        # Mended, it is done from its first step: its caches may hold what was made before.
        within = f"{step_id}/"
        record.steps = {
            key: step
            for key, step in record.steps.items()
            if not (key.startswith(within) and node in step.nodes)
        }


def _begun(path: Path, run: Mapping[str, Any]) -> Record | None:
    """Begin to read a run; None if it is of another version, which may mean other things."""
    return Record(path, {key: run[key] for key in _KEYS}) if run["cachekit"] == FORMAT else None


def _step(written: dict[str, Any]) -> StepReport:
    tuples = {key: tuple(written[key]) for key in ("nodes", "evidence", "warnings")}
    return StepReport(**{**written, **tuples, "outcome": RunOutcome(written["outcome"])})


def folder_of(state_dir: Path) -> Path:
    """Give the folder of all runs."""
    return state_dir / "history"
