"""`cachekit init`: the first settings file."""

from pathlib import Path

import click


@click.command()
@click.option(
    "--settings",
    "path",
    type=click.Path(path_type=Path),
    default=Path("cachekit.yaml"),
    show_default=True,
    help="Where to write the settings.",
)
@click.option(
    "--site",
    default="https://shop.example",
    metavar="URL",
    show_default=True,
    help="The public base URL of the site.",
)
def init(path: Path, site: str) -> None:
    """Write a commented settings file and a first warm list; never overwrite one."""
    from cachekit.config import write_starter

    for written in write_starter(path, site):
        click.echo(f"wrote {written}")
    click.echo("Put your nodes and URLs into them, then try: cachekit check")
