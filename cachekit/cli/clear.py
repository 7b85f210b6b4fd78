"""`cachekit clear`: options to a scope, one call, report and exit code."""

from collections.abc import Callable
from typing import Any

import click

from cachekit.cli.options import (
    action_options,
    dry_run_option,
    force_option,
    keep_going_option,
    release_option,
    with_options,
    yes_option,
)

_SCOPES = (
    click.option("--everything", is_flag=True, help="All entries."),
    click.option("--release", "scope_release", multiple=True, help="Entries of a release."),
    click.option("--key", multiple=True, help="One key, as stored."),
    click.option("--prefix", multiple=True, help="Keys that start so, namespace included."),
    click.option("--glob", multiple=True, help="Keys or paths like this."),
    click.option("--tag", multiple=True, help="Entries with this tag."),
    click.option("--url", multiple=True, help="One URL, or a path of the site."),
    click.option("--url-prefix", multiple=True, help="URLs that start so."),
    click.option("--url-regex", multiple=True, help="URLs whose path and query match."),
    click.option("--path", multiple=True, help="A file or directory."),
    click.option("--older-than", multiple=True, help="Entries older than 30s, 2h, 1d."),
)


def clear_options(command: Callable[..., int]) -> Callable[..., int]:
    """Add all options of a clear."""
    options = (
        *_SCOPES,
        yes_option,
        force_option,
        keep_going_option,
        dry_run_option,
        release_option,
    )
    return action_options(with_options(options, command))


@click.command()
@clear_options
def clear(**options: Any) -> int:
    """Remove entries of CACHES (all by default), inside out by layer, and prove that they are gone.

    Exactly one kind of scope says what goes. Exit codes: 0 proven, 1 a step failed, 2 refused,
    3 cannot be known, 130/143 interrupted.
    """
    from cachekit.cli import act

    return act.clear(options)
