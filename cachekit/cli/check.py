"""`cachekit check`: whether the settings are right, and the nodes answer."""

import os
from pathlib import Path

import click

from cachekit.cli.options import group_option, node_option, settings_option


@click.command()
@node_option
@group_option
@settings_option
def check(settings_path: Path | None, nodes: tuple[str, ...], groups: tuple[str, ...]) -> int:
    """Validate the settings file and ask each node for the site's first page."""
    from cachekit.cli import choices
    from cachekit.reports import text
    from cachekit.warming.probe import probe

    settings = choices.settings_from_file(settings_path, os.environ)
    click.echo(f"settings are valid: {settings.site}", err=True)
    chosen = choices.nodes_of(settings, nodes, groups)
    found = probe(settings, list(settings.nodes.values()) if chosen is None else chosen)
    click.echo(text.probes(found), nl=False)
    return 0 if all(node.ok for node in found) else 1
