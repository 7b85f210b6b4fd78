"""What all measurements share: whole processes run and accounted for, tables, bars."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import BinaryIO, Protocol

COMMAND = Path(sys.executable).with_name("cachekit")
DISTURBED_CORES = 0.2
_GLANCE_SECONDS = 0.25
_SHORT_SECONDS = 1.0
# As installed: with byte code on disk, which a developer's environment may forbid.
_ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


class Miscounted(Exception):  # noqa: N818 - a finding, which ends the measurement
    """A run failed, or the server saw other requests than the run claims."""


class Counting(Protocol):
    """A server that counts its requests."""

    @property
    def pid(self) -> int:
        """The process that leads the server's session."""
        ...

    def count(self) -> int:
        """Return the number of requests so far."""
        ...


@dataclass(frozen=True, kw_only=True)
class Ran:
    """One finished process: wall and CPU time (user + system) in seconds, peak memory in MB."""

    name: str
    code: int
    seconds: float
    cpu_seconds: float
    peak_mb: float
    requests: int
    """How many the server got meanwhile."""
    others: float
    """How many cores were busy with something that was neither this run nor its server."""
    output: str

    @property
    def is_disturbed(self) -> bool:
        """Tell whether other load spoiled the run; short ones cannot tell, and are many."""
        return self.seconds > _SHORT_SECONDS and self.others > DISTURBED_CORES

    @property
    def rate(self) -> float:
        """Requests per second of the whole process, as counted at the server."""
        return self.requests / self.seconds


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A command to measure; its argv is made anew for each run."""

    name: str
    argv: Callable[[], Sequence[str]]
    requests: int | None = None
    """How many the server must see, exactly; None if `claims` reads it from the output."""
    claims: Callable[[str], int] | None = None
    slack: int = 0
    """How many more the server may see than are claimed: those cut off at the end."""
    keep_output: bool = True
    codes: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Bar:
    """One stated bar and what was measured."""

    name: str
    measured: str
    bar: str
    met: bool


@dataclass(kw_only=True)
class Bench:
    """What a measurement is given: where to write, and how often to repeat."""

    scratch: Path
    rounds: int
    patience: float = 300.0
    """Seconds left for waiting until other load ends and for repeating what it disturbed."""
    _files: int = field(default=0, init=False)

    def new_path(self, suffix: str = "") -> Path:
        """Name a file or folder that does not exist yet."""
        self._files += 1
        return self.scratch / f"{self._files}{suffix}"

    def warm(self, *options: str | Path) -> list[str]:
        """Give the argv of a quiet `cachekit warm`, its report in text, without verification."""
        argv = [str(COMMAND), "warm", "--quiet", "--state-dir", str(self.new_path("-state"))]
        argv += ["--output", str(self.new_path("-report.txt")), "--verify", "off"]
        return [*argv, *map(str, options)]

    def alternate(
        self, contestants: Sequence[Contestant], server: Counting | None, rounds: int = 0
    ) -> dict[str, list[Ran]]:
        """Run all in turn, round after round."""
        rans: dict[str, list[Ran]] = {contestant.name: [] for contestant in contestants}
        for _ in range(rounds or self.rounds):
            for contestant in contestants:
                rans[contestant.name].append(self.run(contestant, server))
        disturbed = sum(ran.is_disturbed for runs in rans.values() for ran in runs)
        if disturbed:
            print(f"({disturbed} of these runs shared the machine with other load)")
        return rans

    def run(self, contestant: Contestant, server: Counting | None) -> Ran:
        """Run one command while nothing else is busy, as far as patience lasts.

        A run that was disturbed all the same is repeated, and the quietest one counts.
        """
        self.await_quiet()
        best = run(contestant, server)
        while best.is_disturbed and self.patience > 0:
            self.patience -= best.seconds
            self.await_quiet()
            best = min(best, run(contestant, server), key=lambda ran: ran.others)
        return best

    def await_quiet(self) -> None:
        """Wait until nothing else is busy, as far as patience lasts."""
        while self.patience > 0:
            busy, began = _Busy(None), time.monotonic()
            time.sleep(_GLANCE_SECONDS)
            seconds = time.monotonic() - began
            if busy.of_others(0) < DISTURBED_CORES * seconds:
                return
            self.patience -= seconds


def run(contestant: Contestant, server: Counting | None) -> Ran:
    """Run one command to its end. Raises Miscounted."""
    argv = [str(word) for word in contestant.argv()]
    count = server.count() if server else 0
    busy = _Busy(server)
    with tempfile.TemporaryFile() as output:
        began = time.monotonic()
        process = subprocess.Popen(
            argv,
            env=_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=output if contestant.keep_output else subprocess.DEVNULL,
            stderr=output if contestant.keep_output else subprocess.DEVNULL,
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        text = _tail(output)
    cpu_seconds = usage.ru_utime + usage.ru_stime
    others = busy.of_others(cpu_seconds) / seconds
    ran = Ran(
        name=contestant.name,
        code=process.returncode,
        seconds=seconds,
        cpu_seconds=cpu_seconds,
        peak_mb=usage.ru_maxrss / 1024,
        requests=(server.count() if server else 0) - count,
        others=others,
        output=text,
    )
    _account(contestant, ran)
    return ran


def _account(contestant: Contestant, ran: Ran) -> None:
    if ran.code not in contestant.codes:
        raise Miscounted(f"{ran.name} ended with {ran.code}\n{ran.output}")
    claimed = contestant.requests
    if contestant.claims is not None:
        claimed = contestant.claims(ran.output)
    if claimed is not None and not claimed <= ran.requests <= claimed + contestant.slack:
        raise Miscounted(f"{ran.name}: {claimed} claimed, {ran.requests} counted\n{ran.output}")


def _tail(output: BinaryIO) -> str:
    output.seek(0)
    return output.read(1_000_000).decode(errors="replace")


class _Busy:
    """The CPU time of the machine from now on, less what a run and its server need."""

    def __init__(self, server: Counting | None) -> None:
        self._server = server
        self._start = self._foreign()

    def of_others(self, child_seconds: float) -> float:
        """Return the CPU seconds of everything else."""
        return max(0.0, self._foreign() - self._start - child_seconds)

    def _foreign(self) -> float:
        known = time.process_time()
        if self._server:
            known += _session_cpu_seconds(self._server.pid)
        return _machine_cpu_seconds() - known


def _machine_cpu_seconds() -> float:
    with Path("/proc/stat").open() as file:
        user, nice, system, _idle, _wait, *rest = map(int, file.readline().split()[1:9])
    return (user + nice + system + sum(rest)) / _CLOCK_TICKS


def _session_cpu_seconds(session: int) -> float:
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[3]) == session:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / _CLOCK_TICKS


def rate(rans: Sequence[Ran]) -> float:
    """Give the median rate."""
    return median(ran.rate for ran in rans)


def cpu_microseconds(rans: Sequence[Ran]) -> float:
    """Give the median CPU time per request."""
    return median(1e6 * ran.cpu_seconds / max(1, ran.requests) for ran in rans)


def at_least(name: str, measured: float, bar: float) -> Bar:
    """Judge a ratio that must reach its bar."""
    return Bar(name, f"{measured:.3f}", f">= {bar:g}", measured >= bar)


def at_most(name: str, measured: float, bar: float, unit: str = "") -> Bar:
    """Judge a number that must not pass its bar."""
    return Bar(name, f"{measured:.4g}{unit}", f"<= {bar:g}{unit}", measured <= bar)


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print aligned columns, the first to the left and the others to the right."""
    table = [list(head), *map(list, rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(head))]
    for row in table:
        first, *rest = row
        cells = [text.rjust(width) for text, width in zip(rest, widths[1:], strict=True)]
        print("  ".join([first.ljust(widths[0]), *cells]).rstrip(), flush=True)


def print_bars(bars: Sequence[Bar]) -> None:
    """Print what was measured against each bar."""
    rows = [(bar.name, bar.measured, bar.bar, "met" if bar.met else "MISSED") for bar in bars]
    print_table(("", "measured", "bar", ""), rows)


def urls(count: int, site: str) -> Iterator[str]:
    """Give distinct URLs of one length."""
    return (f"{site}/catalogue/page-{number:08d}.html" for number in range(count))


def write_list(path: Path, count: int, site: str, form: str = "{}\n") -> Path:
    """Write distinct URLs to a file, each in `form`; not all in memory, which the runs inherit."""
    with path.open("w") as file:
        file.writelines(form.format(url) for url in urls(count, site))
    return path
