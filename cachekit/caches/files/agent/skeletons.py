"""A fresh tree beside the old one: its directories without their files."""

import contextlib
import os
import stat
from collections.abc import Callable

from cachekit.caches.files.agent.roots import MARKER, Root, lock, sibling
from cachekit.caches.files.agent.trees import (
    DIRECTORY,
    Clock,
    Directory,
    RefusedError,
    attributes,
    imitate,
    open_below,
    text,
    walk,
    write_file,
)


def make_fresh(root: Root, shared: bool) -> "tuple[bytes, int]":
    """Make an empty directory beside the root, locked, with its owner, mode and marker."""
    # A directory that links lead to keeps its name, hence another kind.
    name = sibling(root.name, "tree" if shared or root.link else "new")
    try:
        os.mkdir(name, 0o700, dir_fd=root.parent)
    except PermissionError:
        message = "cannot make a directory beside %s; the user of this node may not write there"
        raise RefusedError(message % text(root.path)) from None
    fd = os.open(name, DIRECTORY, dir_fd=root.parent)
    lock(fd)
    return name, fd


def keep_directories(root: Root, fresh: int, clock: Clock) -> None:
    """Repeat the root's directories with their owners, modes and attributes, and its marker."""
    state = os.fstat(root.fd)
    umask = os.umask(0)
    try:
        # The owner comes last: until then nobody else can put a link into the fresh tree.
        os.chown(fresh, -1, state.st_gid)
        os.chmod(fresh, 0o700 | state.st_mode & stat.S_ISGID)
        _repeat_below(root, fresh, clock)
        copy_marker(root, fresh)
        imitate(fresh, state, root.fd)
    except PermissionError as error:
        message = "cannot keep the owners and modes in %s (%s); run as their owner or as root"
        raise RefusedError(message % (text(root.path), error.strerror)) from None
    finally:
        os.umask(umask)


def _repeat_below(root: Root, fresh: int, clock: Clock) -> None:
    is_leaf = _leaf_test(root.parent)
    if is_leaf(os.fstat(root.fd)):
        return
    for directory in walk(root.fd, clock):
        copy = open_below(fresh, directory.path)
        try:
            repeat = Repeat(directory, copy)
            made = {name: repeat(name) for name in directory.directories}
        finally:
            os.close(copy)
        directory.directories[:] = [
            name for name, state in made.items() if state is not None and not is_leaf(state)
        ]


def _leaf_test(parent: int) -> "Callable[[os.stat_result], bool]":
    """Give a way to tell that no directories are in a directory: it has two links, name and dot.

    They need not be read then, which would take most of the time. But some file systems do not
    count (btrfs: always 1) or make the number up (CIFS: always 2).
    """
    directories = 0
    for name in os.listdir(parent):
        with contextlib.suppress(FileNotFoundError):
            state = os.stat(name, dir_fd=parent, follow_symlinks=False)
            directories += stat.S_ISDIR(state.st_mode)
    if os.fstat(parent).st_nlink != 2 + directories:
        return lambda _: False
    return lambda state: state.st_nlink == 2


class Repeat:
    """Makes directories in a copy of a directory, like those of the same names in the old one.

    With as few calls as possible: until all are made, the old cache is still there.
    """

    def __init__(self, directory: Directory, copy: int) -> None:
        self._old = directory
        self._copy = copy
        self._path = b"/proc/self/fd/%d/" % directory.fd
        made = os.fstat(copy)
        # What mkdir gives by itself, if no default ACL has a say.
        self._inherited = made.st_mode & stat.S_ISGID
        self._owner = (os.geteuid(), made.st_gid if self._inherited else os.getegid())
        self._has_attributes = bool(attributes(copy))

    def __call__(self, name: bytes) -> "os.stat_result | None":
        """Make one, and give the state of the old one; None when that has gone."""
        state = self._old.stat(name)
        if state is None:
            return None
        os.mkdir(name, state.st_mode & 0o777, dir_fd=self._copy)
        is_alike = (state.st_uid, state.st_gid) == self._owner and (
            state.st_mode & 0o7000 == self._inherited
        )
        if not is_alike or self._has_attributes or attributes(self._path + name):
            new = os.open(name, DIRECTORY, dir_fd=self._copy)
            try:
                imitate(new, state, self._path + name)
            finally:
                os.close(new)
        return state


def copy_marker(root: Root, fresh: int) -> None:
    """Put the root's marker, if it has one, into the fresh tree as well."""
    try:
        old = os.open(MARKER, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=root.fd)
    except OSError:
        return
    with os.fdopen(old, "rb") as file:
        new = write_file(fresh, MARKER, file.read(4096))
        imitate(new, os.fstat(old), old)
        os.close(new)
