"""`cachekit releases`: what caches hold of each release."""

from typing import Any

import click

from cachekit.cli.options import action_options, release_option


@click.command()
@click.option(
    "--release", "known", multiple=True, help="The id of an older release, to call it by its name."
)
@release_option
@action_options
def releases(**options: Any) -> int:
    """List what CACHES (all by default) hold of each release, how old it is, and what reaps it.

    Nothing is changed. Exit codes: 0 all answered, 1 one did not, 2 usage or settings.
    """
    from cachekit.cli import act

    return act.releases(options)
