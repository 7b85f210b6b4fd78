"""What a run has done so far, on disk before anything else starts.

`kill -9` loses only what was in flight.

A run is a folder under STATE_DIR/runs: `run.json` says what it warms, `targets.jsonl` names the
finished targets, those that are alike on one line. The report of a resumed run is made by replaying
these lines, so it covers both runs.
"""

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from cachekit.errors import JournalError
from cachekit.events import Asked, TargetDone
from cachekit.model import Verdict, shown_url
from cachekit.results import Outcome

_FORMAT = 2
_KEPT_RUNS = 20
_RESUMABLE_SECONDS = 7 * 86400
Likeness = tuple[str, str, bool, int, Verdict, int]
"""What targets of any node have in common that share a line: pass, variant, whether they count for
hits, status, verdict, retries."""


class Journal:
    """The record of one run.

    Lines wait in memory until `flush`, which comes before anything new starts.
    """

    def __init__(self, folder: Path, run: dict[str, Any]) -> None:
        self.folder = folder
        self.run = run
        self._lines: list[str] = []
        # What lines begin with and nodes are called, which is the same for thousands.
        self._json = cache(json.dumps)
        self._file = os.open(
            self.folder / "targets.jsonl", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600
        )
        self._end_torn_line()

    @property
    def name(self) -> str:
        """The name of the run."""
        return self.folder.name

    def add_notable(self, done: TargetDone) -> None:
        """Record one finished target with all that reports may say of it."""
        self._lines.append(f"{json.dumps(_row(done))}\n")

    def add(self, alike: Sequence[TargetDone]) -> None:
        """Record finished targets that are alike, ok and without reasons, on one line."""
        ordinals = [done.ordinal for done in alike]
        times = [int(done.seconds * 1e6) for done in alike]
        common = self._json(likeness(alike[0]))
        self._lines.append(f"[{common},{self._nodes(alike)},{ordinals},{times}]\n")

    def flush(self) -> None:
        """Hand all lines to the kernel, where they outlive this process. Raises JournalError."""
        if not self._lines:
            return
        data = "".join(self._lines).encode()
        self._lines.clear()
        with _recorded(self.folder):
            while data:
                data = data[os.write(self._file, data) :]

    def records(self) -> Iterator[list[TargetDone]]:
        """Read what earlier runs recorded, in order: those that are alike together."""
        with (self.folder / "targets.jsonl").open(encoding="utf-8", errors="replace") as file:
            for line in file:
                try:
                    alike = _done(json.loads(line))
                except (ValueError, LookupError, TypeError, AttributeError):
                    continue  # a line torn by a kill: its targets are asked again
                if alike:
                    yield alike

    def finish(self, outcome: str) -> None:
        """Mark the run as complete: there is nothing to resume."""
        self.run |= {"state": "finished", "outcome": outcome}
        with _recorded(self.folder):
            _write_run(self.folder, self.run)

    def close(self) -> None:
        """Flush and close."""
        self.flush()
        os.close(self._file)

    def _nodes(self, alike: Sequence[TargetDone]) -> str:
        """Name the node of each; only once if it is the same."""
        names = [done.asked.node for done in alike]
        if names.count(names[0]) == len(names):
            return self._json(names[0])
        return f"[{','.join(map(self._json, names))}]"

    def _end_torn_line(self) -> None:
        size = os.fstat(self._file).st_size
        if size and os.pread(self._file, 1, size - 1) != b"\n":
            os.write(self._file, b"\n")


def start(state_dir: Path, key: str, digest: str, facts: Mapping[str, Any]) -> Journal:
    """Begin a run. Raises JournalError."""
    # UTC: in the hour that a clock is set back, names of local time would not sort.
    name = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.getpid()}"
    run = {
        "cachekit": _FORMAT,
        "state": "running",
        "key": key,
        "digest": digest,
        "started": time.time(),
        **facts,
    }
    with _recorded(state_dir):
        folder = _new_folder(state_dir / "runs", name)
        _write_run(folder, run)
        _prune(state_dir / "runs")
        return Journal(folder, run)


def resume(state_dir: Path, key: str, digest: str) -> Journal:
    """Continue the newest unfinished run with this key.

    Raises JournalError if there is none or its list changed.
    """
    for folder in sorted(_folders(state_dir / "runs"), reverse=True):
        run = _read_run(folder)
        if run is None or run.get("key") != key or run.get("state") != "running":
            continue
        if run.get("digest") != digest:
            raise JournalError(
                f"{folder}: the list of URLs has changed since this run; start one without --resume"
            )
        with _recorded(folder):
            return Journal(folder, run)
    raise JournalError(
        f"{state_dir}: no unfinished run of the same site, nodes, lists, variants,"
        " expectations, headers and verdict rules; start one without --resume"
    )


