"""`cachekit demo`: a site on this machine, warmed by the very command that warms real ones."""

import shutil
import signal
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from cachekit.errors import ExitCode

if TYPE_CHECKING:
    from cachekit.demo.site import DemoSite


@click.command()
@click.option("--keep", is_flag=True, help="Leave the site up until Ctrl-C, to try things on it.")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    help="Port of both nodes [8088; without --keep the first free one from there].",
)
def demo(*, keep: bool, port: int | None) -> int:
    """Warm a small site on this machine; it takes seconds, and no server software.

    The site is a slow shop behind two caching nodes, put up for this. Some of its pages are no good
    on purpose, so that the gate says no-go; the demo exits 0 all the same.
    """
    from cachekit.demo.site import FIRST_PORT, open_site

    # As an exception, so that the site and its folder are gone before the process is.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(ExitCode.TERMINATED))
    with open_site(port or (FIRST_PORT if keep else None)) as site:
        return _show(site, keep=keep)


def _show(site: "DemoSite", *, keep: bool) -> int:
    from cachekit.cli.warm import warm
    from cachekit.demo import words

    click.echo(words.welcome(site))
    code = warm.main(["--settings", str(site.settings_file)], standalone_mode=False)
    if code != ExitCode.FAILED:  # Interrupted, say: no-go is what the demo is made for.
        return int(code)
    click.echo(words.meaning(site))
    if keep:
        site.forget()
        _wait(words.kept(site, _command()))
    else:
        click.echo(words.next_steps(_command()))
    return ExitCode.OK


def _wait(text: str) -> None:
    """Say it and wait until told to end, which is then no failure."""
    # A shell's background job is born with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with suppress(KeyboardInterrupt, SystemExit):
        click.echo(text)
        while True:
            time.sleep(1)
    click.echo("The site is gone.")


def _command() -> str:
    """Name the command so that it can be pasted: `make demo` runs one that is not on the PATH."""
    name = click.get_current_context().find_root().info_name or "cachekit"
    return sys.argv[0] if name == "cachekit" and not shutil.which(name) else name
