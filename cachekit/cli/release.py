"""`cachekit release`: the end of a hold."""

import os
from pathlib import Path

import click

from cachekit.cli.options import PATH, settings_option


@click.command()
@click.option("--state-dir", type=PATH, help="Where the scheduled runs keep their locks.")
@settings_option
def release(state_dir: Path | None, settings_path: Path | None) -> int:
    """Let scheduled runs go on after `cachekit hold`, whoever held the site."""
    from cachekit.cli import choices
    from cachekit.scheduling import hold as holds

    settings = choices.settings_from_file(settings_path, os.environ)
    ended = holds.release(state_dir or choices.state_dir_of(settings, os.environ), settings.site)
    click.echo(f"{settings.site} was {ended}" if ended else f"{settings.site} was not held")
    return 0
