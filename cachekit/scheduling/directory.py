"""Files into a directory: all of them or none."""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from cachekit.errors import ConfigError, OutputError, Problem


def write_all(directory: Path, files: Mapping[str, str], *, force: bool) -> list[Path]:
    """Write files by name; one that is there already is replaced only by `force`.

    Raises ConfigError for those that are there, OutputError if it cannot be done.
    """
    targets = {directory / name: text for name, text in files.items()}
    there = [path for path in targets if os.path.lexists(path)]
    if there and not force:
        raise ConfigError([Problem(str(path), "is there; --force replaces it") for path in there])
    partials = {path: path.with_name(f".{path.name}.{os.getpid()}.partial") for path in targets}
    try:
        for path, text in targets.items():
            partials[path].write_text(text, encoding="utf-8")
        _publish(partials, force=force)
    except OSError as error:
        raise OutputError(f"{directory}: cannot be written: {error.strerror}") from error
    finally:
        for partial in partials.values():
            with suppress(OSError):
                partial.unlink(missing_ok=True)
    return list(targets)


def _publish(partials: Mapping[Path, Path], *, force: bool) -> None:
    if force:
        for path, partial in partials.items():
            partial.replace(path)
        return
    linked: list[Path] = []
    try:
        for path, partial in partials.items():
            path.hardlink_to(partial)  # fails where another process was faster
            linked.append(path)
    except OSError:
        for path in linked:
            path.unlink()
        raise
