"""What visitors notice of a deploy: without a tool, with all caches flushed, with cachekit."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

from tests.benchmarks.benefit_plot import Plot
from tests.benchmarks.harness import COMMAND, Bar, Bench, at_least, print_table
from tests.cluster import application
from tests.cluster.cluster import Cluster
from tests.cluster.traffic import Answer, Traffic, faults
from tests.servers.process import wait_until

TITLE = "the minute after a deploy, for 60 visitors/s of a shop with 1,500 pages on two nodes"

PRODUCTS = 1_500
RATE = 60.0
BEFORE, AFTER = 5.0, 60.0
"""Seconds of traffic before the deploy begins and after it has ended."""
PLOT = Path(__file__).parents[2] / "docs" / "benefit.svg"
PLOT_TITLE = "Visitors who got a page of the new release, and from the cache"


@dataclass(frozen=True)
class Lived:
    """What visitors lived through; times in epoch seconds. `switched` is by node."""

    began: float
    ended: float
    switched: dict[str, float]
    answers: Sequence[Answer]

    @property
    def minute(self) -> list[Answer]:
        """Those who came in the minute after the deploy."""
        return [answer for answer in self.answers if self.ended <= answer.started]

    def share(self, answers: Sequence[Answer], *, fresh: bool) -> float:
        """Give the share of hits, or of hits with nothing of the old release; carts left out."""
        counted = [answer for answer in answers if answer.url != application.CART]
        hits = [answer for answer in counted if answer.is_hit]
        good = [answer for answer in hits if not (fresh and "r1" in answer.releases)]
        return len(good) / max(1, len(counted))

    def is_stale(self, answer: Answer) -> bool:
        """Whether a page of the old release came from a node that had the new one already."""
        since = self.switched.get(answer.node, self.ended)
        return answer.is_page and answer.started > since and answer.releases != {"r2"}


def measure(bench: Bench) -> list[Bar]:
    """Deploy in each way under the same visitors."""
    ways = {"no tool": _no_tool, "flush only": _flush, "cachekit": _cachekit(bench)}
    lived = {}
    for name, deploy in ways.items():
        bench.await_quiet()
        lived[name] = _lived(deploy)
    _print(lived)
    curves = {name: _curve(each) for name, each in lived.items()}
    plot = Plot(title=PLOT_TITLE, first=-BEFORE, last=AFTER, curves=curves)
    PLOT.write_text(plot.svg())
    print(f"plotted: {PLOT}")
    ours = lived["cachekit"]
    fresh = ours.share(ours.minute, fresh=True)
    spoilt = len(faults(ours.answers)) + sum(map(ours.is_stale, ours.answers))
    return [
        at_least("benefit: fresh hits in the minute after cachekit", fresh, 0.99),
        Bar("benefit: stale pages and faults with cachekit", str(spoilt), "0", spoilt == 0),
    ]


def _lived(deploy: Callable[[Cluster], None]) -> Lived:
    with Cluster(products=PRODUCTS) as cluster:
        pages = application.pages(PRODUCTS)
        with Traffic(cluster.balancer.address, pages, rate=RATE, at_once=32) as traffic:
            time.sleep(BEFORE)
            began = time.time()
            deploy(cluster)
            ended = time.time()
            time.sleep(AFTER)
        switched = {node.name: node.switched for node in cluster.nodes}
    return Lived(began, ended, switched, traffic.answers)


def _no_tool(cluster: Cluster) -> None:
    """Switch, and reload php-fpm, as deploy scripts do."""
    for node in cluster.nodes:
        node.switch("r2")
        os.kill(node.fpm.pid, signal.SIGUSR2)
    assert all(wait_until(node.fpm.is_ready) for node in cluster.nodes)


def _flush(cluster: Cluster) -> None:
    """Switch, and empty everything: views, OPcache and APCu, memcached, Varnish."""
    for node in cluster.nodes:
        node.switch("r2")
        node.empty()


def _cachekit(bench: Bench) -> Callable[[Cluster], None]:
    folder = bench.new_path("-settings")
    folder.mkdir()
    options = ("--release", "r2", "--previous", "r1", "--state-dir", folder / "state")

    def deploy(cluster: Cluster) -> None:
        cluster.settle_in(folder)
        subprocess.run(
            [COMMAND, "run", "deploy", *options],
            check=True,
            cwd=folder,
            env={**os.environ, **cluster.environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
        )

    return deploy


def _print(lived: dict[str, Lived]) -> None:
    rows = []
    for name, each in lived.items():
        times = quantiles([a.seconds * 1e3 for a in each.minute], n=100)
        stale = sum(map(each.is_stale, each.answers))
        rows.append(
            (
                name,
                f"{each.ended - each.began:.1f} s",
                f"{each.share(each.minute, fresh=False):.1%}",
                f"{each.share(each.minute, fresh=True):.1%}",
                f"{times[49]:.1f} ms",
                f"{times[94]:.1f} ms",
                f"{stale:,}",
                f"{len(faults(each.answers)):,}",
                f"{len(each.answers):,}",
            )
        )
    head = ("", "deploy", "hits", "fresh hits", "p50", "p95", "stale pages", "faults", "visits")
    print_table(head, rows)


def _curve(lived: Lived) -> list[tuple[float, float]]:
    """Give that share for each two seconds, by seconds after the end of the deploy."""
    buckets: dict[int, list[Answer]] = {}
    for answer in lived.answers:
        buckets.setdefault(int((answer.started - lived.ended) // 2), []).append(answer)
    return [
        (2.0 * at + 1, lived.share(answers, fresh=True)) for at, answers in sorted(buckets.items())
    ]
