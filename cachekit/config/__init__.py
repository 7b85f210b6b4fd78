"""YAML text to Settings: lines kept, all problems at once. pydantic and yaml live here alone."""

from cachekit.config.files import find, load, load_url_list

__all__ = ["find", "load", "load_url_list"]
