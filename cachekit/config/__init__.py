"""YAML text to Settings: lines kept, all problems at once. pydantic and yaml live here alone."""

from typing import Any

from cachekit.config.files import find, load, load_url_list
from cachekit.config.starter import write_starter

__all__ = ["find", "json_schema", "load", "load_url_list", "write_starter"]


def json_schema() -> dict[str, Any]:
    """Describe cachekit.yaml for editors, with the sources of URLs that are installed."""
    from cachekit.config.schema import build_schema

    return build_schema()
