"""What a changed file is: a path, and what became of it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum


class ChangeKind(StrEnum):
    """What became of a file; a renamed one is deleted there and added here."""

    ADDED = "added"
    MODIFIED = "modified"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class FileChange:
    """One changed file; bytes of its path that are no UTF-8 stand as surrogates in it."""

    path: str
    kind: ChangeKind

    def __str__(self) -> str:
        return f"{self.path} ({self.kind})"


_LETTERS = {
    "A": (ChangeKind.ADDED,),
    "M": (ChangeKind.MODIFIED,),
    "T": (ChangeKind.MODIFIED,),
    "D": (ChangeKind.DELETED,),
    # Two paths follow.
    "R": (ChangeKind.DELETED, ChangeKind.ADDED),
    "C": (None, ChangeKind.ADDED),
}


def kinds_of(status: str) -> tuple[ChangeKind | None, ...]:
    """Read a status such as `M` or `R100` as what became of each path after it.

    Raises ValueError.
    """
    letter, number = status[:1], status[1:]
    if letter not in _LETTERS or (number and not number.isdecimal()):
        raise ValueError(f"{status!r} is no status of a file")
    return _LETTERS[letter]


def name_status(fields: Iterable[str]) -> Iterator[FileChange]:
    """Read statuses, each followed by its paths. Raises ValueError."""
    left = iter(fields)
    for status in left:
        for kind in kinds_of(status):
            path = next(left, "")
            if not path:
                raise ValueError(f"the path after {status!r} is missing")
            if kind is not None:
                yield FileChange(path, kind)


def once(changes: Iterable[FileChange]) -> tuple[FileChange, ...]:
    """Give each path once: one that is deleted here and added there is modified.

    The tree itself, which lists name as `./`, is no file.
    """
    found: dict[str, FileChange] = {}
    for change in changes:
        if not change.path:
            continue
        earlier = found.setdefault(change.path, change)
        if earlier.kind is not change.kind:
            found[change.path] = FileChange(change.path, ChangeKind.MODIFIED)
    return tuple(found.values())
