"""What stderr hears of a run while it lasts."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event as Flag
from threading import Thread
from typing import Any

import click

from cachekit.events import (
    Event,
    Listener,
    NodeAbandoned,
    PassFinished,
    PassStarted,
    RunPlanned,
    TargetDone,
)
from cachekit.quantities import format_seconds

_LOG_INTERVAL_SECONDS = 10.0
_BAR_INTERVAL_SECONDS = 0.1


@contextmanager
def progress(*, quiet: bool) -> Iterator[list[Listener]]:
    """Give the listener that fits stderr, or none."""
    if quiet:
        yield []
        return
    terminal = sys.stderr.isatty()
    shown = Progress(
        terminal=terminal, interval=_BAR_INTERVAL_SECONDS if terminal else _LOG_INTERVAL_SECONDS
    )
    try:
        yield [shown]
    finally:
        shown.close()


def failures_as_they_come(event: Event) -> None:
    """Print each failed target at once; what `-v` adds."""
    if isinstance(event, TargetDone) and not event.ok:
        result = event.result()
        reasons = ", ".join(result.reasons)
        _say(f"{result.pass_name} {result.node} {result.url}: {reasons} {result.detail}")


class Progress:
    """A listener that shows where a run stands: a bar on a terminal, else a line now and then."""

    def __init__(self, *, terminal: bool, interval: float) -> None:
        self._terminal = terminal
        self._interval = interval
        self._name, self._targets, self._done, self._failed = "", 0, 0, 0
        self._began = 0.0
        self._ticker: _Ticker | None = None
        self._bar: Any = None
        self._task: Any = None

    def __call__(self, event: Event) -> None:
        """Take note of one event."""
        if isinstance(event, TargetDone):
            self._done += 1
            self._failed += not event.ok
        elif isinstance(event, PassStarted):
            self._begin(event.name, event.targets)
        elif isinstance(event, PassFinished):
            self._end()
        elif isinstance(event, NodeAbandoned):
            _say(f"node {event.node} abandoned: {event.reason}; the others go on")
        elif isinstance(event, RunPlanned):
            _planned(event)

    def close(self) -> None:
        """Show nothing more."""
        if self._ticker is not None:
            self._ticker.stop()
            self._ticker = None
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _begin(self, name: str, targets: int) -> None:
        self._name, self._targets, self._done, self._failed = name, targets, 0, 0
        self._began = time.monotonic()
        if self._terminal:
            self._open_bar()
        # Not by the targets that are done: when none is, people most want to know where it stands.
        self._ticker = _Ticker(self._interval, self._show)

    def _end(self) -> None:
        self.close()
        elapsed = format_seconds(time.monotonic() - self._began)
        _say(f"{self._name} pass: {self._done:,} done in {elapsed}, {self._failed:,} failed")

    def _show(self) -> None:
        done, failed = self._done, self._failed
        rate = done / max(time.monotonic() - self._began, 0.001)
        pace = f"{rate:,.{0 if rate >= 10 else 1}f}/s"
        if self._bar is not None:
            self._bar.update(self._task, completed=done, rate=pace, failed=failed)
            return
        left = f", about {format_seconds((self._targets - done) / rate)} left" if done else ""
        _say(f"{self._name} pass: {done:,} of {self._targets:,}, {pace}, {failed:,} failed{left}")

    def _open_bar(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:,}/{task.total:,} {task.fields[rate]}"),
            TextColumn("{task.fields[failed]} failed"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task(self._name, total=self._targets, rate="", failed=0)
        self._bar.start()


class _Ticker:
    """Calls a function at intervals, in a thread of its own, until it is stopped."""

    def __init__(self, seconds: float, tick: Callable[[], None]) -> None:
        self._seconds = seconds
        self._tick = tick
        self._stopped = Flag()
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(self._seconds):
            self._tick()


def _planned(event: RunPlanned) -> None:
    from cachekit.reports.text import product

    plan = event.plan
    skipped = f"; {event.skipped:,} already done by the resumed run" if event.skipped else ""
    _say(f"{plan.site}: {product(plan)}{skipped}")
    for warning in plan.warnings:
        _say(f"WARNING: {warning}")


def _say(line: str) -> None:
    click.echo(line, err=True)
