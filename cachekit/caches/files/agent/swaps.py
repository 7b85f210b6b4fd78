"""Putting a fresh tree in the place of the old one, and what is left beside the root by crashes."""

import ctypes
import errno
import os
from typing import Callable, NamedTuple  # noqa: UP035 - Python 3.6

from cachekit.caches.files.agent.roots import Root, lock, sibling, siblings
from cachekit.caches.files.agent.trees import DIRECTORY, LateError, RefusedError, Removal, text

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
