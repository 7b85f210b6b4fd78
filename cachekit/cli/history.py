"""`cachekit history` and `cachekit show`: what runs of plans did."""

from typing import Any

import click

from cachekit.cli.options import PATH, report_options, settings_option

_format_option = click.option(
    "--format",
    "output_format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
)
_state_dir_option = click.option("--state-dir", type=PATH, help="Where runs are kept.")


@click.command()
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True)
@_format_option
@_state_dir_option
@settings_option
def history(**options: Any) -> int:
    """List the runs of plans, the newest first."""
    from cachekit.cli import deploys

    return deploys.history(options)


@click.command()
@click.argument("run", default="last")
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["text", "json", "junit"]),
    default="text",
    show_default=True,
)
@click.option("--output", type=PATH, help="Write the report here, all or nothing.")
@report_options
@_state_dir_option
@settings_option
def show(**options: Any) -> int:
    """Show what RUN did, as it was reported; the newest run without a name."""
    from cachekit.cli import deploys

    return deploys.show(options)
