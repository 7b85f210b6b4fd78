"""Below one directory by file descriptors: no link is followed and no mount crossed."""

import errno
import os
import time
from collections.abc import Iterator
from typing import Any, Dict, NamedTuple  # noqa: UP035 - Python 3.6

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
Job = Dict[str, Any]  # noqa: UP006 - Python 3.6
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class RefusedError(Exception):
    """Something that must not be touched, or cannot be done; the message says what to do."""


class MissingError(Exception):
    """The directory of the cache is not there."""


class LateError(Exception):
    """The time is used up."""

    def __init__(self, message: str = "the time was used up") -> None:
        super().__init__(message)


class Clock:
    """Counts down the seconds of a job."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Give the seconds that are left."""
        return self.end - time.monotonic()

    def check(self) -> None:
        """Raise LateError when no time is left."""
        if self.left <= 0:
            raise LateError


class Directory(NamedTuple):
    """One directory while it is visited: its open descriptor and path from the top."""

    fd: int
    path: bytes
    files: "list[bytes]"
    directories: "list[bytes]"

    def below(self, name: bytes) -> bytes:
        """Give the path of an entry from the top."""
        return self.path + b"/" + name if self.path else name

    def stat(self, name: bytes) -> "os.stat_result | None":
        """Look at an entry itself, not at where it leads; None when it is gone."""
        try:
            return os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def unlink(self, name: bytes) -> bool:
        """Remove an entry; False when somebody else did."""
        try:
            os.unlink(name, dir_fd=self.fd)
        except FileNotFoundError:
            return False
        return True


def text(path: bytes) -> str:
    """Turn a path into text that JSON can carry."""
    return path.decode("utf-8", "surrogateescape")


def raw(path: str) -> bytes:
    """Turn text from JSON into a path."""
    return path.encode("utf-8", "surrogateescape")


def open_below(top: int, path: bytes) -> int:
    """Open a directory step by step, so that none of the steps can be a link."""
    fd = os.dup(top)
    for name in path.split(b"/") if path else ():
        try:
            below = os.open(name, DIRECTORY, dir_fd=fd)
        finally:
            os.close(fd)
        fd = below
    return fd


def walk(top: int, clock: Clock) -> "Iterator[Directory]":
    """Visit the top and every directory below it, each before those in it.

    What vanishes meanwhile, or turns into something else, is left out; so is what the visitor takes
    out of `directories`.
    """
    device = os.fstat(top).st_dev
    pending = [b""]
    while pending:
        clock.check()
        path = pending.pop()
        try:
            fd = open_below(top, path)
        except OSError as error:
            if error.errno in _GONE:
                continue
            error.filename = path
            raise
        try:
            if os.fstat(fd).st_dev == device:
                directory = _listed(fd, path)
                yield directory
                pending += [directory.below(name) for name in directory.directories]
        finally:
            os.close(fd)


def _listed(fd: int, path: bytes) -> Directory:
    directory = Directory(fd, path, [], [])
    # Python 3.6 lists descriptors by their path only.
    where = fd if os.scandir in os.supports_fd else f"/proc/self/fd/{fd}"
    with os.scandir(where) as entries:
        for entry in entries:
            is_directory = entry.is_dir(follow_symlinks=False)
            names = directory.directories if is_directory else directory.files
            names.append(os.fsencode(entry.name))
    return directory


class Removal:
    """Removes trees and counts the files that went."""

    def __init__(self, clock: Clock) -> None:
        self.removed = 0
        self._clock = clock

    def remove(self, parent: int, name: bytes) -> None:
        """Remove a directory and all that is below it, until it is gone. Raises LateError."""
        while True:
            try:
                top = os.open(name, DIRECTORY, dir_fd=parent)
            except FileNotFoundError:
                return
            try:
                self._empty(top)
            finally:
                os.close(top)
            if _rmdir(parent, name):
                return
            # A writer that still has a directory in it open has just made something there.
            self._clock.check()

    def _empty(self, top: int) -> None:
        visited = []
        for directory in walk(top, self._clock):
            visited.append(directory.path)
            for name in directory.files:
                self.removed += directory.unlink(name)
        for path in reversed(visited[1:]):
            above, _, name = path.rpartition(b"/")
            try:
                fd = open_below(top, above)
            except FileNotFoundError:
                continue
            try:
                _rmdir(fd, name)
            finally:
                os.close(fd)


def _rmdir(parent: int, name: bytes) -> bool:
    try:
        os.rmdir(name, dir_fd=parent)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True


def write_file(parent: int, name: bytes, data: bytes) -> int:
    """Make a file that is not there yet, and give its open descriptor."""
    fd = os.open(
        name,
        os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC,
        0o600,
        dir_fd=parent,
    )
    with os.fdopen(os.dup(fd), "wb") as file:
        file.write(data)
    return fd


def imitate(fd: int, state: "os.stat_result", like: "int | bytes") -> None:
    """Give something new the owner, mode and extended attributes of something older.

    `state` is that of the older one, `like` its open descriptor or path.
    """
    found = os.fstat(fd)
    if (state.st_uid, state.st_gid) != (found.st_uid, found.st_gid):
        os.chown(fd, state.st_uid, state.st_gid)
    os.chmod(fd, state.st_mode & 0o7777)
    for name in attributes(like):
        try:
            os.setxattr(fd, name, os.getxattr(like, name, follow_symlinks=isinstance(like, int)))
        except OSError as error:
            # Only root may set some, such as security.*; new files get those by themselves.
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENODATA, errno.ENOENT):
                raise


def attributes(of: "int | bytes") -> "list[str]":
    """Name the extended attributes of an open file or of a path; ACLs are among them."""
    try:
        return os.listxattr(of, follow_symlinks=isinstance(of, int))
    except (OSError, AttributeError):
        return []
