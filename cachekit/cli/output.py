"""Where output goes: the report to stdout or a file, and whatever else is said to stderr.

A report that cannot be written is an error; what is said meanwhile is not worth one.
"""

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from cachekit.errors import ConfigError, OutputError


def prepare_streams() -> None:
    """Make stdin, stdout and stderr usable, whatever this process was started with."""
    # In this order: what is opened gets the lowest descriptor, here that of the missing stream.
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(descriptor, mode, encoding="utf-8", closefd=False))
    # What writes to a terminal or pipe beside us may have made it one that refuses to wait.
    os.set_blocking(sys.stdout.fileno(), True)
    sys.stdout = _wrapped(_Stdout(sys.stdout.fileno(), "w", closefd=False), sys.stdout)
    sys.stderr = _wrapped(_Stderr(sys.stderr.fileno(), "w", closefd=False), sys.stderr)


class Report:
    """A report on its way to its place, of which `publish` is the last step."""

    def __init__(self, place: str, file: TextIO, publish: Callable[[], object]) -> None:
        self._place = place
        self._file = file
        self._publish = publish

    def add(self, text: str) -> None:
        """Write what is known before the end. Raises OutputError."""
        try:
            self._file.write(text)
        except OSError as error:
            raise _unwritten(self._place, error) from error

    def finish(self, text: str, *, or_to_stdout: bool = True) -> None:
        """Write the end. If that fails, raises OutputError once stdout has it instead."""
        try:
            self._file.write(text)
            self._file.flush()
            self._publish()
        except OSError as error:
            if or_to_stdout:
                sys.stdout.write(text)
            raise _unwritten(self._place, error) from error


@contextmanager
def report_to(path: Path | None, option: str = "--output") -> Iterator[Report]:
    """Open stdout, or a file that appears complete or not at all. Raises ConfigError."""
    if path is None:
        yield Report("standard output", sys.stdout, sys.stdout.flush)
        return
    place = f"{option} {path}"
    try:
        # What is no regular file, such as a pipe or a device, must not become one.
        replaced = path.is_file() or not path.exists()
        target = Path(os.path.realpath(path)) if replaced else path  # a link stays what it is
        opened = target.with_name(f".{target.name}.{os.getpid()}.partial") if replaced else target
        file = opened.open("w", encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise ConfigError(str(_unwritten(place, error))) from error
    try:
        yield Report(place, file, partial(opened.replace, target) if replaced else file.flush)
    finally:
        with suppress(OSError):
            file.close()
        if replaced:
            opened.unlink(missing_ok=True)


class _Stdout(io.FileIO):
    """Fails once, with an error that users can read, and takes anything from then on."""

    _failed = False

    def write(self, data: Any) -> int:
        try:
            return len(data) if self._failed else super().write(data)
        except OSError as error:
            self._failed = True
            raise _unwritten("standard output", error) from error


class _Stderr(io.FileIO):
    """Never fails: that nobody follows the progress any more is no reason to end a run."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or len(data)
        except OSError:
            return len(data)


def _wrapped(raw: io.FileIO, stream: TextIO) -> TextIO:
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=bool(stream.line_buffering),
    )


def _unwritten(place: str, error: OSError) -> OutputError:
    return OutputError(f"{place}: cannot be written: {error.strerror}")
