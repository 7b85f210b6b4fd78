"""`cachekit hold`: scheduled runs wait until somebody says so."""

import os
from pathlib import Path

import click

from cachekit.cli.options import PATH, Written, settings_option


@click.command()
@click.option(
    "--for",
    "seconds",
    type=Written("duration", "cachekit.quantities:parse_seconds"),
    help="How long; until `cachekit release` if not given.",
)
@click.option("--reason", default="", help="Why, for those who find the site held.")
@click.option("--state-dir", type=PATH, help="Where the scheduled runs keep their locks.")
@settings_option
def hold(
    seconds: float | None, reason: str, state_dir: Path | None, settings_path: Path | None
) -> int:
    """Let runs with --scheduled do nothing on this site (exit 75), until `cachekit release`.

    What runs already goes on. Exit codes: 0 held, 2 usage or settings, 75 held by somebody else.
    """
    from cachekit.cli import choices
    from cachekit.scheduling import hold as holds

    settings = choices.settings_from_file(settings_path, os.environ)
    place = state_dir or choices.state_dir_of(settings, os.environ)
    made = holds.hold(place, settings.site, seconds=seconds, reason=reason)
    click.echo(f"{settings.site} is {made}")
    return 0
