"""How sources read files: gzip is seen through, errors name the file, one item stands on a line."""

import gzip
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BufferedReader, RawIOBase
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from cachekit.errors import SourceError
from cachekit.model import shown

STANDARD_INPUT = Path("-")
_GZIP = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"
_COMMENT = ord("#")
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


@contextmanager
def naming(place: str) -> Iterator[None]:
    """Turn what goes wrong while a place is read into a SourceError that names it."""
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise SourceError(place, "its gzip data is damaged or cut off; copy it again") from error
    except OSError as error:
        raise SourceError(place, f"cannot be read: {error.strerror or error}") from error


@contextmanager
def opened(path: Path, stdin: BinaryIO) -> Iterator[BinaryIO]:
    """Open a file, plain or gzip, to be read in binary; `-` is standard input."""
    with naming(str(path)):
        if path == STANDARD_INPUT:
            yield stdin
        else:
            with path.open("rb") as file:
                yield inflated(file)


def inflated(file: BinaryIO) -> BufferedReader:
    """Look through gzip, known by its magic bytes."""
    stream = _buffered(file)
    for _ in range(2):  # a .gz file may have been sent with Content-Encoding: gzip as well
        if stream.peek(2)[:2] == _GZIP:
            stream = _buffered(gzip.GzipFile(fileobj=stream, mode="rb"))
    return stream


def listed(place: str, lines: Iterable[bytes]) -> Iterator[bytes]:
    """Yield what stands on each line; blank lines and `#` comments say nothing."""
    stripped = map(bytes.strip, unmarked(place, lines))
    return (item for item in stripped if item and item[0] != _COMMENT)


def unmarked(place: str, lines: Iterable[bytes]) -> Iterator[bytes]:
    """Take the byte order mark off the first line."""
    lines = iter(lines)
    first = next(lines, b"")
    if first.startswith(_UTF16):
        raise SourceError(place, "is UTF-16 text; save it as UTF-8")
    return chain((first.removeprefix(_BOM),), lines)


def described(path: Path) -> str:
    """Name a file for people."""
    return "standard input" if path == STANDARD_INPUT else shown(str(path))


class Filled(RawIOBase):
    """A file that gives all it is asked for: a look at the head must not see one byte of it."""

    def __init__(self, file: BufferedReader) -> None:
        self._file = file

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read until the buffer is full, where a network or a pipe would give less."""
        return self._file.readinto(buffer)


def _buffered(file: Any) -> BufferedReader:
    if isinstance(file, BufferedReader):
        return file
    return BufferedReader(Filled(BufferedReader(file)))
