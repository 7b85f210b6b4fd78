"""Option types and options that several commands share."""

import importlib
from pathlib import Path
from typing import Any

import click


class Written(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.4
    """A value read by the parser that settings files use too, `module:function`."""

    def __init__(self, name: str, parser: str) -> None:
        self.name = name
        self._parser = parser

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read what was written."""
        module, _, function = self._parser.partition(":")
        try:
            return getattr(importlib.import_module(module), function)(value)
        except ValueError as error:
            self.fail(f"{value!r}: {error}", param, ctx)


PATH = click.Path(path_type=Path)

settings_option = click.option(
    "--settings",
    "settings_path",
    type=PATH,
    help="Settings file; default ./cachekit.yaml, then $CACHEKIT_SETTINGS.",
)
node_option = click.option(
    "--node", "nodes", multiple=True, help="A node of the settings, or an address."
)
group_option = click.option("--group", "groups", multiple=True, help="All nodes of a group.")
