"""`cachekit schedule`: units for what starts runs by the clock."""

from typing import Any

import click

from cachekit.cli.options import PATH, Written, settings_option


@click.group()
def schedule() -> None:
    """Have plans started by the clock."""


@schedule.command()
@click.argument("kind", type=click.Choice(["systemd", "cron", "kubernetes"]))
@click.argument("plans", nargs=-1)
@click.option("--directory", type=PATH, help="Write files here, all or none, instead of stdout.")
@click.option("--force", is_flag=True, help="Replace files that are there.")
@click.option("--timezone", default="", help="Of the times, such as Europe/Berlin.")
@click.option(
    "--jitter",
    type=Written("duration", "cachekit.quantities:parse_seconds"),
    default="30s",
    show_default=True,
    help="systemd: start up to so much later, at random.",
)
@click.option("--accept-degraded", is_flag=True, help="Exit code 3 is no failure.")
@click.option("--command", help="How cachekit is called; default the path of this one.")
@click.option("--name", default="cachekit", show_default=True, help="What names begin with.")
@click.option("--hold-file", type=PATH, help="While this file is there, runs do nothing.")
@click.option(
    "--image",
    default="registry.example/cachekit:latest",
    show_default=True,
    help="kubernetes: the image of yours that holds cachekit.",
)
@settings_option
def render(**options: Any) -> int:
    """Print units that run PLANS by their `schedule:`; all plans that have one by default.

    Each runs `cachekit run PLAN --scheduled`.
    """
    from cachekit.cli import scheduling

    return scheduling.render(options)
