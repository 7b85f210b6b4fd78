"""How much 250 nodes in one run cost, beside one node with as many targets."""

from collections.abc import Callable, Sequence
from pathlib import Path

from tests.benchmarks.harness import (
    Bar,
    Bench,
    Contestant,
    at_least,
    cpu_microseconds,
    print_table,
    rate,
    write_list,
)
from tests.servers.nginx import StaticNginx

TITLE = "250 nodes x 400 URLs in one run, beside 1 node x 100,000; 50 at once"

HOSTS = [f"127.0.0.{number}" for number in range(1, 251)]
TARGETS = 100_000
LIMITS = ("--concurrency", "50", "--max-in-flight", "50")


def measure(bench: Bench) -> list[Bar]:
    """Compare the rates of whole processes."""
    with StaticNginx(hosts=HOSTS) as server:
        site = f"http://{server.addresses[0]}"

        def warm(nodes: Sequence[str]) -> Callable[[], Sequence[str]]:
            plain: Path = write_list(bench.new_path("-urls.txt"), TARGETS // len(nodes), site)
            named = [word for node in nodes for word in ("--node", node)]
            return lambda: bench.warm("--list", plain, *named, *LIMITS)

        one = Contestant(name="1 node", argv=warm(server.addresses[:1]), requests=TARGETS)
        many = Contestant(name="250 nodes", argv=warm(server.addresses), requests=TARGETS)
        rans = bench.alternate([one, many], server)
    print_table(
        ("", "targets/s", "CPU us each", "runs", "peak MB"),
        [
            (
                name,
                f"{rate(runs):,.0f}",
                f"{cpu_microseconds(runs):.1f}",
                ", ".join(f"{ran.rate / 1000:.1f}k" for ran in runs),
                f"{max(ran.peak_mb for ran in runs):.0f}",
            )
            for name, runs in rans.items()
        ],
    )
    return [
        at_least("many nodes: rate / one node", rate(rans["250 nodes"]) / rate(rans["1 node"]), 0.8)
    ]
