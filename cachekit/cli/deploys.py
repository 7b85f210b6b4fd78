"""One run of a plan, or a look at one: settings, facts of the deploy, plan, run, report."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import click

from cachekit.checks.texts import FACTS
from cachekit.cli import choices, overlap
from cachekit.cli.ci import publish
from cachekit.cli.extras import refuse_unwritable, write_extras
from cachekit.cli.output import Report, report_to
from cachekit.cli.progress import failures_as_they_come, progress
from cachekit.cli.run import signals
from cachekit.context import detect
from cachekit.deploy import history as records
from cachekit.deploy.compile import compile_plan
from cachekit.deploy.runner import run_plan
from cachekit.deploy.survey import survey
from cachekit.deploy.work import DeployPlan
from cachekit.errors import ConfigError, ExitCode, JournalError, LockedError, Problem
from cachekit.events import Event, Listener, StepEnded, StepStarted
from cachekit.model import shown
from cachekit.reports import runs, skipped
from cachekit.runs import RunReport
from cachekit.settings import Settings
from cachekit.warming.stop import Stop


def run(options: Mapping[str, Any]) -> int:
    """Run a plan as the options say; return the exit code. Raises CachekitError."""
    refuse_unwritable(options)
    if options["dry_run"]:
        return look(options)
    settings = choices.settings_from_file(options["settings_path"], os.environ)
    state_dir = _state_dir(settings, options)
    overlap.refuse_if_held(options, state_dir, settings.site)
    record = None
    if options["resume"]:
        record = records.resumable(
            state_dir, settings.site, options["plan"], options["release"] or ""
        )
    plan = _plan(settings, options, record)
    with report_to(options["output"]) as output:
        last_good = records.last_good(state_dir, settings.site, plan.name, plan.facts["release"])
        if reason := overlap.why_fresh(options, last_good):
            return _skip(plan, reason, options, output)
        return _run(plan, state_dir, record, options, output)


def _run(
    plan: DeployPlan,
    state_dir: Path,
    record: records.Record | None,
    options: Mapping[str, Any],
    output: Report,
) -> int:
    stop = Stop(options["deadline"] or plan.seconds)
    with _listening(options) as listeners, signals(stop) as caught:
        try:
            report = run_plan(
                plan,
                state_dir,
                stop=stop,
                resume=record,
                listeners=listeners,
                force=options["force"],
                patience=overlap.patience(options, options["deadline"] or plan.seconds),
            )
        except LockedError as error:
            return overlap.must_end(options, error, caught) or _skip(
                plan, str(error), options, output
            )
    if caught and report.ended_early:
        report = replace(report, exit_code=caught[0])
    output.finish(_rendered(report, options))
    write_extras(report, options)
    publish(report, options, os.environ)
    return report.exit_code


def _skip(plan: DeployPlan, reason: str, options: Mapping[str, Any], output: Report) -> int:
    output.finish(skipped.render("run", plan.settings.site, reason, options["output_format"]))
    return ExitCode.OK


def look(options: Mapping[str, Any]) -> int:
    """Show what a run of a plan would do; return the exit code. Raises CachekitError."""
    settings = choices.settings_from_file(options["settings_path"], os.environ)
    plan = _plan(settings, options, None)
    found = survey(plan, _state_dir(settings, options), force=options["force"])
    with report_to(options["output"]) as output:
        json = options["output_format"] == "json"
        output.finish(runs.forecast_json(found) if json else runs.forecast(found))
    return found.exit_code


def refuse_plans(settings: Settings) -> None:
    """Refuse plans that could not run for any release. Raises ConfigError with all of them."""
    release, previous = settings.release or "next", settings.previous or "last"
    named = replace(settings, release=release, previous=previous)
    backs = {plan.rollback for plan in settings.plans.values()}
    problems: list[Problem] = []
    for name in settings.plans:
        facts = {"release": release, "previous": previous}
        facts["rollback"] = "true" if name in backs else ""
        try:
            compile_plan(named, name, dict.fromkeys(FACTS, "") | facts)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))


def history(options: Mapping[str, Any]) -> int:
    """List the runs of plans."""
    newest = islice(records.records(_any_state_dir(options)), options["limit"])
    found = [record.report() for record in newest]
    if options["output_format"] == "json":
        click.echo("".join(map(runs.render_json, found)), nl=False)
    else:
        click.echo(runs.history(found), nl=False)
    return 0


def show(options: Mapping[str, Any]) -> int:
    """Show the report of one run."""
    refuse_unwritable(options)
    report = records.find(_any_state_dir(options), options["run"]).report()
    with report_to(options["output"]) as output:
        output.finish(_rendered(report, options))
    write_extras(report, options)
    return 0


def _plan(
    settings: Settings, options: Mapping[str, Any], record: records.Record | None
) -> DeployPlan:
    facts = _facts(settings, options) if record is None else record.run["facts"]
    named = replace(settings, release=facts["release"], previous=facts["previous"])
    # Here, `--release` is no more than one way to say it.
    choices.checked(named, {**options, "release": None})
    plan = compile_plan(named, options["plan"], facts, force=options["force"])
    if record is not None and record.run["digest"] != plan.digest:
        raise JournalError(
            f"{record.path}: the plan {plan.name} was changed since this run; run it without"
            " --resume"
        )
    return plan


def _facts(settings: Settings, options: Mapping[str, Any]) -> dict[str, str]:
    """Give what is known of the deploy: options go over settings, those over what is found."""
    context = detect(os.environ, Path())
    for each in context.notes:
        click.echo(f"cachekit: {each}", err=True)
    found = context.facts()
    # A variable that is set for cachekit alone is meant, whatever release it is.
    said = found["previous"] if context.previous.origin == "$CACHEKIT_PREVIOUS" else ""
    release = options["release"] or settings.release
    previous = options["previous"] or settings.previous or said
    # The previous release that was found belongs to the release that was found.
    if not previous and release in ("", found["release"]):
        previous = found["previous"]
    backs = {plan.rollback for plan in settings.plans.values()}
    back = options["rollback"] or options["plan"] in backs or found["rollback"]
    return {
        **found,
        "release": release or found["release"],
        "previous": previous,
        "rollback": "true" if back else "",
    }


def _state_dir(settings: Settings, options: Mapping[str, Any]) -> Path:
    given: Path | None = options["state_dir"]
    return given or choices.state_dir_of(settings, os.environ)


def _any_state_dir(options: Mapping[str, Any]) -> Path:
    """Find the runs also where there are no settings."""
    if options["state_dir"] is not None:
        return Path(options["state_dir"])
    return choices.state_dir_of(
        choices.settings_from_file(options["settings_path"], os.environ), os.environ
    )


@contextmanager
def _listening(options: Mapping[str, Any]) -> Iterator[list[Listener]]:
    with progress(quiet=options["quiet"]) as listeners:
        if not options["quiet"]:
            listeners.append(_log)
        if options["verbose"]:
            listeners.append(failures_as_they_come)
        yield listeners


def _log(event: Event) -> None:
    if isinstance(event, StepStarted):
        click.echo(shown(f"started  {event.id}  {event.title}"), err=True)
    elif isinstance(event, StepEnded):
        click.echo(runs.line(event.step), err=True)


def _rendered(report: RunReport, options: Mapping[str, Any]) -> str:
    if options["output_format"] == "junit":
        from cachekit.reports import junit

        return junit.render_run(report)
    json = options["output_format"] == "json"
    return runs.render_json(report) if json else runs.render(report)
