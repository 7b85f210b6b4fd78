"""Runs that end early: signals, `kill -9`, budgets, locks, resuming."""

import json
import re
import signal
import time
from collections import Counter
from collections.abc import Callable

import pytest

from tests.command import Cachekit
from tests.servers.nginx import Nginx
from tests.servers.origin import Origin
from tests.servers.process import wait_until

pytestmark = [pytest.mark.server, pytest.mark.end_to_end]

SITE = "http://shop.example"
PAGES = [f"/product/{number}" for number in range(300)]
CONCURRENCY = 8


def arguments(cachekit: Cachekit, node: Nginx | Origin) -> list[str]:
    urls = cachekit.write_list([SITE + page for page in PAGES])
    return [
        *(
            "warm",
            "--state-dir",
            str(cachekit.state_dir),
            "--list",
            str(urls),
            "--node",
            node.address,
        ),
        *("--concurrency", str(CONCURRENCY), "--format", "json"),
    ]


@pytest.fixture
def slow_node(origin: Origin, nginx_node: Callable[..., Nginx]) -> Nginx:
    origin.delay = 0.03
    return nginx_node()


@pytest.mark.parametrize("after", [0, 40, 290])
def test_kill_9_and_resume_loses_nothing_and_repeats_only_what_flew(
    cachekit: Cachekit, origin: Origin, after: int
) -> None:
    origin.delay = 0.03
    # The origin itself is the node: nothing in between could hide a second request.
    command = [*arguments(cachekit, origin), "--verify", "off"]
    process = cachekit.start(*command)
    assert wait_until(lambda: len(origin.requests) > after)
    process.kill()
    process.communicate()
    time.sleep(0.1)  # what flew reaches the origin still
    before = len(origin.requests)
    resumed = cachekit.run(*command, "--resume")
    assert resumed.code == 0, resumed.stderr
    asked = Counter(origin.targets())
    assert set(asked) == {page.encode() for page in PAGES}
    twice = [target for target, count in asked.items() if count == 2]
    assert max(asked.values()) <= 2
    assert len(twice) <= CONCURRENCY
    report = resumed.report
    assert report["total"]["ok"] == len(PAGES)
    resumed_asked = len(PAGES) - report["skipped"]
    assert len(origin.requests) - before == resumed_asked
    assert f"{report['skipped']} already done" in resumed.stderr or not report["skipped"]


def test_resume_refuses_a_changed_list_and_a_finished_run(
    cachekit: Cachekit, slow_node: Nginx
) -> None:
    command = arguments(cachekit, slow_node)
    assert cachekit.run(*command, "--resume").code == 2
    process = cachekit.start(*command)
    assert wait_until(lambda: any(cachekit.state_dir.rglob("targets.jsonl")))
    process.kill()
    process.communicate()
    cachekit.write_list([SITE + page for page in PAGES[1:]])
    changed = cachekit.run(*command, "--resume")
    assert changed.code == 2
    assert "list of URLs has changed" in changed.stderr
    cachekit.write_list([SITE + page for page in PAGES])
    assert cachekit.run(*command, "--resume").code == 0
    assert "no unfinished run" in cachekit.run(*command, "--resume").stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_still_gets_a_report_and_a_resumable_run(
    cachekit: Cachekit, origin: Origin, slow_node: Nginx, number: signal.Signals, code: int
) -> None:
    process = cachekit.start(*arguments(cachekit, slow_node))
    assert wait_until(lambda: len(origin.requests) > 30)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=20)
    assert process.returncode == code, stderr
    report = json.loads(stdout)
    assert report["outcome"] == "no-go"
    assert number.name in report["ended_early"]
    assert 0 < report["total"]["asked"] < len(PAGES)
    assert report["total"]["asked"] == report["total"]["ok"]
    resumed = cachekit.run(*arguments(cachekit, slow_node), "--resume")
    assert resumed.code == 0, resumed.stderr
    assert resumed.report["skipped"] == report["total"]["asked"]
    assert max(Counter(origin.targets()).values()) == 1


def test_the_budget_ends_a_run_as_no_go(cachekit: Cachekit, slow_node: Nginx) -> None:
    done = cachekit.run(*arguments(cachekit, slow_node), "--budget", "400ms")
    assert done.code == 1
    assert "time budget" in done.report["ended_early"]
    assert done.report["total"]["asked"] < len(PAGES)


def test_a_second_run_is_kept_out_and_told_by_whom(
    cachekit: Cachekit, origin: Origin, slow_node: Nginx
) -> None:
    first = cachekit.start(*arguments(cachekit, slow_node))
    assert wait_until(lambda: len(origin.requests) > 3)
    second = cachekit.run(*arguments(cachekit, slow_node))
    assert second.code == 75
    assert re.search(rf"being warmed by process {first.pid} since", second.stderr)
    first.kill()
    first.communicate()
    assert cachekit.run(*arguments(cachekit, slow_node), "--budget", "5s").code == 0
