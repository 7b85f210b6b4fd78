"""`cachekit plan`: what a plan of the settings, or a clear, would touch, without touching it."""

from typing import Any

import click

from cachekit.cli.clear import clear_options
from cachekit.cli.options import PATH, force_option, settings_option


@click.command()
@clear_options
def clear(**options: Any) -> int:
    """Show what a clear with the same options would remove: the same as its --dry-run."""
    from cachekit.cli import act

    return act.clear({**options, "dry_run": True})


class _Plans(click.Group):
    """Takes the name of any plan for a command of its own."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return clear if cmd_name == "clear" else _look(cmd_name)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return ["clear"]


def _look(name: str) -> click.Command:
    @click.command(name, help=f"Show all that a run of the plan {name} would do.")
    @click.option("--release", help="The release that would go live.")
    @click.option("--previous", help="The release that is live.")
    @click.option("--rollback", is_flag=True, help="The release was live before.")
    @click.option(
        "--format",
        "output_format",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
    )
    @click.option("--output", type=PATH, help="Write it here, all or nothing.")
    @click.option("--state-dir", type=PATH, help="Where runs are kept.")
    @force_option
    @settings_option
    def look(**options: Any) -> int:
        from cachekit.cli import deploys

        return deploys.look({**options, "plan": name})

    return look


@click.command(cls=_Plans, subcommand_metavar="PLAN|clear [OPTIONS]...")
def plan() -> None:
    """Show what PLAN of the settings, or a clear, would do; nothing is changed."""
