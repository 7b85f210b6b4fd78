"""One invalidation: changes, plan, question, run, report."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cachekit.chunks import Course
from cachekit.cli import act
from cachekit.cli.output import report_to
from cachekit.cli.progress import progress
from cachekit.cli.run import signals
from cachekit.deadline import Deadline
from cachekit.errors import ConfigError
from cachekit.execution import Limits
from cachekit.invalidation import run
from cachekit.invalidation.plan import plan_invalidation
from cachekit.invalidation.reading import Changes, read_between, read_listing
from cachekit.reports import invalidation, invalidation_json
from cachekit.settings import Settings
from cachekit.warming.stop import Stop


def invalidate(options: Mapping[str, Any]) -> int:
    """Invalidate what the options say; return the exit code. Raises CachekitError."""
    settings, selection, conditions = act.start(options)
    plan = plan_invalidation(_changes(options), settings, selection, conditions)
    stop = Stop(settings.warm.budget)
    with (
        report_to(options["output"]) as output,
        progress(quiet=options["quiet"]) as listeners,
        signals(stop) as caught,
    ):
        course = Course(
            conditions=conditions,
            stop=stop,
            limits=Limits(step_seconds=options["deadline"], keep_going=options["keep_going"]),
            selection=selection,
            step_listener=None if options["quiet"] else act.log,
            listeners=listeners,
        )
        report = run.look(plan, settings, course)
        if not options["dry_run"]:
            report = _run(report, settings, course, options)
        code = caught[0] if caught and report.ended_early else report.outcome.exit_code
        output.finish(_rendered(report, options, code))
    return code


def _run(
    looked: run.InvalidationReport, settings: Settings, course: Course, options: Mapping[str, Any]
) -> run.InvalidationReport:
    plan = looked.plan
    if not options["yes"] and not plan.is_refused and (plan.clears or plan.warms or plan.within):
        act.ask(invalidation.render_plan(looked), "clear and warm this?")
    return run.invalidate(looked, settings, course)


def _changes(options: Mapping[str, Any]) -> Changes:
    old, new, listing = options["old"], options["new"], options["listing"]
    if (listing is None) is (old is None and new is None) or (old is None) is not (new is None):
        raise ConfigError(
            "say what changed: by --from and --to, or by --changes paths or rsync and a list on"
            " standard input"
        )
    if listing is None:
        deadline = Deadline(options["deadline"])
        repository: Path = options["repository"]
        return read_between(old, new, repository, deadline)
    return read_listing(listing, sys.stdin.buffer.read())


def _rendered(report: run.InvalidationReport, options: Mapping[str, Any], code: int) -> str:
    dry_run = options["dry_run"]
    if options["output_format"] == "json":
        return invalidation_json.render(report, code, dry_run=dry_run)
    return invalidation.render_plan(report) if dry_run else invalidation.render(report)
