"""Where output goes: the report to stdout or a file, progress and log to stderr."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import click

from cachekit.errors import ConfigError
from cachekit.events import Event, NodeAbandoned, PassFinished, PassStarted, RunPlanned, TargetDone
from cachekit.quantities import format_seconds

_LOG_INTERVAL_SECONDS = 10.0
_BAR_INTERVAL_SECONDS = 0.1


@contextmanager
def atomic_output(path: Path | None) -> Iterator[TextIO]:
    """Give stdout, or a file that appears complete or not at all. Raises ConfigError."""
    if path is None:
        yield sys.stdout
        return
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            yield file
        partial.replace(path)
    except OSError as error:
        raise ConfigError(f"--output {path}: cannot be written: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)


class Progress:
    """A listener that shows where a run stands: a bar on a terminal, a line every 10 s in a log."""

    def __init__(self, *, terminal: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._terminal = terminal
        self._clock = clock
        self._bar: Any = None
        self._task: Any = None
        self._next_look = 0.0
        self._interval = _BAR_INTERVAL_SECONDS if terminal else _LOG_INTERVAL_SECONDS
        self._begin("", 0)

    def __call__(self, event: Event) -> None:
        """Take note of one event."""
        if isinstance(event, TargetDone):
            self._done += 1
            self._failed += not event.ok
            # The clock of every 16th target is enough, and cheaper than the target itself.
            if not self._done & 15 and self._clock() >= self._next_look:
                self._show()
        elif isinstance(event, PassStarted):
            self._begin(event.name, event.targets)
        elif isinstance(event, PassFinished):
            self._end()
        elif isinstance(event, NodeAbandoned):
            self._say(f"node {event.node} abandoned: {event.reason}; the others go on")
        elif isinstance(event, RunPlanned):
            self._planned(event)

    def _planned(self, event: RunPlanned) -> None:
        from cachekit.reports.text import product

        plan = event.plan
        skipped = f"; {event.skipped:,} already done by the resumed run" if event.skipped else ""
        self._say(f"{plan.site}: {product(plan)}{skipped}")
        for warning in plan.warnings:
            self._say(f"WARNING: {warning}")

    def _begin(self, name: str, targets: int) -> None:
        self._name, self._targets, self._done, self._failed = name, targets, 0, 0
        self._began = self._clock()
        self._next_look = self._began + self._interval
        if self._terminal and name:
            self._open_bar()

    def _end(self) -> None:
        if self._bar is not None:
            self._show()
            self._bar.stop()
            self._bar = None
        elapsed = format_seconds(self._clock() - self._began)
        self._say(f"{self._name} pass: {self._done:,} done in {elapsed}, {self._failed:,} failed")

    def _show(self) -> None:
        now = self._clock()
        self._next_look = now + self._interval
        rate = self._done / max(now - self._began, 0.001)
        if self._bar is not None:
            self._bar.update(
                self._task, completed=self._done, rate=f"{rate:,.0f}/s", failed=self._failed
            )
            return
        left = format_seconds(max(0, self._targets - self._done) / max(rate, 0.001))
        self._say(
            f"{self._name} pass: {self._done:,} of {self._targets:,}, {rate:,.0f}/s,"
            f" {self._failed:,} failed, about {left} left"
        )

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

    def _say(self, line: str) -> None:
        click.echo(line, err=True)


def failures_as_they_come(event: Event) -> None:
    """Print each failed target at once; what `-v` adds."""
    if isinstance(event, TargetDone) and not event.ok:
        result = event.result()
        reasons = ", ".join(result.reasons)
        click.echo(
            f"{result.pass_name} {result.node} {result.url}: {reasons} {result.detail}", err=True
        )


def progress(*, quiet: bool) -> list[Callable[[Event], None]]:
    """Give the listener that fits stderr, or none."""
    return [] if quiet else [Progress(terminal=sys.stderr.isatty())]
