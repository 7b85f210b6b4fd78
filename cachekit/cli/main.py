"""The `cachekit` command: its subcommands, and where errors become messages and exit codes."""

import importlib
import sys

import click

from cachekit.cli.output import prepare_streams
from cachekit.errors import CachekitError, ExitCode

_COMMANDS = (
    "check",
    "clear",
    "context",
    "demo",
    "history",
    "hold",
    "init",
    "invalidate",
    "plan",
    "prime",
    "release",
    "releases",
    "run",
    "schedule",
    "schema",
    "show",
    "status",
    "warm",
)
# `cli.run` is the run of a warm.
_MODULES = {"run": "run_plan", "show": "history"}


class _LazyGroup(click.Group):
    """Imports a command when it is asked for: `--help` must not pay for what `warm` needs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"cachekit.cli.{_MODULES.get(cmd_name, cmd_name)}")
        command = getattr(module, cmd_name)
        return command if isinstance(command, click.Command) else None


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="cachekit-ops", prog_name="cachekit")
def cachekit() -> None:
    """Clear, prime and warm every cache of a web cluster, prove it, and gate the go-live on it."""


def main() -> None:
    """Run the command line and exit."""
    prepare_streams()
    sys.exit(_run())


def _run() -> int:
    try:
        code = cachekit.main(standalone_mode=False)
        sys.stdout.flush()
        return int(code or ExitCode.OK)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except CachekitError as error:
        for line in str(error).splitlines():
            click.echo(f"cachekit: {line}", err=True)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("cachekit: interrupted", err=True)
        return ExitCode.INTERRUPTED
