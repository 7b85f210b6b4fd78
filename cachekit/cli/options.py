"""Option types and options that several commands share."""

import importlib
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import click

from cachekit.errors import CachekitError, ExitCode


class Written(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.4
    """A value read by the parser that settings files use too, `module:function`."""

    def __init__(self, name: str, parser: str) -> None:
        self.name = name
        self._parser = parser

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read what was written."""
        module, _, function = self._parser.partition(":")
        try:
            return getattr(importlib.import_module(module), function)(value)
        except ValueError as error:
            self.fail(f"{value!r}: {error}", param, ctx)


PATH = click.Path(path_type=Path)
_Decorator = Callable[[Callable[..., int]], Callable[..., int]]

settings_option = click.option(
    "--settings",
    "settings_path",
    type=PATH,
    help="Settings file; default ./cachekit.yaml, then $CACHEKIT_SETTINGS.",
)
node_option = click.option(
    "--node", "nodes", multiple=True, help="A node of the settings, or an address."
)
group_option = click.option("--group", "groups", multiple=True, help="All nodes of a group.")


def with_options(options: Sequence[_Decorator], command: Callable[..., int]) -> Callable[..., int]:
    """Add options so that they are shown in their order."""
    for option in reversed(options):
        command = option(command)
    return command


def action_options(command: Callable[..., int]) -> Callable[..., int]:
    """Add the options that all actions on caches share."""
    return with_options(_ACTION_OPTIONS, command)


_ACTION_OPTIONS = (
    click.argument("caches", nargs=-1),
    node_option,
    group_option,
    click.option(
        "--deadline",
        type=Written("duration", "cachekit.quantities:parse_seconds"),
        default="2m",
        show_default=True,
        help="For each step.",
    ),
    click.option(
        "--format",
        "output_format",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
    ),
    click.option("--output", type=PATH, help="Write the report here, all or nothing."),
    click.option("--state-dir", type=PATH, help="Where locks are kept."),
    click.option("--quiet", "-q", is_flag=True, help="No progress on stderr."),
    settings_option,
)


def ci_options(command: Callable[..., int]) -> Callable[..., int]:
    """Add what a CI server is told beside the report; `cli.ci.publish` does it."""
    return with_options(_CI_OPTIONS, command)


_CI_OPTIONS = (
    click.option(
        "--annotations",
        type=click.Choice(["auto", "github", "off"]),
        default="auto",
        show_default=True,
        help="Errors and warnings as GitHub Actions marks them; auto: where it runs.",
    ),
    click.option(
        "--step-summary",
        type=click.Choice(["auto", "off"]),
        default="auto",
        show_default=True,
        help="Add a summary to the file $GITHUB_STEP_SUMMARY, if that is set.",
    ),
)

_REPORT_OPTIONS = (
    click.option("--html", type=PATH, help="Write a report for people here, as one HTML file."),
    click.option(
        "--prometheus",
        type=PATH,
        help="Write metrics here, for node_exporter's textfile collector.",
    ),
)


def report_options(command: Callable[..., int]) -> Callable[..., int]:
    """Add the files to be written beside the report; `cli.extras.write_extras` does it."""
    return with_options(_REPORT_OPTIONS, command)


_SECONDS = Written("duration", "cachekit.quantities:parse_seconds")
_OVERLAP_OPTIONS = (
    click.option("--scheduled", is_flag=True, help="Do nothing while the site is held (exit 75)."),
    click.option(
        "--hold-file",
        type=PATH,
        help="With --scheduled: this file, while it is there, holds it, too.",
    ),
    click.option(
        "--if-locked",
        type=click.Choice(["skip", "wait", "fail"]),
        default="fail",
        show_default=True,
        help="While another run goes on: exit 0, wait up to the budget (else 10m), or exit 75.",
    ),
    click.option(
        "--max-age", type=_SECONDS, help="Skip (exit 0) if the last good run began so lately."
    ),
)


def overlap_options(command: Callable[..., int]) -> Callable[..., int]:
    """Add the options that say when a run does not take place; `cli/overlap.py` heeds them."""
    return with_options(_OVERLAP_OPTIONS, command)


_soft_fail = click.option(
    "--soft-fail",
    is_flag=False,
    flag_value="1,3,75",
    default="",
    type=Written("codes", "cachekit.errors:parse_codes"),
    help="Exit 0 in place of these codes; without any: 1,3,75. The report is as ever.",
)


def soft_fail_option(command: Callable[..., int]) -> Callable[..., int]:
    """Add --soft-fail, and let it turn chosen exit codes into 0, with a word about it."""

    @wraps(command)
    def run(*, soft_fail: frozenset[int], **options: Any) -> int:
        try:
            code = command(**options)
        except CachekitError as error:
            if error.exit_code not in soft_fail:
                raise
            click.echo(f"cachekit: {error}", err=True)
            code = error.exit_code
        if code not in soft_fail:
            return code
        click.echo(f"cachekit: --soft-fail: exit code 0 in place of {int(code)}", err=True)
        return ExitCode.OK

    return _soft_fail(run)


force_option = click.option(
    "--force", is_flag=True, help="Lift guards, and what protects releases."
)
yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Show what would go; change nothing.")
release_option = click.option(
    "--live", "release", help="The release that is live or about to be; default `release:`."
)
keep_going_option = click.option(
    "--keep-going", is_flag=True, help="Go on with outer caches after a failure."
)
