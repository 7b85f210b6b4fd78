"""Whether a run can work at all, before anything is asked: values, and the files that it reads."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path

from cachekit.checks import Fault, KeyPath, problems, show_path
from cachekit.errors import ConfigError, Problem
from cachekit.settings import Settings
from cachekit.sources.reading import STANDARD_INPUT


def refuse_unsound(settings: Settings, lists: Iterable[str]) -> None:
    """Raise ConfigError with everything that cannot work in the settings and these lists of them.

    Whoever builds settings in Python is told what the settings file would have been.
    """
    faults = [*problems(settings), *unreadable_files(settings, lists)]
    if faults:
        raise ConfigError([Problem(show_path(path), message) for path, message in faults])


def unreadable_files(settings: Settings, lists: Iterable[str]) -> Iterator[Fault]:
    """Find the files that the settings and these lists of them name, and that cannot be read."""
    files = list(_files(("warm", "tls"), settings.warm.tls))
    for name in lists:
        files += _files(("warmlists", name), settings.warmlists[name].source)
    for path, file in files:
        if why := _whyunreadable_files(file):
            yield path, f"{file} cannot be read: {why}"


def _files(path: KeyPath, holder: object) -> Iterator[tuple[KeyPath, Path]]:
    for field in fields(holder) if is_dataclass(holder) else ():
        value = getattr(holder, field.name)
        if isinstance(value, Path):
            yield (*path, field.name), value
        elif isinstance(value, tuple):
            files = ((index, item) for index, item in enumerate(value) if isinstance(item, Path))
            yield from (((*path, field.name, index), file) for index, file in files)


def _whyunreadable_files(file: Path) -> str | None:
    # Not by opening it: the writer of a pipe would be told that nobody reads.
    if file == STANDARD_INPUT:
        return None
    try:
        file.stat()
    except OSError as error:
        return error.strerror
    if file.is_dir():
        return "it is a directory"
    return None if os.access(file, os.R_OK) else "Permission denied"
