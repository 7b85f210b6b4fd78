"""One run of `cachekit warm`: plan, show, run, report."""

import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from cachekit.cli import choices, overlap
from cachekit.cli.ci import publish
from cachekit.cli.extras import refuse_unwritable, write_extras
from cachekit.cli.output import Report, report_to
from cachekit.cli.progress import failures_as_they_come, progress
from cachekit.errors import ConfigError, ExitCode, LockedError
from cachekit.events import Listener
from cachekit.renewal import Lifetimes, renewed
from cachekit.reports import machine, skipped, text
from cachekit.results import WarmReport
from cachekit.settings import Settings
from cachekit.warming import journal
from cachekit.warming.plan import WarmPlan, plan_warm
from cachekit.warming.stop import Stop
from cachekit.warming.warmer import run_warm

_SIGNALS = {signal.SIGINT: ExitCode.INTERRUPTED, signal.SIGTERM: ExitCode.TERMINATED}


def run(options: Mapping[str, Any]) -> int:
    """Do what the options say; return the exit code. Raises CachekitError."""
    if options["dry_run"] and options["output_format"] == "junit":
        raise ConfigError("--format junit: a plan has none; --dry-run takes text and json")
    refuse_unwritable(options)
    settings = choices.settings_of(options, os.environ)
    _refuse_blind_renewal(settings, options)
    state_dir = choices.state_dir_of(settings, os.environ)
    overlap.refuse_if_held(options, state_dir, settings.site)
    stop = Stop(settings.warm.budget)
    with leaving(), tempfile.TemporaryDirectory(prefix="cachekit-") as scratch:
        with leaving_after(settings.warm.budget):
            plan = plan_warm(
                settings,
                nodes=choices.nodes_of(settings, options["nodes"], options["groups"]),
                lists=choices.lists_of(options),
                variants=choices.variants_of(options),
                spool=Path(scratch) / "urls",
                stop=stop,
            )
        with report_to(options["output"]) as output:
            if options["dry_run"]:
                output.finish(_plan_text(plan, options["output_format"]))
                return ExitCode.OK
            if reason := _why_fresh(plan, state_dir, options):
                return _skip(plan, reason, options, output)
            return _warm(plan, state_dir, stop, options, output)


def _refuse_blind_renewal(settings: Settings, options: Mapping[str, Any]) -> None:
    if options["expiring_within"] is None:
        return
    if options["resume"]:
        raise ConfigError("--expiring-within: a resumed run does not look again at what was done")
    if not settings.warm.verify:
        raise ConfigError(
            "--expiring-within: --verify off leaves out the headers that tell lifetimes"
        )


def _why_fresh(plan: WarmPlan, state_dir: Path, options: Mapping[str, Any]) -> str:
    if options["max_age"] is None:
        return ""
    return overlap.why_fresh(options, journal.last_good(state_dir, plan.key, plan.urls.digest))


def _skip(plan: WarmPlan, reason: str, options: Mapping[str, Any], output: Report) -> int:
    output.finish(skipped.render("warm", str(plan.site), reason, options["output_format"]))
    return ExitCode.OK


def _warm(
    plan: WarmPlan, state_dir: Path, stop: Stop, options: Mapping[str, Any], output: Report
) -> int:
    with progress(quiet=options["quiet"]) as listeners, signals(stop) as caught:
        if options["verbose"]:
            listeners.append(failures_as_they_come)
        if options["output_format"] == "jsonl":
            listeners.append(machine.target_lines(output.add))
        try:
            report = _warmed(plan, state_dir, stop, options, listeners)
        except LockedError as error:
            return overlap.must_end(options, error, caught) or _skip(
                plan, str(error), options, output
            )
    if caught and report.ended_early:
        report = replace(report, exit_code=caught[0])
    output.finish(_rendered(report, options["output_format"]))
    publish(report, options, os.environ)
    write_extras(report, options)
    return report.exit_code


def _warmed(
    plan: WarmPlan,
    state_dir: Path,
    stop: Stop,
    options: Mapping[str, Any],
    listeners: Sequence[Listener],
) -> WarmReport:
    horizon = options["expiring_within"]
    lifetimes = None if horizon is None else Lifetimes(horizon)
    report = run_warm(
        plan,
        state_dir,
        resume=options["resume"],
        stop=stop,
        listeners=[*listeners, lifetimes] if lifetimes else listeners,
        max_listed=options["max_listed"],
        patience=overlap.patience(options, plan.settings.warm.budget),
    )
    return renewed(report, plan, lifetimes, state_dir, stop) if lifetimes else report


def _rendered(report: WarmReport, output_format: str) -> str:
    if output_format == "junit":
        from cachekit.reports import junit

        return junit.render(report)
    if output_format == "jsonl":
        return machine.last_line(report)
    return machine.render(report) if output_format == "json" else text.render(report)


def _plan_text(plan: WarmPlan, output_format: str) -> str:
    if output_format in ("json", "jsonl"):
        return machine.plan(plan.facts)
    return text.plan(plan.facts)


@contextmanager
def leaving() -> Iterator[None]:
    """Let SIGINT and SIGTERM end the process, yet not before what was opened is put away."""

    def handle(number: int, _frame: object) -> None:
        name = signal.Signals(number)
        _say(f"ended by {name.name}")
        # No KeyboardInterrupt: where libcurl calls back, that is no more than a traceback.
        sys.exit(_SIGNALS[name])

    with _handled_by(handle):
        yield


@contextmanager
def leaving_after(seconds: float | None) -> Iterator[None]:
    """End the process once the time is spent, whatever it waits for: a list on stdin may never end.

    Nothing was asked yet, so there is nothing to report.
    """

    def handle(_number: int, _frame: object) -> None:
        _say(f"the time budget of {seconds:g} s was spent before anything was asked")
        sys.exit(ExitCode.FAILED)

    with _handled_by(handle, (signal.SIGALRM,)):
        signal.setitimer(signal.ITIMER_REAL, seconds or 0)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)


@contextmanager
def signals(stop: Stop) -> Iterator[list[int]]:
    """Turn SIGINT and SIGTERM into a stop in order: a report is still written."""
    caught: list[int] = []

    def handle(number: int, _frame: object) -> None:
        name = signal.Signals(number)
        caught.append(_SIGNALS[name])
        stop.request(f"stopped by {name.name}")
        _say(f"{name.name}: finishing what is in flight; again to cut it")

    with _handled_by(handle):
        yield caught


@contextmanager
def _handled_by(
    handle: Callable[[int, object], None], numbers: Iterable[signal.Signals] = _SIGNALS
) -> Iterator[None]:
    previous = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _say(text: str) -> None:
    # Not by click.echo: Python's streams refuse a writer that interrupted itself.
    with suppress(OSError):
        os.write(sys.stderr.fileno(), f"cachekit: {text}\n".encode())
