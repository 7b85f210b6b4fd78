"""What the command costs before it does anything."""

import sys
from statistics import median

from tests.benchmarks.harness import COMMAND, Bar, Bench, Contestant, at_most, print_table

TITLE = "`cachekit --help` beside an interpreter that imports click"

RUNS = 40


def measure(bench: Bench) -> list[Bar]:
    """Compare the medians of many alternating runs."""
    contestants = [
        Contestant(name="cachekit --help", argv=lambda: (str(COMMAND), "--help")),
        Contestant(name="import click", argv=lambda: (sys.executable, "-c", "import click")),
        Contestant(name="python, nothing", argv=lambda: (sys.executable, "-c", "")),
    ]
    rans = bench.alternate(contestants, None, RUNS)
    times = {name: median(ran.seconds for ran in runs) for name, runs in rans.items()}
    print_table(
        ("", "median", "CPU"),
        [
            (
                name,
                f"{1000 * value:.1f} ms",
                f"{1000 * median(ran.cpu_seconds for ran in rans[name]):.1f} ms",
            )
            for name, value in times.items()
        ],
    )
    ratio = times["cachekit --help"] / times["import click"]
    return [at_most("startup: --help / import click", ratio, 1.5)]
