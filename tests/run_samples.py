"""Runs for tests of reports: their documents come from real warms and clears of the demo's site."""

import functools
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cachekit.demo.site import open_site
from cachekit.documents import warm_report
from cachekit.golive.base import Standing
from cachekit.results import WarmReport
from cachekit.runs import NodeReport, RunOutcome, RunReport, StepReport
from tests.command import Cachekit

STARTED = 1_795_600_000.0
GO_LIVE = "all thresholds met"
NO_GO = "min_ok: 99.02% (203 of 205 targets); wanted at least 100%"


@dataclass(frozen=True)
class Documents:
    """What `--format json` printed."""

    good: dict[str, Any]
    bad: dict[str, Any]
    good_node1: dict[str, Any]
    bad_node2: dict[str, Any]
    clear: dict[str, Any]
    failed_clear: dict[str, Any]


@functools.cache
def documents() -> Documents:
    """Warm the demo's site on two cold nodes, and clear a folder of files there; once a process."""
    with open_site(None) as site, tempfile.TemporaryDirectory(prefix="ck-") as folder:
        command = Cachekit(Path(folder))
        cached = Path(folder) / "twig" / "ab"
        cached.mkdir(parents=True)
        for number in range(40):
            (cached / f"{number}.php").write_text("<?php")
        settings = Path(folder) / "cachekit.yaml"
        cache = "caches:\n  views: {type: files, on: node1, path: %s, adopt: %s}\n"
        settings.write_text(site.settings + cache % (cached.parent, "false"))
        clear = ("clear", "views", "--everything", "--yes", "--format", "json")
        failed_clear = command.run(*clear).report
        settings.write_text(site.settings + cache % (cached.parent, "true"))

        def warm(*options: str) -> dict[str, Any]:
            site.forget()
            return command.run("warm", "--format", "json", *options).report

        good = ("--exclude", "/broken", "--exclude", "/account")
        return Documents(
            good=warm(*good),
            bad=warm(),
            good_node1=warm("--node", "node1", *good),
            bad_node2=warm("--node", "node2"),
            clear=command.run(*clear).report,
            failed_clear=failed_clear,
        )


def good_warm() -> WarmReport:
    """Give the report of a warm that is go."""
    return warm_report(documents().good)


def bad_warm() -> WarmReport:
    """Give the report of a warm that is no-go."""
    return warm_report(documents().bad)


def step(
    number: str, title: str, action: str, at: float, elapsed: float, **more: Any
) -> StepReport:
    """Make a step that began so many seconds after the run."""
    chosen: dict[str, Any] = {
        "outcome": RunOutcome.DONE,
        "started": STARTED + at,
        "elapsed": elapsed,
    } | more
    return StepReport(id=number, title=title, action=action, **chosen)


def failed_roll() -> RunReport:
    """Give a rolling deploy of which one node fails its gate and stays out."""
    found = documents()
    both, one, other = ("node1", "node2"), ("node1",), ("node2",)
    steps = (
        step(
            "1", "wait for release r42", "check", 0, 2.1, nodes=both,
            evidence=("node1: /srv/shop/current/REVISION says r42",),
        ),
        step("2a", "clear views", "clear", 2.1, 1.4, nodes=one, document=found.clear),
        step("2b", "run bin/migrate-caches", "run", 2.1, 6.2, evidence=("here: exit 0",)),
        step(
            "3/node1/out", "take node1 out", "golive", 8.3, 3.1, nodes=one,
            evidence=("HAProxy at /run/haproxy.sock: shop/node1 is in maint, 0 sessions",),
        ),
        step(
            "3/node1/1", "warm all", "warm", 11.4, 9.4, nodes=one,
            document=found.good_node1,
        ),
        step(
            "3/node1/in", "put node1 in", "golive", 20.8, 0.6, nodes=one,
            evidence=("HAProxy at /run/haproxy.sock: shop/node1 is ready and UP",),
        ),
        step(
            "3/node2/out", "take node2 out", "golive", 21.4, 4.0, nodes=other,
            warnings=("2 sessions were left after 4 s and were cut",),
        ),
        step(
            "3/node2/1", "warm all", "warm", 25.4, 11.3, nodes=other, outcome=RunOutcome.FAILED,
            reason=NO_GO, lost={"node2": NO_GO}, document=found.bad_node2,
        ),
        step(
            "3", "roll", "roll", 8.3, 28.4, nodes=both, outcome=RunOutcome.FAILED,
            reason="1 of 2 nodes failed", lost={"node2": NO_GO},
        ),
        step(
            "4", "purge the edge", "run", 36.8, 0, outcome=RunOutcome.SKIPPED,
            reason="an earlier step failed",
        ),
    )  # fmt: skip
    return RunReport(
        run="20261125T094640Z-deploy",
        plan="deploy",
        site="http://shop.example",
        release="r42",
        previous="r41",
        facts={
            "release": "r42",
            "previous": "r41",
            "tool": "capistrano",
            "environment": "production",
            "actor": "alice",
        },
        started=STARTED,
        elapsed=36.9,
        outcome=RunOutcome.FAILED,
        exit_code=1,
        ended_early="",
        warnings=("priming beside the live release: 212 MB of 1 GB are left on node1",),
        steps=steps,
        nodes=(
            NodeReport(name="node1", standing=Standing.IN),
            NodeReport(name="node2", standing=Standing.OUT, reason=NO_GO),
        ),
    )


