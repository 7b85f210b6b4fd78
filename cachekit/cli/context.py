"""`cachekit context`: what is known of the deploy, and where it was found."""

import os
from pathlib import Path

import click


@click.command()
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
)
def context(output_format: str) -> int:
    """Show release, nodes and more as found in variables of deploy tools, in files and in git.

    The first that is there counts: CACHEKIT_*, what the deploy tool and the CI server set, the
    file REVISION, git. Settings and options go over all of it. Exit codes: 0, or 2 for junk.
    """
    from cachekit.context import detect
    from cachekit.reports import context as report

    found = detect(os.environ, Path())
    json = output_format == "json"
    click.echo(report.render_json(found) if json else report.render(found), nl=False)
    return 0
