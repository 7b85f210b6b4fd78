"""Progress in a log: it tells where a run stands even when nothing gets done."""

import time
from collections.abc import Iterator

import pytest

from cachekit.cli.progress import Progress
from cachekit.events import FILL, Asked, PassFinished, PassStarted, TargetDone
from cachekit.model import Verdict
from tests.servers.process import wait_until

INTERVAL = 0.01


def done(*, ok: bool) -> TargetDone:
    return TargetDone(Asked(FILL, "web1"), 0, b"/", ok, Verdict.MISS, 200, 0.1, 0, (), "")


@pytest.fixture
def progress() -> Iterator[Progress]:
    shown = Progress(terminal=False, interval=INTERVAL)
    yield shown
    shown.close()


class Log:
    """What stderr heard so far."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.text = ""

    def says(self, words: str) -> bool:
        def heard() -> bool:
            self.text += self._capsys.readouterr().err
            return words in self.text

        return wait_until(heard, seconds=30)


@pytest.fixture
def log(capsys: pytest.CaptureFixture[str]) -> Log:
    return Log(capsys)


def test_a_pass_in_which_nothing_is_done_says_so(progress: Progress, log: Log) -> None:
    progress(PassStarted(FILL, 5))
    assert log.says("fill pass: 0 of 5, 0.0/s, 0 failed\n")


def test_few_targets_are_counted_as_well_as_many(progress: Progress, log: Log) -> None:
    progress(PassStarted(FILL, 5))
    progress(done(ok=True))
    progress(done(ok=False))
    assert log.says("fill pass: 2 of 5, ")
    assert log.says("/s, 1 failed, about ")


def test_nothing_is_said_after_a_pass(
    progress: Progress, capsys: pytest.CaptureFixture[str]
) -> None:
    progress(PassStarted(FILL, 1))
    progress(PassFinished(FILL))
    time.sleep(5 * INTERVAL)
    assert "fill pass: 0 done in " in capsys.readouterr().err.splitlines()[-1]
