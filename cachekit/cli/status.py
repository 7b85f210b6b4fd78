"""`cachekit status`: the state of caches."""

from typing import Any

import click

from cachekit.cli.options import action_options, release_option


@click.command()
@release_option
@action_options
def status(**options: Any) -> int:
    """Show items, sizes, hit ratios, evictions and hazards of CACHES; all by default.

    Exit codes: 0 all answered, 1 one did not, 2 usage or settings.
    """
    from cachekit.cli import act

    return act.status(options)
