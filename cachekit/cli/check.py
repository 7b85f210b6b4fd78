"""`cachekit check`: whether the settings are right, and nodes and caches answer."""

import os
from pathlib import Path

import click

from cachekit.cli.options import group_option, node_option, settings_option
from cachekit.errors import ConfigError


@click.command()
@node_option
@group_option
@settings_option
def check(settings_path: Path | None, nodes: tuple[str, ...], groups: tuple[str, ...]) -> int:
    """Validate the settings file; try each node with the first page, ask each cache its state."""
    from cachekit.cli import act, choices, deploys
    from cachekit.reports import actions, text
    from cachekit.warming.probe import probe

    settings = choices.settings_from_file(settings_path, os.environ)
    deploys.refuse_plans(settings)
    chosen = choices.nodes_of(settings, nodes, groups)
    found = probe(settings, list(settings.nodes.values()) if chosen is None else chosen)
    click.echo(f"settings are valid: {settings.site}", err=True)
    click.echo(text.probes(found), nl=False)
    looked = act.look(settings, nodes, groups)
    if looked is not None:
        click.echo(("\n" if found else "") + actions.render(looked), nl=False)
    elif not found:
        raise ConfigError("no nodes: name some under `nodes:`")
    reached = looked is None or looked.exit_code == 0
    return 0 if reached and all(node.ok for node in found) else 1
