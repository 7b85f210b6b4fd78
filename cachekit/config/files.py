"""Finding and loading settings; pydantic and yaml are imported when a file is really read."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cachekit.errors import ConfigError

if TYPE_CHECKING:
    from cachekit.config.document import Document
    from cachekit.model import Variant
    from cachekit.settings import Settings
    from cachekit.sources.url_list import Urls

DEFAULT = Path("cachekit.yaml")
VARIABLE = "CACHEKIT_SETTINGS"


def find(explicit: Path | None, environ: Mapping[str, str]) -> Path | None:
    """Choose the settings file: the explicit one, ./cachekit.yaml, $CACHEKIT_SETTINGS, or none.

    Raises ConfigError for a file that was named and does not exist.
    """
    if explicit is not None:
        return _existing(explicit, "--settings")
    if DEFAULT.exists():
        return DEFAULT
    named = environ.get(VARIABLE)
    return _existing(Path(named), f"${VARIABLE}") if named else None


def load(path: Path, environ: Mapping[str, str]) -> Settings:
    """Read a settings file; relative paths in it start at its folder.

    Raises ConfigError with every problem found.
    """
    from cachekit.config.decode import decode_settings
    from cachekit.config.yaml_text import read

    documents: list[Document] = []

    def open_list(file: Path) -> Document:
        documents.append(read(file, environ))
        return documents[-1]

    try:
        document = open_list(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    settings = decode_settings(document, path.parent, open_list)
    _refuse_problems(documents)
    return settings


def load_url_list(
    path: Path,
    environ: Mapping[str, str] | None = None,
    variants: Mapping[str, Variant] | None = None,
) -> Urls:
    """Read a YAML warm list: URLs, or mappings of a URL and what sets it apart.

    Raises ConfigError with every problem found; names of variants are checked where `variants` are
    given.
    """
    from cachekit.checks import problems_of_urls
    from cachekit.config.decode import decode_urls
    from cachekit.config.yaml_text import read

    try:
        document = read(path, os.environ if environ is None else environ)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    urls = decode_urls(document)
    for place, message in problems_of_urls(urls, variants):
        document.report(place, message)
    _refuse_problems([document])
    return urls


def _existing(path: Path, named_by: str) -> Path:
    if not path.exists():
        raise ConfigError(
            f"{named_by} names {path}, which does not exist; "
            f"create it with: cachekit init --settings {path}"
        )
    return path


def _unreadable(path: Path, error: OSError) -> ConfigError:
    hint = "; create it with: cachekit init" if isinstance(error, FileNotFoundError) else ""
    return ConfigError(f"{path} cannot be read: {error.strerror}{hint}")


def _refuse_problems(documents: Sequence[Document]) -> None:
    problems = [problem for document in documents for problem in document.problems]
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
