"""`cachekit schema`: help for editors."""

import click


@click.command()
def schema() -> None:
    """Print the JSON Schema of cachekit.yaml, for editors that complete and check YAML."""
    import json

    from cachekit.config import json_schema

    click.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))
