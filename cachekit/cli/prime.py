"""`cachekit prime`: fill caches directly."""

from typing import Any

import click

from cachekit.cli.options import (
    action_options,
    dry_run_option,
    force_option,
    keep_going_option,
    release_option,
)


@click.command()
@click.option(
    "--from",
    "source",
    required=True,
    metavar="SOURCE",
    help="file:PATH, donor:CACHE-OR-RELEASE, command:CMD or path:DIR.",
)
@click.option("--yes", "-y", is_flag=True, help="For scripts: a prime never asks.")
@force_option
@keep_going_option
@dry_run_option
@release_option
@action_options
def prime(**options: Any) -> int:
    """Fill CACHES from a file of records, another cache or release, a command, or a directory.

    Exit codes: 0 proven, 1 a step failed, 2 refused, 3 cannot be known, 130/143 interrupted.
    """
    from cachekit.cli import act

    return act.prime(options)
