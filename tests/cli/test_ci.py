"""What `cachekit warm` tells GitHub Actions, beside its report."""

import pytest

from tests.command import Cachekit, Finished
from tests.servers.origin import Origin

URL = "http://shop.example/bad"


@pytest.fixture
def failing(cachekit: Cachekit, origin: Origin) -> Cachekit:
    """Run where GitHub Actions runs it, on a page that fails."""
    origin.page("/bad", status=500)
    cachekit.environment |= {
        "GITHUB_ACTIONS": "true",
        "GITHUB_STEP_SUMMARY": str(cachekit.folder / "summary.md"),
    }
    return cachekit


def warm(cachekit: Cachekit, origin: Origin, *options: str) -> Finished:
    return cachekit.warm("--url", URL, "--node", origin.address, "--quiet", *options)


def annotated(done: Finished) -> list[str]:
    assert "::error" not in done.stdout
    return [line for line in done.stderr.splitlines() if line.startswith("::")]


def test_annotations_and_a_summary_where_github_runs_it(failing: Cachekit, origin: Origin) -> None:
    done = warm(failing, origin)
    assert done.code == 1
    assert done.stdout.startswith("NO-GO")
    assert annotated(done)[0] == (
        "::error title=cachekit warm%3A min_ok::0%25 (0 of 1 targets); wanted at least 100%25"
    )
    summary = failing.folder / "summary.md"
    assert summary.read_text().startswith("## NO-GO: cachekit warm http://shop.example\n")
    warm(failing, origin)
    assert summary.read_text().count("## NO-GO") == 2


def test_neither_elsewhere_and_neither_where_they_are_off(
    failing: Cachekit, origin: Origin
) -> None:
    assert annotated(warm(failing, origin, "--annotations", "off", "--step-summary", "off")) == []
    failing.environment = {**failing.environment, "GITHUB_ACTIONS": "", "GITHUB_STEP_SUMMARY": ""}
    assert annotated(warm(failing, origin)) == []
    assert not (failing.folder / "summary.md").exists()
    assert annotated(warm(failing, origin, "--annotations", "github"))


def test_a_summary_that_cannot_be_written_changes_no_outcome(
    failing: Cachekit, origin: Origin
) -> None:
    failing.environment["GITHUB_STEP_SUMMARY"] = "/proc/summary.md"
    done = warm(failing, origin)
    assert done.code == 1
    assert "cachekit: /proc/summary.md: no summary: " in done.stderr
    assert annotated(done)


@pytest.mark.parametrize(("written", "added"), [(899_500, False), (890_000, True)])
def test_a_summary_takes_the_room_that_is_left(
    failing: Cachekit, origin: Origin, written: int, added: bool
) -> None:
    summary = failing.folder / "summary.md"
    summary.write_text("x" * written)
    done = warm(failing, origin)
    assert (summary.stat().st_size > written) is added
    assert summary.stat().st_size <= 900_000
    assert ("no summary: the step has written enough" in done.stderr) is not added