def good_run() -> RunReport:
    """Give a deploy of which all is done, resumed after a night."""
    found = documents()
    both = ("node1", "node2")
    steps = (
        step("1", "clear views", "clear", 0, 1.4, nodes=both, document=found.clear, resumed=True),
        step("2", "warm all", "warm", 41_000, 12.2, nodes=both, document=found.good),
        step("3", "go live", "golive", 41_012.2, 0.4, nodes=both),
    )
    nodes = tuple(NodeReport(name=name, standing=Standing.IN) for name in both)
    return replace(
        failed_roll(),
        run="20261125T094640Z-deploy-1",
        outcome=RunOutcome.DONE,
        exit_code=0,
        elapsed=41_012.6,
        warnings=(),
        steps=steps,
        nodes=nodes,
    )


def unproven_run() -> RunReport:
    """Give a deploy that proves less than it should: degraded, and with an unknown standing."""
    good = good_run()
    clear, warm, golive = good.steps
    steps = (
        replace(clear, outcome=RunOutcome.UNKNOWN, reason="nothing proves that it took effect"),
        replace(
            warm, outcome=RunOutcome.DEGRADED, document=documents().good | {"outcome": "degraded"}
        ),
        replace(golive, outcome=RunOutcome.UNKNOWN, reason="node2: no answer within 10 s"),
    )
    nodes = (*good.nodes[:1], NodeReport(name="node2", standing=Standing.UNKNOWN))
    return replace(
        good, outcome=RunOutcome.UNKNOWN, exit_code=3, steps=steps, nodes=nodes,
        ended_early="stopped by SIGTERM",
    )  # fmt: skip


def named(text: str) -> RunReport:
    """Give the failed roll with this text wherever text comes from outside."""
    run = failed_roll()
    steps = tuple(
        replace(
            step, id=f"{step.id}{text}", title=text, reason=text, nodes=(text,), evidence=(text,),
            warnings=(text,), lost={text: text}, document=_named(step.document, text),
        )
        for step in run.steps
    )  # fmt: skip
    return replace(
        run, run=text, plan=text, site=text, release=text, previous=text, facts={text: text},
        ended_early=text, warnings=(text,), steps=steps,
        nodes=tuple(NodeReport(name=text, standing=Standing.OUT, reason=text) for _ in run.nodes),
    )  # fmt: skip


_WORDS = ("command", "outcome", "pass_name", "verdict")


def _named(found: Any, text: str) -> Any:
    """Put the text into a document, but for the words that cachekit itself puts there."""
    if isinstance(found, dict):
        return {
            key: each if key in (*_WORDS, "node_outcomes", "version") else _named(each, text)
            for key, each in found.items()
        }
    if isinstance(found, list):
        return [_named(each, text) for each in found]
    return text if isinstance(found, str) else found
