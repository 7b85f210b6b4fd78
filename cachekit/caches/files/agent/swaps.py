"""Putting a fresh tree in the place of the old one, and what is left beside the root by crashes."""

import contextlib
import ctypes
import errno
import os
import stat
from typing import Callable, NamedTuple  # noqa: UP035 - Python 3.6

from cachekit.caches.files.agent.roots import MARKER, Root, lock, sibling, siblings
from cachekit.caches.files.agent.trees import (
    DIRECTORY,
    Clock,
    Directory,
    LateError,
    RefusedError,
    Removal,
    attributes,
    imitate,
    open_below,
    text,
    walk,
    write_file,
)

RENAME_EXCHANGE = 2
# For a C library that is older than the kernel.
_RENAMEAT2 = {"x86_64": 316, "aarch64": 276, "ppc64le": 357, "s390x": 347, "riscv64": 276}
_RENAMEAT2 = dict(_RENAMEAT2, i686=353, armv7l=382)
_NOT_POSSIBLE = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)
_IN_THE_WAY = (errno.ENOTEMPTY, errno.EEXIST, errno.EISDIR, errno.ENOTDIR)

EXCHANGED = "exchanged in one step"
FLIPPED = "link flipped in one step"
RENAMED = "two renames"

Exchange = Callable[[int, bytes, bytes], None]


class Swap(NamedTuple):
    """How the fresh tree came into its place, and the name that the old one has now."""

    how: str
    retired: bytes


def exchange(parent: int, one: bytes, other: bytes) -> None:
    """Exchange two entries of a directory in one step (renameat2). Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    arguments = [parent, ctypes.c_char_p(one), parent, ctypes.c_char_p(other), RENAME_EXCHANGE]
    if hasattr(libc, "renameat2"):
        failed = libc.renameat2(*arguments)
    elif os.uname().machine in _RENAMEAT2:
        failed = libc.syscall(ctypes.c_long(_RENAMEAT2[os.uname().machine]), *arguments)
    else:
        raise OSError(errno.ENOSYS, "no renameat2 here")
    if failed:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


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


def swap(root: Root, fresh: bytes, shared: bool, exchange: Exchange = exchange) -> Swap:
    """Put the fresh tree in place of the old one, by the best way that the file system has."""
    if root.link:
        _flip(root, fresh)
        return Swap(FLIPPED, root.link)
    if not shared:
        try:
            exchange(root.parent, fresh, root.name)
        except OSError as error:
            if error.errno not in _NOT_POSSIBLE:
                raise _explained(error) from None
        else:
            return Swap(EXCHANGED, fresh)
    return Swap(RENAMED, _rename_twice(root, fresh, as_link=shared))


def _explained(error: OSError) -> Exception:
    if error.errno != errno.EXDEV:
        return error
    return RefusedError(
        "this file system cannot move the directory (overlay, a layer of an image?); remove file "
        "by file with --glob '**/*'"
    )


def _flip(root: Root, fresh: bytes) -> None:
    link = sibling(root.name, "link")
    os.symlink(fresh, link, dir_fd=root.parent)
    os.rename(link, root.name, src_dir_fd=root.parent, dst_dir_fd=root.parent)


def _rename_twice(root: Root, fresh: bytes, as_link: bool) -> bytes:
    """Move the old tree away, then the fresh one in: between the two, nothing is there."""
    try:
        retired = _move(root, root.name, sibling(root.name, "old"))
    except OSError as error:
        raise _explained(error) from None
    for _ in range(100):
        try:
            if as_link:
                os.symlink(fresh, root.name, dir_fd=root.parent)
            else:
                _move(root, fresh, root.name)
        except OSError as error:
            if error.errno not in _IN_THE_WAY:
                _move(root, retired, root.name)
                raise
            # A writer has made the directory anew in that moment: what it wrote is no loss.
            _move(root, root.name, sibling(root.name, "old"))
        else:
            return retired
    raise RefusedError(f"{text(root.path)} is made anew by a writer each time it is moved")


def _move(root: Root, name: bytes, target: bytes) -> bytes:
    os.rename(name, target, src_dir_fd=root.parent, dst_dir_fd=root.parent)
    return target


def orphans(root: Root) -> "list[bytes]":
    """Name what crashed runs have left beside the root; what a living run holds is not among it."""
    return [
        name for name, kind in siblings(root).items() if kind != "kept" and _is_free(root, name)
    ]


def _is_free(root: Root, name: bytes) -> bool:
    fd = _open(root, name)
    if fd is None:
        return True
    free = lock(fd)
    os.close(fd)
    return free


def _open(root: Root, name: bytes) -> "int | None":
    try:
        return os.open(name, DIRECTORY, dir_fd=root.parent)
    except OSError:
        return None


def collect(root: Root, names: "list[bytes]", removal: Removal) -> "dict[str, str]":
    """Remove trees beside the root; give those that could not be, each with the reason."""
    left = {}
    for name in names:
        try:
            _discard(root, name, removal)
        except LateError:
            left[text(name)] = "the time was used up"
        except OSError as error:
            left[text(name)] = error.strerror or str(error)
    return left


def _discard(root: Root, name: bytes, removal: Removal) -> None:
    try:
        os.unlink(name, dir_fd=root.parent)
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError):
        removal.remove(root.parent, name)
