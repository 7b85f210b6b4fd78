"""Runs in Python: one budget for all of it, and a report whatever becomes of the record."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from cachekit.errors import LockedError
from cachekit.events import Event, PassFinished, TargetDone
from cachekit.lock import locked
from cachekit.model import Node, parse_address
from cachekit.settings import Settings, WarmList, WarmSettings
from cachekit.sources.base import Source
from cachekit.sources.sitemap import Sitemap
from cachekit.sources.url_list import Urls
from cachekit.warming.warmer import warm
from tests.servers.origin import Origin

SITE = "http://shop.example"
PAGES = tuple(f"/{number}" for number in range(100))


def settings(node: Origin, source: Source, **options: object) -> Settings:
    return Settings(
        site=SITE,
        nodes={"web1": Node(name="web1", address=parse_address(node.address))},
        warmlists={"all": WarmList(source=source)},
        warm=WarmSettings(concurrency=2, **options),  # type: ignore[arg-type]
    )


def fill_disk_of(name: str) -> None:
    """Let every further write to an open file of this process fail as on a full disk."""
    full = os.open("/dev/full", os.O_WRONLY)
    for entry in Path("/proc/self/fd").iterdir():
        if entry.is_symlink() and entry.readlink().name == name:
            os.dup2(full, int(entry.name))
    os.close(full)


def test_a_full_disk_ends_a_run_early_with_a_report(tmp_path: Path, origin: Origin) -> None:
    done: list[TargetDone] = []

    def listen(event: Event) -> None:
        if isinstance(event, TargetDone):
            done.append(event)
            if len(done) == 10:
                fill_disk_of("targets.jsonl")

    report = warm(settings(origin, Urls(urls=PAGES)), tmp_path, listeners=[listen])
    assert "the run cannot be recorded: No space left on device" in report.ended_early
    assert report.exit_code == 1
    assert 10 <= report.total.asked < len(PAGES)
    assert report.total.asked == len(origin.requests), "what was in flight is counted, too"


def test_what_was_found_stands_where_its_end_cannot_be_recorded(
    tmp_path: Path, origin: Origin
) -> None:
    def listen(event: Event) -> None:
        if isinstance(event, PassFinished):
            (run,) = (tmp_path / "runs").iterdir()
            (run / "run.json.partial").mkdir(exist_ok=True)

    report = warm(settings(origin, Urls(urls=PAGES)), tmp_path, listeners=[listen])
    assert (report.exit_code, report.ended_early) == (0, "")
    (warning,) = report.warnings
    assert "the run cannot be recorded: Is a directory" in warning


def test_planning_spends_the_budget_of_the_run(tmp_path: Path, origin: Origin) -> None:
    # Longer than the budget, and within the time that what is in flight is given to end.
    origin.page(
        "/sitemap.xml", body=f"{SITE}/a\n", headers={"Content-Type": "text/plain"}, delay=1.1
    )
    source = Sitemap(sitemap=f"{SITE}/sitemap.xml")
    report = warm(settings(origin, source, budget=1.0), tmp_path)
    assert report.ended_early == "the time budget of 1 s is spent"
    assert report.targets == 1
    assert origin.targets() == [b"/sitemap.xml"]


def test_the_lock_is_that_of_the_place_however_it_is_written(
    tmp_path: Path, origin: Origin
) -> None:
    chosen = settings(origin, Urls(urls=("/",)))
    written = Node(name="other", address=parse_address(origin.host), ports={"http": origin.port})
    with (
        locked(tmp_path, SITE, [f"{origin.host}:{origin.port}"]),
        pytest.raises(LockedError, match=f"{SITE} on {origin.address} is being warmed"),
    ):
        warm(replace(chosen, nodes={"other": written}), tmp_path)
    assert not origin.requests
