"""How near `--concurrency auto` comes to the best fixed level, which a sweep finds."""

import json
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tests.benchmarks.harness import (
    Bar,
    Bench,
    Contestant,
    Counting,
    Miscounted,
    at_most,
    print_table,
    write_list,
)
from tests.servers.nginx import StaticNginx
from tests.servers.sweep_origins import Kind, SweepOrigin

TITLE = "time of --concurrency auto / best fixed of 4…256 without failures; 256 in flight at most"

# From the middle out: a good level comes early, and bounds the time of the hopeless ones.
LEVELS = (64, 32, 128, 16, 256, 8, 4)
AUTO_RUNS = 5
HOPELESS = 1.5
"""A level that takes this many times the best one so far is not run to its end."""


@dataclass(frozen=True)
class Case:
    """An origin and how many URLs it is asked."""

    name: str
    urls: int
    kind: Kind | None
    step_after: int | None = None

    def server(self) -> "AbstractContextManager[StaticNginx | SweepOrigin]":
        """Make the server, not yet started."""
        if self.kind is None:
            return StaticNginx()
        return SweepOrigin(kind=self.kind, step_after_requests=self.step_after)


CASES = (
    Case("fast", 40_000, None),
    Case("queue", 4_000, "queue"),
    Case("cap", 10_000, "cap"),
    Case("jitter", 10_000, "jitter"),
    Case("step", 10_000, "step", step_after=5_000),
)


@dataclass(frozen=True)
class Outcome:
    """One run by its own report: seconds of the passes, start-up left out as for all levels."""

    seconds: float
    failed: int
    retries: int
    p50: float
    others: float

    @property
    def shown(self) -> str:
        """Write time and failures for the table."""
        return f"{self.seconds:.2f}" + (f" ({self.failed} failed)" if self.failed else "")


def measure(bench: Bench) -> list[Bar]:
    """Sweep, then let auto and the best level alternate."""
    bars: list[Bar] = []
    for case in CASES:
        bars += _measure(bench, case)
    return bars


def _measure(bench: Bench, case: Case) -> list[Bar]:
    with case.server() as server:
        plain = write_list(bench.new_path("-urls.txt"), case.urls, f"http://{server.address}")
        asked = _Asked(bench, server, server.address, plain, case.urls)
        level = _sweep(asked, case)
        auto, fixed = [], []
        for _ in range(AUTO_RUNS):
            auto.append(asked.run("auto"))
            fixed.append(asked.run(str(level)))
    best = median(one.seconds for one in fixed if not one.failed)
    ratios = [one.seconds / best for one in auto]
    rows = [
        (
            name,
            f"{median(one.seconds for one in runs):.2f} s",
            " ".join(one.shown for one in runs),
            f"{sum(one.retries for one in runs)}",
            f"{1000 * median(one.p50 for one in runs):.0f} ms",
            f"{max(one.others for one in runs):.2f}",
        )
        for name, runs in (("auto", auto), (f"fixed {level}", fixed))
    ]
    print_table((case.name, "median", "runs", "retries", "p50", "others"), rows)
    failed = sum(one.failed for one in auto)
    return [
        at_most(f"auto: {case.name}, median of five", median(ratios), 1.2),
        at_most(f"auto: {case.name}, worst of five", max(ratios), 1.2),
        Bar(f"auto: {case.name}, failed targets", f"{failed}", "0", failed == 0),
    ]


def _sweep(asked: "_Asked", case: Case) -> int:
    """Run each fixed level; return the fastest of those without a failed target."""
    found: dict[int, Outcome] = {}
    for level in LEVELS:
        good = [one.seconds for one in found.values() if not one.failed]
        found[level] = asked.run(str(level), HOPELESS * min(good) if good else None)
    shown = (f"{level}: {found[level].shown}" for level in sorted(found))
    print(f"{case.name}, {case.urls:,} URLs; fixed " + ", ".join(shown), flush=True)
    return min((one.seconds, level) for level, one in found.items() if not one.failed)[1]


@dataclass(frozen=True)
class _Asked:
    bench: Bench
    server: Counting
    node: str
    plain: Path
    urls: int

    def run(self, concurrency: str, budget: float | None = None) -> Outcome:
        """Run once and read the JSON report; a level cut by its budget has failed the rest."""
        if isinstance(self.server, SweepOrigin):
            self.server.reset()
        path = self.bench.new_path(".json")
        argv = self.bench.warm("--list", self.plain, "--node", self.node)
        argv += ["--concurrency", concurrency, "--max-in-flight", "256"]
        argv += ["--format", "json", "--output", str(path)]
        if budget is not None:
            argv += ["--budget", f"{budget:.2f}s"]
        ran = self.bench.run(
            Contestant(name=concurrency, argv=lambda: argv, codes=(0, 1)), self.server
        )
        return self._outcome(json.loads(path.read_text()), ran.requests, ran.others)

    def _outcome(self, report: Any, requests: int, others: float) -> Outcome:
        total, fill = report["total"], report["total"]["fill"]
        claimed = fill["asked"] + fill["retries"]
        # When a run or its node was given up, targets waited for their retry; no report has them.
        was_cut = report["ended_early"] or any(node["abandoned"] for node in report["nodes"])
        if requests != claimed and not (was_cut and requests > claimed):
            raise Miscounted(f"{claimed} requests claimed, {requests} counted")
        latency = fill["latency"]
        return Outcome(
            report["elapsed"], self.urls - total["ok"], fill["retries"], latency["p50"], others
        )
