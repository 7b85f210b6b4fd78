"""Changes that somebody else listed: paths one a line, as git does, or by rsync."""

import os
import re
from collections.abc import Iterator
from contextlib import suppress

from cachekit.errors import SourceError
from cachekit.invalidation.changes import ChangeKind, FileChange, kinds_of, name_status

_ITEM = re.compile(r"([<>ch.])([fdLDS])([^ ]{7,9}) +(.+)")
_DELETING = re.compile(r"\*deleting +(.+)")
_RSYNC_ESCAPE = re.compile(rb"\\#([0-3][0-7]{2})")
# What -v says beside its items.
_TALK = re.compile(
    r"(sending|receiving|building) (incremental )?file list.*"
    r"|(created directory|skipping (directory|non-regular file)) .*"
    r"|(sent|received) [\d.,KMG]+ bytes .*"
    r"|total size is .*"
    r"|.* files? to consider"
    r"|done"
)
_C_ESCAPE = re.compile(rb"\\([0-7]{3}|.)", re.DOTALL)
_C_ESCAPES = {b"a": b"\a", b"b": b"\b", b"t": b"\t", b"n": b"\n", b"v": b"\v", b"f": b"\f"}
_C_ESCAPES |= {b"r": b"\r"}


def from_rsync(data: bytes) -> Iterator[FileChange]:
    """Read what `rsync --itemize-changes` wrote; directories and mere attributes change nothing.

    Raises SourceError for a line that is something else.
    """
    for number, raw in enumerate(data.splitlines(), 1):
        line = os.fsdecode(raw)
        if deleted := _DELETING.fullmatch(line):
            if not deleted[1].endswith("/"):
                yield FileChange(_path(deleted[1]), ChangeKind.DELETED)
        elif item := _ITEM.fullmatch(line):
            yield from _item(*item.groups())
        elif line and not _TALK.fullmatch(line):
            raise SourceError(
                f"standard input, line {number}",
                f"expected a line of `rsync --itemize-changes`, found {line[:80]!r}",
            )


def from_paths(data: bytes) -> Iterator[FileChange]:
    """Read paths, one a line or ended by NUL, each with or without git's status before it.

    A status ends by a tab. A path without one counts as modified. Raises SourceError.
    """
    text = os.fsdecode(data)
    if "\0" in text:
        yield from _ended_by_nul(text.rstrip("\n").removesuffix("\0").split("\0"))
        return
    for number, line in enumerate(text.split("\n"), 1):
        try:
            yield from _line(line.removesuffix("\r"))
        except ValueError as error:
            raise SourceError(f"standard input, line {number}", str(error)) from error


def _item(update: str, kind: str, attributes: str, written: str) -> Iterator[FileChange]:
    if kind == "d" or update == ".":
        return
    arrow = " -> " if kind == "L" else " => " if update == "h" else None
    path = written.partition(arrow)[0] if arrow else written
    is_new = not attributes.strip("+")
    yield FileChange(_path(path), ChangeKind.ADDED if is_new else ChangeKind.MODIFIED)


def _path(written: str) -> str:
    r"""Take back how rsync writes bytes that do not print: `\#303`."""
    raw = _RSYNC_ESCAPE.sub(lambda found: bytes([int(found[1], 8)]), os.fsencode(written))
    return os.fsdecode(raw).removeprefix("./")


def _line(line: str) -> Iterator[FileChange]:
    status, *paths = line.split("\t")
    if paths:
        with_status = (status, *map(_unquoted, paths))
        if len(paths) != len(kinds_of(status)):
            raise ValueError(f"expected {len(kinds_of(status))} path(s) after {status}")
        yield from name_status(with_status)
    elif line:
        yield FileChange(_unquoted(line), ChangeKind.MODIFIED)


def _ended_by_nul(fields: list[str]) -> Iterator[FileChange]:
    with suppress(ValueError):
        kinds_of(fields[0])
        yield from list(name_status(fields))
        return
    yield from (FileChange(field.removeprefix("./"), ChangeKind.MODIFIED) for field in fields)


def _unquoted(path: str) -> str:
    r"""Take back how git writes paths with bytes that do not print: `"caf\303\251"`."""
    if len(path) > 1 and path[0] == path[-1] == '"':
        path = os.fsdecode(_C_ESCAPE.sub(_byte, os.fsencode(path[1:-1])))
    return path.removeprefix("./")


def _byte(found: re.Match[bytes]) -> bytes:
    if len(found[1]) == 3:
        return bytes([int(found[1], 8) & 0xFF])
    return _C_ESCAPES.get(found[1], found[1])
