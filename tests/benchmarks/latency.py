"""How close a run comes to what the latency of an origin allows."""

import re
from statistics import median

from tests.benchmarks.harness import Bar, Bench, Contestant, at_least, print_table, write_list
from tests.servers.sweep_origins import SweepOrigin

TITLE = "20,000 URLs from an origin that takes 30 ms, 32 at once"

URLS = 20_000
AT_ONCE = 32
IDEAL = AT_ONCE / 0.030


def measure(bench: Bench) -> list[Bar]:
    """Compare the whole process with the ideal rate; wrk shows what the origin itself loses."""
    with SweepOrigin(kind="delay") as server:
        plain = write_list(bench.new_path("-urls.txt"), URLS, f"http://{server.address}")
        limits = ("--concurrency", str(AT_ONCE), "--max-in-flight", str(AT_ONCE))
        wrk = ("wrk", "-t1", f"-c{AT_ONCE}", "-d10s", f"http://{server.address}/page.html")
        rans = bench.alternate(
            [
                Contestant(
                    name="cachekit",
                    argv=lambda: bench.warm("--list", plain, "--node", server.address, *limits),
                    requests=URLS,
                ),
                Contestant(name="wrk", argv=lambda: wrk, claims=_requests, slack=AT_ONCE),
            ],
            server,
        )
    rates = {name: median(ran.rate for ran in runs) for name, runs in rans.items()}
    print_table(
        ("", "requests/s", "of the ideal", "runs"),
        [
            (
                name,
                f"{value:,.0f}",
                f"{value / IDEAL:.1%}",
                ", ".join(f"{ran.rate:,.0f}" for ran in rans[name]),
            )
            for name, value in rates.items()
        ],
    )
    return [at_least("latency: rate / (32 / 0.03 s)", rates["cachekit"] / IDEAL, 0.95)]


def _requests(output: str) -> int:
    found = re.search(r"(\d+) requests in", output)
    return int(found[1]) if found else -1
