"""Peak memory of large lists, and whether a URL costs more when there are more of them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from statistics import median

from tests.benchmarks.harness import (
    Bar,
    Bench,
    Contestant,
    Miscounted,
    Ran,
    at_most,
    print_table,
    urls,
    write_list,
)
from tests.servers.nginx import StaticNginx

TITLE = "peak memory at 1,000,000 and 10,000,000 URLs, and CPU time per URL from 10^3 to 10^6"

MILLION = 1_000_000
SITEMAP_URLS = 50_000
LIMITS = ("--concurrency", "50", "--max-in-flight", "50")
ORDERED_MB, STREAMED_MB = 200, 80
SIZES = (1_000, 10_000, 100_000, MILLION)
GROWTH = 1.1


@dataclass(frozen=True)
class Run:
    """What is run: `--dry-run` reads and orders the lists, a real run asks as well."""

    name: str
    options: Sequence[str | Path]
    most_mb: float
    urls: int
    real: bool = True
    budget: str = ""


def measure(bench: Bench) -> list[Bar]:
    """Measure whole processes by what the kernel says of them at their end."""
    with StaticNginx() as server:
        return [*_peaks(bench, server), *_cost_per_url(bench, server)]


def _peaks(bench: Bench, server: StaticNginx) -> list[Bar]:
    rows, bars = [], []
    for one in _runs(bench, f"http://{server.address}"):
        ran = _measured(bench, server, one)
        rows.append(
            (
                one.name,
                f"{ran.peak_mb:.0f} MB",
                f"{ran.seconds:.1f} s",
                f"{ran.cpu_seconds:.1f} s",
                f"{ran.requests:,}",
            )
        )
        bars.append(at_most(f"memory: {one.name}", ran.peak_mb, one.most_mb, " MB"))
    print_table(("", "peak", "wall", "CPU", "requests"), rows)
    # The kernel counts what a child shares with its parent before it becomes another program.
    own = getrusage(RUSAGE_SELF).ru_maxrss / 1024
    print(f"(a peak of {own:.0f} MB is that of the measuring process, below which none is seen)")
    return bars


def _runs(bench: Bench, site: str) -> list[Run]:
    sitemaps = _sitemaps(bench, site)
    one, ten = (
        write_list(bench.new_path("-urls.txt"), count, site) for count in (MILLION, 10 * MILLION)
    )
    by_priority = ("--order", "priority", "--site", site, *sitemaps)
    few, many = ("--stream", "--list", one), ("--stream", "--list", ten)
    return [
        Run("10^6 of 20 sitemaps, deduped and ordered, dry", by_priority, 200, MILLION, real=False),
        Run("10^6 of 20 sitemaps, deduped and ordered", by_priority, 200, MILLION),
        Run("10^6 streamed, dry", few, 80, MILLION, real=False),
        Run("10^6 streamed", few, 80, MILLION),
        Run("10^7 streamed, dry", many, 80, 10 * MILLION, real=False),
        Run("10^7 streamed, the first 60 s", many, 80, 10 * MILLION, budget="60s"),
    ]


def _sitemaps(bench: Bench, site: str) -> list[str | Path]:
    """Write a million URLs with priorities in files of 50,000, and the first file once more."""
    listed = urls(MILLION, site)
    paths = []
    for _ in range(MILLION // SITEMAP_URLS):
        paths.append(bench.new_path("-sitemap.xml"))
        with paths[-1].open("w") as file:
            file.write('<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n')
            for number in range(SITEMAP_URLS):
                priority = number * 7919 % 11 / 10
                file.write(f"<url><loc>{next(listed)}</loc><priority>{priority}</priority></url>\n")
            file.write("</urlset>\n")
    return [word for path in (*paths, paths[0]) for word in ("--sitemap", path)]


def _measured(bench: Bench, server: StaticNginx, one: Run) -> Ran:
    path = bench.new_path(".json")
    argv = bench.warm(*one.options, "--node", server.address, *LIMITS)
    argv += ["--format", "json", "--output", str(path)]
    argv += [] if one.real else ["--dry-run"]
    argv += ["--budget", one.budget] if one.budget else []
    codes = (1,) if one.budget else (0,)
    ran = bench.run(Contestant(name=one.name, argv=lambda: argv, codes=codes), server)
    report = json.loads(path.read_text())
    asked = report["total"]["fill"]["asked"] if one.real else 0
    if report["urls"] != one.urls or asked != ran.requests or not (asked or not one.real):
        raise Miscounted(f"{one.name}: {report['urls']} URLs, {asked} of {ran.requests} asked")
    return ran


def _cost_per_url(bench: Bench, server: StaticNginx) -> list[Bar]:
    site = f"http://{server.address}"
    nothing = _cpu_seconds(bench, server, write_list(bench.new_path(), 1, site), 1, 5)
    costs: dict[int, float] = {}
    for size in SIZES:
        plain = write_list(bench.new_path("-urls.txt"), size, site)
        # Short runs are many, as start-up scatters by more than they take.
        runs = max(1, min(5 * bench.rounds, bench.rounds * 100_000 // size))
        costs[size] = (_cpu_seconds(bench, server, plain, size, runs) - nothing) / size
    print_table(
        ("CPU time", "us per URL, start-up left out", "of that at 10^3"),
        [
            (f"{size:,} URLs", f"{1e6 * cost:.1f}", f"{cost / costs[SIZES[0]]:.2f}")
            for size, cost in costs.items()
        ],
    )
    growth = max(costs[size] for size in SIZES[1:]) / costs[SIZES[0]]
    return [at_most("memory: most CPU time per URL / that at 10^3", growth, GROWTH)]


def _cpu_seconds(bench: Bench, server: StaticNginx, plain: Path, size: int, runs: int) -> float:
    contestant = Contestant(
        name=f"{size:,} URLs",
        argv=lambda: bench.warm("--list", plain, "--node", server.address, *LIMITS),
        requests=size,
    )
    return median(bench.run(contestant, server).cpu_seconds for _ in range(runs))
