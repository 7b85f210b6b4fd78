"""What tests of deploys share: how one is run and watched, and what visitors must never see."""

import json
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tests.cluster import application
from tests.cluster.cluster import Cluster
from tests.cluster.node import WebNode
from tests.cluster.traffic import Answer, Traffic, faults, firsts, made_of, served_by
from tests.command import Cachekit, Finished
from tests.servers.process import wait_until


def visitors(cluster: Cluster) -> Traffic:
    """Let visitors come for as long as the `with` lasts."""
    return Traffic(cluster.balancer.address, application.pages(cluster.products))


@dataclass(frozen=True)
class Deploys:
    """Runs plans of the cluster's settings."""

    cachekit: Cachekit

    def run(self, plan: str, release: str, previous: str, *more: str) -> Finished:
        """Run a plan to its end."""
        return self.cachekit.run(*self._arguments(plan, release, previous), *more)

    def start(self, plan: str, release: str, previous: str, *more: str) -> subprocess.Popen[str]:
        """Start a plan, and do not wait for it."""
        return self.cachekit.start(*self._arguments(plan, release, previous), *more)

    def await_line(self, **wanted: str) -> None:
        """Wait until a line of the journal of the newest run says this."""
        assert wait_until(lambda: any(wanted.items() <= line.items() for line in self.journal), 30)

    @property
    def journal(self) -> list[dict[str, Any]]:
        """All that the newest run has on record."""
        files = sorted((self.cachekit.state_dir / "history").glob("*.jsonl"))
        text = files[-1].read_text() if files else ""
        # The last line may not be written to its end yet.
        return [json.loads(line) for line in text.splitlines(keepends=True) if line[-1] == "\n"]

    def _arguments(self, plan: str, release: str, previous: str) -> tuple[str, ...]:
        releases = ("--release", release, "--previous", previous)
        return ("run", plan, *releases, "--state-dir", str(self.cachekit.state_dir))


def is_well(cluster: Cluster, answers: Iterable[Answer], release: str) -> None:
    """Assert that visitors saw the release come, and never a fault or anything stale or cold."""
    assert not faults(answers)
    for node in cluster.nodes:
        assert node.release == release
        after = served_by(answers, node.name, node.switched)
        assert after, f"nobody came to {node.name}"
        assert made_of(after) == {release}
        assert not [answer for answer in firsts(after) if not answer.is_hit and is_kept(answer.url)]
        assert not cold_pages(node, cluster, release)


def cold_pages(node: WebNode, cluster: Cluster, release: str) -> list[str]:
    """Find the pages that a node has to make, and so would let a visitor wait for."""
    urls = [*application.pages(cluster.products), application.asset(release)]
    return [url for url in urls if not node.get(url).is_hit]


def is_kept(url: str) -> bool:
    """Whether a page may be cached."""
    return url != application.CART