def last_good(state_dir: Path, key: str, digest: str) -> float | None:
    """Tell when the last run of this kind began that ended with go, in epoch seconds.

    None if none is known, also where it asked other URLs.
    """
    for folder in sorted(_folders(state_dir / "runs"), reverse=True):
        run = _read_run(folder) or {}
        same = (run.get("key"), run.get("digest")) == (key, digest)
        if same and (run.get("state"), run.get("outcome")) == ("finished", Outcome.GO):
            return float(run["started"])
    return None


def rejudge(state_dir: Path, name: str, outcome: str) -> None:
    """Correct how a finished run ended, by what was done after it. Raises JournalError."""
    folder = state_dir / "runs" / name
    run = _read_run(folder)
    if run is not None:
        with _recorded(folder):
            _write_run(folder, run | {"outcome": outcome})


def forget(state_dir: Path, name: str) -> None:
    """Remove the record of a run that nobody will ask for: it takes the place of no other then."""
    if name:
        shutil.rmtree(state_dir / "runs" / name, ignore_errors=True)


def likeness(done: TargetDone) -> Likeness:
    """Tell which targets may share a line."""
    asked = done.asked
    return (
        asked.pass_name,
        asked.variant,
        asked.counts_for_hit,
        done.status,
        done.verdict,
        done.retries,
    )


@contextmanager
def _recorded(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        message = (
            f"{place}: the run cannot be recorded: {error.strerror}; choose another --state-dir"
        )
        raise JournalError(message) from error


def _row(done: TargetDone) -> list[Any]:
    return [
        likeness(done),
        done.node,
        [done.ordinal],
        [int(done.seconds * 1e6)],
        done.asked.required,
        done.ok,
        shown_url(done.url),  # a password in it must not reach the disk
        done.reasons,
        done.detail,
    ]


@cache
def _asked(pass_name: str, node: str, variant: str, counts: bool, required: bool) -> Asked:
    return Asked(pass_name, node, variant, counts_for_hit=counts, required=required)


def _done(row: list[Any]) -> list[TargetDone]:
    (pass_name, variant, counts, status, verdict, retries), nodes, ordinals, times, *notable = row
    required, ok, url, reasons, detail = notable or (False, True, "", (), "")
    names = [nodes] * len(ordinals) if isinstance(nodes, str) else nodes
    return [
        TargetDone(
            asked=_asked(pass_name, node, variant, counts, required),
            ordinal=ordinal,
            url=url.encode(),
            ok=ok,
            verdict=Verdict(verdict),
            status=status,
            seconds=microseconds / 1e6,
            retries=retries,
            reasons=tuple(reasons),
            detail=detail,
        )
        for node, ordinal, microseconds in zip(names, ordinals, times, strict=True)
    ]


def _new_folder(runs: Path, name: str) -> Path:
    runs.mkdir(parents=True, exist_ok=True, mode=0o700)
    for attempt in range(1000):
        folder = runs / (f"{name}-{attempt}" if attempt else name)
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            continue
        return folder
    raise FileExistsError(17, "a thousand runs have this name", str(runs / name))


def _folders(runs: Path) -> list[Path]:
    return [path for path in runs.iterdir() if path.is_dir()] if runs.is_dir() else []


def _prune(runs: Path) -> None:
    """Forget old runs: beyond the newest, those that finished, and those that nobody resumed."""
    for folder in sorted(_folders(runs), reverse=True)[_KEPT_RUNS:]:
        run = _read_run(folder) or {}
        if (
            run.get("state") == "finished"
            or time.time() - run.get("started", 0) > _RESUMABLE_SECONDS
        ):
            shutil.rmtree(folder, ignore_errors=True)


def _read_run(folder: Path) -> dict[str, Any] | None:
    try:
        run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return run if isinstance(run, dict) and run.get("cachekit") == _FORMAT else None


def _write_run(folder: Path, run: Mapping[str, Any]) -> None:
    partial = folder / "run.json.partial"
    partial.write_text(json.dumps(run, indent=1), encoding="utf-8")
    partial.replace(folder / "run.json")
