"""Changes between two trees: directories, or manifests of hashes as `sha256sum` writes them."""

import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cachekit.deadline import Deadline, DeadlineError
from cachekit.errors import SourceError
from cachekit.invalidation.changes import ChangeKind, FileChange

_LINE = re.compile(r"(\\?)([0-9a-fA-F]{32,128})(?:  | \*)(.+)", re.DOTALL)
_ESCAPE = re.compile(r"\\(.)")
_ESCAPES = {"\\": "\\", "n": "\n", "r": "\r"}
_ALGORITHMS = {32: "md5", 40: "sha1", 56: "sha224", 64: "sha256", 96: "sha384", 128: "sha512"}
_BLOCK_BYTES = 1024**2
_NOT_DEPLOYED = ".git"  # a file in worktrees and submodules


@dataclass(frozen=True, slots=True)
class File:
    """A file of a tree: its bytes by what is cheapest to know, and by hash.

    `size` is None where only the hash is known; `digest` is asked for with the name of an
    algorithm, "" for the one that is known.
    """

    size: int | None
    digest: Callable[[str], str]
    algorithm: str = ""
    is_link: bool = False


Tree = Mapping[str, File]


def between_trees(old: Tree, new: Tree) -> Iterator[FileChange]:
    """List what differs in contents. Raises SourceError."""
    if any(file.algorithm for tree in (old, new) for file in tree.values()):
        old, new = _without_links(old), _without_links(new)
    for path in old.keys() | new.keys():
        if path not in new:
            yield FileChange(path, ChangeKind.DELETED)
        elif path not in old:
            yield FileChange(path, ChangeKind.ADDED)
        elif not _alike(path, old[path], new[path]):
            yield FileChange(path, ChangeKind.MODIFIED)


def read_tree(path: Path, deadline: Deadline) -> Tree:
    """Read a directory or a manifest. Raises SourceError and DeadlineError."""
    try:
        if path.is_dir():
            return dict(_directory(str(path), "", deadline))
        return dict(_manifest(path))
    except DeadlineError:  # an OSError as well
        raise
    except OSError as error:
        raise _unreadable(error.filename or path, error) from error


def _directory(root: str, below: str, deadline: Deadline) -> Iterator[tuple[str, File]]:
    deadline.remaining()
    with os.scandir(os.path.join(root, below)) as entries:  # noqa: PTH118 - Path takes twice as long
        for entry in entries:
            name = f"{below}/{entry.name}" if below else entry.name
            if entry.name == _NOT_DEPLOYED:
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _directory(root, name, deadline)
            elif entry.is_symlink():
                yield name, _link(entry.path)
            elif stat.S_ISREG((found := entry.stat(follow_symlinks=False)).st_mode):
                yield name, _file(entry.path, found.st_size, deadline)


def _link(path: str) -> File:
    # A link is where it leads: what is there belongs to another tree, such as shared uploads.
    target = f"link to {os.readlink(path)}"  # noqa: PTH115 - as above
    return File(None, lambda _: target, is_link=True)


def _without_links(tree: Tree) -> Tree:
    """Leave out what manifests do not list: whatever hashes files follows links, or skips them."""
    return {path: file for path, file in tree.items() if not file.is_link}


def _file(path: str, size: int, deadline: Deadline) -> File:
    def digest(algorithm: str) -> str:
        hashed = hashlib.new(algorithm or "sha256", usedforsecurity=False)
        try:
            with open(path, "rb") as file:  # noqa: PTH123 - as above
                while block := file.read(_BLOCK_BYTES):
                    deadline.remaining()
                    hashed.update(block)
        except DeadlineError:
            raise
        except OSError as error:
            raise _unreadable(path, error) from error
        return hashed.hexdigest()

    return File(size, digest)


def _manifest(path: Path) -> Iterator[tuple[str, File]]:
    text = os.fsdecode(path.read_bytes())
    # With -z, sha256sum ends lines by NUL and escapes nothing.
    bare = "\0" in text
    for number, line in enumerate(text.split("\0" if bare else "\n"), 1):
        if not line:
            continue
        match = _LINE.fullmatch(line)
        if match is None or len(match[2]) not in _ALGORITHMS:
            raise SourceError(
                f"{path}:{number}", "expected a hash and a path, as `sha256sum` writes them"
            )
        name = _ESCAPE.sub(_unescaped, match[3]) if match[1] else match[3]
        yield name.removeprefix("./"), _hashed(match[2].lower())


def _hashed(digest: str) -> File:
    return File(None, lambda _: digest, _ALGORITHMS[len(digest)])


def _unescaped(found: re.Match[str]) -> str:
    return _ESCAPES.get(found[1], found[0])


def _alike(path: str, old: File, new: File) -> bool:
    if old.size is not None and new.size is not None and old.size != new.size:
        return False
    if old.algorithm and new.algorithm and old.algorithm != new.algorithm:
        raise SourceError(
            path, f"is hashed by {old.algorithm} there and {new.algorithm} here; use one for both"
        )
    algorithm = old.algorithm or new.algorithm
    return old.digest(algorithm) == new.digest(algorithm)


def _unreadable(path: object, error: OSError) -> SourceError:
    return SourceError(str(path), f"cannot be read: {error.strerror}")
