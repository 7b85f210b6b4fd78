"""`cachekit run`: a plan of the settings, step by step, on record."""

from typing import Any

import click

from cachekit.cli.options import (
    PATH,
    Written,
    ci_options,
    force_option,
    overlap_options,
    report_options,
    settings_option,
    soft_fail_option,
)

_SECONDS = Written("duration", "cachekit.quantities:parse_seconds")
_EXIT_CODES = (
    "Exit codes: 0 done, 1 a step failed, 2 usage, settings or a plan that cannot work, 3 degraded"
    " or not proven, 75 another run holds the lock, 130/143 interrupted."
)


@click.command(epilog=_EXIT_CODES)
@click.argument("plan")
@click.option("--release", help="The release that goes live; default `release:`, then as found.")
@click.option("--previous", help="The release that was live; default `previous:`, then as found.")
@click.option(
    "--rollback",
    is_flag=True,
    help="The release was live before: leave alone what is still warm for it.",
)
@click.option("--resume", is_flag=True, help="Continue the newest run of it that did not end well.")
@click.option("--dry-run", is_flag=True, help="Show what would be done; change nothing.")
@click.option("--deadline", type=_SECONDS, help="For all of it; goes over that of the plan.")
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["text", "json", "junit"]),
    default="text",
    show_default=True,
)
@click.option("--output", type=PATH, help="Write the report here, all or nothing.")
@click.option("--state-dir", type=PATH, help="Where runs and locks are kept.")
@click.option("--quiet", "-q", is_flag=True, help="No progress on stderr.")
@click.option("--verbose", "-v", is_flag=True, help="Name each failed target as it comes.")
@report_options
@overlap_options
@ci_options
@soft_fail_option
@force_option
@settings_option
def run(**options: Any) -> int:
    """Run PLAN of the settings: clear, prime, warm, go live, as it says.

    What is not said of the release is taken from the deploy tool: see `cachekit context`.
    """
    from cachekit.cli import deploys

    return deploys.run(options)
