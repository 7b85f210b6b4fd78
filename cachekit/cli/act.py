"""One clear, prime or look at caches: settings, plan, question, run, report."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

import click

from cachekit.caches.base import Conditions
from cachekit.cli import choices
from cachekit.cli.output import report_to
from cachekit.cli.run import signals
from cachekit.deadline import Deadline
from cachekit.deploy.history import records
from cachekit.errors import ConfigError
from cachekit.execution import Limits, execute, survey
from cachekit.outcomes import ActionReport, StepResult
from cachekit.plan import (
    Action,
    Plan,
    Selection,
    plan_clear,
    plan_prime,
    plan_releases,
    plan_status,
)
from cachekit.releases import named
from cachekit.reports import actions
from cachekit.scope import Kind, Scope
from cachekit.settings import Settings
from cachekit.warming.stop import Stop

_FILLINGS = ("file", "donor", "command", "path")
_LOOK_SECONDS = 20.0
_RUNS = 20


def clear(options: Mapping[str, Any]) -> int:
    """Clear what the options say; return the exit code. Raises CachekitError."""
    scope = _scope(options)
    settings, selection, conditions = start(options)
    return _act(plan_clear(settings, selection, scope, conditions), conditions, options)


def prime(options: Mapping[str, Any]) -> int:
    """Prime what the options say; return the exit code. Raises CachekitError."""
    kind, separator, value = options["source"].partition(":")
    if kind not in _FILLINGS or not separator or not value:
        raise ConfigError(
            "--from: expected file:PATH, donor:CACHE-OR-RELEASE, command:CMD or path:DIR"
        )
    settings, selection, conditions = start(options)
    return _act(plan_prime(settings, selection, kind, value, conditions), conditions, options)


def status(options: Mapping[str, Any]) -> int:
    """Tell the state of what the options say; return the exit code. Raises CachekitError."""
    unused = {"force": False, "keep_going": True, "dry_run": False}
    settings, selection, conditions = start({**options, **unused})
    return _act(plan_status(settings, selection), conditions, {**options, **unused})


def releases(options: Mapping[str, Any]) -> int:
    """List what caches hold of each release; return the exit code. Raises CachekitError."""
    unused = {"force": False, "keep_going": True, "dry_run": False}
    settings, selection, conditions = start({**options, **unused})
    plan = plan_releases(settings, selection)
    runs = [record.run for record in islice(records(conditions.state_dir), _RUNS)]
    of_runs = (run.get(key, "") for run in runs for key in ("release", "previous"))
    read = partial(named, conditions=conditions, ids=(*options["known"], *of_runs))
    return _act(plan, conditions, {**options, **unused}, read)


def look(settings: Settings, nodes: Sequence[str], groups: Sequence[str]) -> ActionReport | None:
    """Ask the caches at the chosen nodes for their state, if there are any. Raises ConfigError."""
    selection = Selection(nodes=tuple(nodes), groups=tuple(groups))
    chosen = [
        name
        for name, cache in settings.caches.items()
        if selection.narrowed(cache.places(settings.nodes))
    ]
    if not chosen:
        return None
    plan = plan_status(settings, replace(selection, caches=tuple(chosen)))
    limits = Limits(step_seconds=_LOOK_SECONDS)
    return execute(plan, _conditions(settings, _LOOK_SECONDS), limits=limits, stop=Stop(None))


def start(options: Mapping[str, Any]) -> tuple[Settings, Selection, Conditions]:
    """Read what all actions on caches share of the options. Raises ConfigError."""
    if options["deadline"] <= 0:
        raise ConfigError("--deadline: expected a time greater than 0")
    settings = choices.settings_from_file(options["settings_path"], os.environ)
    if options["release"] is not None:
        settings = choices.checked(replace(settings, release=options["release"]), options)
    if options["state_dir"] is not None:
        settings = replace(settings, state_dir=options["state_dir"])
    selection = Selection(
        caches=options["caches"], nodes=options["nodes"], groups=options["groups"]
    )
    conditions = _conditions(settings, options["deadline"])
    return settings, selection, replace(conditions, force=options["force"])


def _conditions(settings: Settings, seconds: float) -> Conditions:
    return Conditions(
        deadline=Deadline(seconds),
        state_dir=choices.state_dir_of(settings, os.environ),
        site=settings.site,
        release=settings.release,
        previous=settings.previous,
    )


def _scope(options: Mapping[str, Any]) -> Scope:
    names = {kind: "scope_release" if kind is Kind.RELEASE else kind.name.lower() for kind in Kind}
    given = {kind: options[name] for kind, name in names.items() if options[name]}
    if len(given) != 1:
        found = " and ".join(f"--{kind}" for kind in given) or "none"
        wanted = ", ".join(f"--{kind}" for kind in Kind)
        raise ConfigError(f"say what to clear by one kind of scope, found {found}; of: {wanted}")
    ((kind, value),) = given.items()
    try:
        return Scope(kind) if kind is Kind.EVERYTHING else Scope(kind, value)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _act(
    plan: Plan,
    conditions: Conditions,
    options: Mapping[str, Any],
    read: Callable[[ActionReport], ActionReport] = lambda report: report,
) -> int:
    limits = Limits(step_seconds=options["deadline"], keep_going=options["keep_going"])
    stop = Stop(None)
    with report_to(options["output"]) as output, signals(stop) as caught:
        if options["dry_run"] or (plan.action is Action.CLEAR and not options["yes"]):
            looked = survey(plan, conditions, limits=limits, stop=stop)
            if options["dry_run"]:
                output.finish(_rendered(looked, options, looked.exit_code))
                return looked.exit_code
            ask(actions.render(looked), "clear this?")
        listener = _unheard if options["quiet"] else log
        report = read(execute(plan, conditions, limits=limits, stop=stop, listener=listener))
        code = caught[0] if caught and report.ended_early else report.exit_code
        output.finish(_rendered(report, options, code))
    return code


def ask(plan: str, question: str) -> None:
    """Show what would go, and go on only with a yes. Raises ConfigError."""
    click.echo(plan, err=True)
    if not sys.stdin.isatty():
        raise ConfigError("nothing was cleared: no terminal to ask on; --yes clears without asking")
    if not click.confirm(question, err=True):
        raise ConfigError("nothing was cleared: the answer was no")


def log(step: StepResult) -> None:
    """Tell the end of one step."""
    click.echo(actions.line(step), err=True)


def _unheard(step: StepResult) -> None:
    pass


def _rendered(report: ActionReport, options: Mapping[str, Any], code: int) -> str:
    json = options["output_format"] == "json"
    return actions.render_json(report, code) if json else actions.render(report)
