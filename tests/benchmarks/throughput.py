"""How many URLs per second a whole run reaches, beside the tools people use for it."""

import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.benchmarks.harness import (
    Bar,
    Bench,
    Contestant,
    Ran,
    at_least,
    cpu_microseconds,
    print_table,
    rate,
)
from tests.benchmarks.harness import write_list as write
from tests.servers.nginx import StaticNginx

TITLE = "100,000 distinct URLs of 4 KB, 50 at once, one nginx worker; whole processes"

URLS = 100_000
AT_ONCE = 50
BARS = {"curl --parallel": 1.5, "hey": 0.95, "siege -b": 2.0, "wrk -t1": 0.4}

# No parsing of pages: siege at its best, but for the connection, which is chosen.
_SIEGERC = """\
protocol = HTTP/1.1
connection = {connection}
parser = false
logging = false
verbose = false
limit = 255
cache = false
"""
_WRK = """\
local number, step = 0, 0
request = function()
  number = (number + 1) % {urls}
  return wrk.format("GET", string.format("/catalogue/page-%08d.html", number))
end
"""


def measure(bench: Bench) -> list[Bar]:
    """Run all in turn, and compare the rates counted at the server."""
    with StaticNginx() as server:
        contestants = _contestants(bench, server)
        rans = bench.alternate(contestants, server)
        _print(rans)
        ours = rate(rans["cachekit"])
        return [
            at_least(f"throughput: URLs/s / {name}", ours / rate(rans[name]), bar)
            for name, bar in BARS.items()
        ]


def _contestants(bench: Bench, server: StaticNginx) -> list[Contestant]:
    site, node = f"http://{server.address}", server.address
    plain = write(bench.new_path("-urls.txt"), URLS, site)
    discarding = 'url = "{}"\noutput = "/dev/null"\n'
    config = write(bench.new_path("-curl.txt"), URLS, site, discarding)
    bare_config = write(bench.new_path("-curl.txt"), URLS, site, 'url = "{}"\n')
    script = bench.new_path("-wrk.lua")
    script.write_text(_WRK.format(urls=URLS))

    def warm(verify: str) -> Callable[[], Sequence[str]]:
        limits = ("--concurrency", str(AT_ONCE), "--max-in-flight", str(AT_ONCE))
        return lambda: bench.warm("--list", plain, "--node", node, *limits, "--verify", verify)

    curl = ("curl", "-s", "--parallel", "--parallel-max", str(AT_ONCE), "-K")
    hey = ("hey", "-n", str(URLS), "-c", str(AT_ONCE), f"{site}/catalogue/page.html")
    wrk = ("wrk", "-t1", f"-c{AT_ONCE}", "-d5s", "-s", str(script), site)
    return [
        Contestant(name="cachekit", argv=warm("off"), requests=URLS),
        Contestant(name="cachekit, verified", argv=warm("all"), requests=2 * URLS),
        Contestant(
            name="curl --parallel",
            argv=lambda: (*curl, str(config)),
            requests=URLS,
            keep_output=False,
        ),
        # For information: all pages mixed on one output, which costs curl a quarter less.
        Contestant(
            name="curl, to stdout",
            argv=lambda: (*curl, str(bare_config)),
            requests=URLS,
            keep_output=False,
        ),
        Contestant(name="hey", argv=lambda: hey, requests=URLS),
        # As it comes, with a new connection for each request.
        _siege(bench, "siege -b", "close", plain),
        # For information: it can do better by its configuration.
        _siege(bench, "siege -b, keep-alive", "keep-alive", plain),
        Contestant(name="wrk -t1", argv=lambda: wrk, claims=_wrk_requests, slack=AT_ONCE),
    ]


def _siege(bench: Bench, name: str, connection: str, plain: Path) -> Contestant:
    config = bench.new_path("-siegerc")
    config.write_text(_SIEGERC.format(connection=connection))
    # It wants a home of its own to write to, and one round of the list shared by its users.
    home = ["env", f"HOME={config.parent}", f"PATH={os.environ['PATH']}"]
    siege = ["siege", "-R", str(config), "-b", "-q", "-j", "-c", str(AT_ONCE)]
    argv = [*home, *siege, "-r", str(URLS // AT_ONCE), "-f", str(plain)]
    return Contestant(
        name=name,
        argv=lambda: argv,
        claims=lambda output: int(_siege_facts(output)["transactions"]),
    )


def _siege_facts(output: str) -> dict[str, float]:
    facts: dict[str, float] = json.loads(output[output.index("{") : output.rindex("}") + 1])
    return facts


def _wrk_requests(output: str) -> int:
    found = re.search(r"(\d+) requests in", output)
    return int(found[1]) if found else -1


def _print(rans: dict[str, list[Ran]]) -> None:
    ours = rate(rans["cachekit"])
    rows = [
        (
            name,
            f"{rate(runs):,.0f}",
            f"{ours / rate(runs):.2f}",
            f"{cpu_microseconds(runs):.1f}",
            ", ".join(f"{ran.rate / 1000:.1f}k" for ran in runs),
            f"{runs[0].requests:,}",
            f"{max(ran.others for ran in runs):.2f}",
        )
        for name, runs in rans.items()
    ]
    head = ("", "requests/s", "cachekit is", "CPU us each", "runs", "counted at server", "others")
    print_table(head, rows)
