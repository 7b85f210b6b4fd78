"""`cachekit plan clear`: what a clear would touch, without touching it."""

from typing import Any

import click

from cachekit.cli.clear import clear_options


@click.group()
def plan() -> None:
    """Show what an action would do; nothing is changed."""


@plan.command()
@clear_options
def clear(**options: Any) -> int:
    """Show what a clear with the same options would remove: the same as its --dry-run."""
    from cachekit.cli import act

    return act.clear({**options, "dry_run": True})
