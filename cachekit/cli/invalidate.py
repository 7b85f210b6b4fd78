"""`cachekit invalidate`: changed files to what they make stale, one call, report and exit code."""

from pathlib import Path
from typing import Any

import click

from cachekit.cli.options import (
    PATH,
    action_options,
    dry_run_option,
    force_option,
    keep_going_option,
    release_option,
    yes_option,
)


@click.command()
@click.option("--from", "old", help="A git revision, a directory, or a manifest of hashes.")
@click.option("--to", "new", help="What it became: another of the same.")
@click.option(
    "--repository",
    type=PATH,
    default=Path(),
    help="Where the git revisions are; default here.",
)
@click.option(
    "--changes",
    "listing",
    type=click.Choice(["paths", "rsync"]),
    help="Read from standard input what changed: paths, or `rsync --itemize-changes`.",
)
@yes_option
@force_option
@keep_going_option
@dry_run_option
@release_option
@action_options
def invalidate(**options: Any) -> int:
    """Clear what changed files make stale in CACHES (all by default), and warm just that again.

    `invalidation:` of the settings says what follows from which file. Pages are cleared and warmed
    in chunks, so that the site is never cold. Exit codes: 0 proven, 1 a step or the gate failed,
    2 refused, 3 cannot be known, 75 another run warms these nodes, 130/143 interrupted.
    """
    from cachekit.cli import invalidating

    return invalidating.invalidate(options)
