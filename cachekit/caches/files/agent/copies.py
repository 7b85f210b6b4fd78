"""Copying a directory or an archive into a fresh tree: plain files and directories, no others."""

import fcntl
import os
import shutil
import stat
import tarfile
from typing import IO, Dict  # noqa: UP035 - Python 3.6

from cachekit.caches.files.agent.roots import MARKER
from cachekit.caches.files.agent.trees import (
    DIRECTORY,
    Clock,
    Directory,
    RefusedError,
    open_below,
    text,
    walk,
    write_file,
)

_FICLONE = 0x40049409
_FORBIDDEN = (b"", b".", b"..")
Manifest = Dict[bytes, int]  # noqa: UP006 - Python 3.6


def copy(source: bytes, fresh: int, clock: Clock) -> Manifest:
    """Copy a directory, sharing blocks where the file system can; list what was copied."""
    top = os.open(source, DIRECTORY)
    manifest = {}
    try:
        for directory in walk(top, clock):
            target = open_below(fresh, directory.path)
            try:
                for name in directory.directories:
                    _make_directory(target, name, fresh)
                for name in directory.files:
                    if directory.below(name) != MARKER:
                        manifest[directory.below(name)] = _copy_file(directory, name, target, fresh)
            finally:
                os.close(target)
    finally:
        os.close(top)
    return manifest


def _copy_file(directory: Directory, name: bytes, target: int, fresh: int) -> int:
    state = directory.stat(name)
    if state is None or not stat.S_ISREG(state.st_mode):
        raise RefusedError(f"{text(directory.below(name))} is no plain file; only those are copied")
    source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory.fd)
    with os.fdopen(source, "rb") as file:
        made = write_file(target, name, b"")
        with os.fdopen(made, "wb") as copied:
            try:
                fcntl.ioctl(made, _FICLONE, source)
            except OSError:
                shutil.copyfileobj(file, copied, 1 << 20)
            copied.flush()
            _finish(made, fresh, state.st_mode, state.st_mtime)
            return os.fstat(made).st_size


def unpack(source: bytes, fresh: int, clock: Clock) -> Manifest:
    """Unpack a tar archive, compressed or not; list what was unpacked."""
    manifest = {}
    try:
        with tarfile.open(os.fsdecode(source)) as archive:
            for member in archive:
                clock.check()
                path = _member_path(member)
                file = archive.extractfile(member) if member.isreg() else None
                if path and path != MARKER and file is not None:
                    manifest[path] = _unpack_file(member, path, file, fresh)
                elif path and member.isdir():
                    os.close(_make_below(fresh, path))
    except (tarfile.TarError, EOFError) as error:
        raise RefusedError(f"{text(source)} is no tar archive, or damaged: {error}") from None
    return manifest


def _member_path(member: tarfile.TarInfo) -> bytes:
    """Give the path of a member; "" for the top itself."""
    if not (member.isreg() or member.isdir()):
        raise RefusedError(f"{member.name!r} in the archive is no plain file or directory")
    path = os.fsencode(member.name)
    if path in (b".", b"./"):
        return b""
    path = path[2:] if path.startswith(b"./") else path
    if any(part in _FORBIDDEN for part in path.split(b"/")):
        raise RefusedError(f"{member.name!r} in the archive leads out of it")
    return path


def _unpack_file(member: tarfile.TarInfo, path: bytes, file: "IO[bytes]", fresh: int) -> int:
    above, _, name = path.rpartition(b"/")
    target = _make_below(fresh, above)
    try:
        made = write_file(target, name, b"")
    except FileExistsError:
        raise RefusedError(f"{member.name!r} is in the archive twice") from None
    finally:
        os.close(target)
    with os.fdopen(made, "wb") as copied:
        shutil.copyfileobj(file, copied, 1 << 20)
        copied.flush()
        _finish(made, fresh, member.mode, member.mtime)
        return os.fstat(made).st_size


def _make_below(fresh: int, path: bytes) -> int:
    """Make the directories of a path, and open the last."""
    fd = os.dup(fresh)
    for name in path.split(b"/") if path else ():
        _make_directory(fd, name, fresh)
        below = os.open(name, DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = below
    return fd


def _make_directory(parent: int, name: bytes, fresh: int) -> None:
    """Make a directory that is like the top in owner and mode."""
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
    except FileExistsError:
        return
    fd = os.open(name, DIRECTORY, dir_fd=parent)
    _finish(fd, fresh, os.fstat(fresh).st_mode)
    os.close(fd)


def _finish(fd: int, fresh: int, mode: int, modified: "float | None" = None) -> None:
    """Set the owner to that of the cache, and mode and age to those of the source."""
    top = os.fstat(fresh)
    if os.geteuid() == 0:
        os.chown(fd, top.st_uid, top.st_gid)
    os.chmod(fd, mode & 0o2777)
    if modified is not None:
        os.utime(fd, (modified, modified))
