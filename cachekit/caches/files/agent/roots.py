"""Which directories are taken for a cache: the policy, the marker, and who is at work on one."""

# Paths are bytes, and mostly relative to an open directory.
# ruff: noqa: PTH102, PTH118, PTH119, PTH120, PTH208
import errno
import fcntl
import os
import pwd
import re
import stat
import time
from typing import NamedTuple

from cachekit.caches.files.agent.trees import (
    DIRECTORY,
    Clock,
    LateError,
    MissingError,
    RefusedError,
    raw,
    text,
    write_file,
)

MARKER = b".cachekit"
# Nothing in the first is a cache; in the second, nothing but what lies two levels down or more.
SYSTEM_TREES = (
    *("/bin", "/boot", "/etc", "/lib", "/lib32", "/lib64", "/proc", "/sbin", "/sys"),
    *("/usr/bin", "/usr/include", "/usr/lib", "/usr/sbin", "/usr/src"),
)
SYSTEM_PARENTS = ("/", "/dev", "/home", "/usr", "/usr/local", "/var")


class Root(NamedTuple):
    """A cache's directory, open: `fd` is where its files are now, `name` its entry in `parent`.

    `link` is the directory beside it that the name leads to, where the name is a link of ours.
    """

    path: bytes
    parent: int
    name: bytes
    fd: int
    link: bytes = b""


def system_reason(path: str) -> str:
    """Say why a path cannot be that of a cache; "" if it can."""
    parts = path.split("/")
    if not path.startswith("/") or ".." in parts or "\0" in path:
        return "expected an absolute path without `..`"
    parent = os.path.dirname(path)
    if parent in SYSTEM_PARENTS or path in SYSTEM_PARENTS:
        return "is a directory of the system; name the one that holds nothing but the cache"
    if any(path == tree or path.startswith(tree + "/") for tree in SYSTEM_TREES):
        return "belongs to the system"
    return ""


def sibling(name: bytes, kind: str) -> bytes:
    """Make up the name of a directory beside the root; later ones sort after earlier ones."""
    token = f"{kind}-{int(time.time() * 1_000_000):016d}-{os.urandom(3).hex()}"
    return b"." + name + b".cachekit-" + token.encode()


def siblings(root: "Root") -> "dict[bytes, str]":
    """Find what runs have put beside the root and is not in its place now, the oldest first."""
    pattern = re.compile(
        rb"\." + re.escape(root.name) + rb"\.cachekit-([a-z]+)-\d{16}-[0-9a-f]{6}", re.DOTALL
    )
    matches = (pattern.fullmatch(os.fsencode(name)) for name in os.listdir(root.parent))
    found = {match.group(): match.group(1).decode() for match in matches if match}
    live = _own_link(root.parent, root.name)
    return {name: found[name] for name in sorted(found) if name != live}


def open_root(path: str, owner: "str | None") -> Root:
    """Open a cache's directory, once it is sure to be one. Raises RefusedError."""
    parent_path = os.path.realpath(os.path.dirname(raw(path)))
    name = os.path.basename(raw(path))
    full = os.path.join(parent_path, name)
    _check_path(full)
    try:
        parent = os.open(parent_path, DIRECTORY)
        link = _own_link(parent, name)
        fd = os.open(link or name, DIRECTORY, dir_fd=parent)
    except FileNotFoundError:
        raise MissingError(f"there is no directory {text(full)}") from None
    except NotADirectoryError:
        raise RefusedError(f"{text(full)} is no directory") from None
    root = Root(full, parent, name, fd, link)
    _check_owner(root, owner)
    return root


def make_root(path: str, owner: "str | None") -> None:
    """Make the directory of a cache, with its marker. Raises MissingError without its parent."""
    full = os.path.realpath(os.path.dirname(raw(path))) + b"/" + os.path.basename(raw(path))
    _check_path(full)
    user = None if owner is None else _user(owner)
    try:
        os.mkdir(full, 0o755)
    except FileNotFoundError:
        raise MissingError(f"there is no directory {text(os.path.dirname(full))}") from None
    fd = os.open(full, DIRECTORY)
    os.close(write_file(fd, MARKER, b""))
    if user is not None:
        os.chown(fd, user.pw_uid, user.pw_gid)
    os.close(fd)


def _user(owner: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(int(owner)) if owner.isdigit() else pwd.getpwnam(owner)
    except KeyError:
        raise RefusedError(f"owner: no user is called {owner} there") from None


def _check_path(full: bytes) -> None:
    reason = system_reason(text(full))
    if reason:
        raise RefusedError(f"{text(full)} {reason}")
    if (_home() + b"/").startswith(full + b"/"):
        raise RefusedError(f"{text(full)} is a home directory")
    for mount in _mounts():
        if (mount + b"/").startswith(full + b"/"):
            message = "%s is a mount; name a directory below it as the cache"
            if mount != full:
                message = "%s is a mount inside the cache; unmount it, or move the cache"
            raise RefusedError(message % text(mount))


def _home() -> bytes:
    try:
        return os.path.realpath(raw(pwd.getpwuid(os.geteuid()).pw_dir))
    except KeyError:
        # In containers, programs may run as a number that is nobody.
        return b""


def _mounts() -> "list[bytes]":
    """Read where file systems are mounted; bind mounts are seen by nothing else."""
    try:
        with open("/proc/self/mountinfo", "rb") as file:  # noqa: PTH123 - paths are bytes
            points = [line.split(b" ")[4] for line in file]
    except OSError:
        return []
    unescape = re.compile(rb"\\([0-7]{3})")
    return [unescape.sub(lambda match: bytes([int(match.group(1), 8)]), each) for each in points]


def _own_link(parent: int, name: bytes) -> bytes:
    """Read a link that an earlier run has put in place of the root; no other is followed."""
    try:
        target = os.fsencode(os.readlink(name, dir_fd=parent))
    except OSError as error:
        if error.errno == errno.EINVAL:
            return b""
        raise
    if not re.fullmatch(
        rb"\." + re.escape(name) + rb"\.cachekit-(?:tree|kept)-\d{16}-[0-9a-f]{6}", target
    ):
        message = "is a symbolic link to %s; name the directory itself as `path`"
        raise RefusedError(text(name) + " " + message % text(target))
    return target


def _check_owner(root: Root, owner: "str | None") -> None:
    if owner is None:
        return
    uid = os.fstat(root.fd).st_uid
    try:
        found = pwd.getpwuid(uid).pw_name
    except KeyError:
        found = str(uid)
    if owner not in (found, str(uid)):
        raise RefusedError(f"{text(root.path)} belongs to {found}, not to {owner}")


def check_mark(root: Root, adopt: bool) -> None:
    """Refuse a directory that nobody has declared to be a cache."""
    if adopt:
        return
    try:
        mark = os.stat(MARKER, dir_fd=root.fd, follow_symlinks=False)
    except FileNotFoundError:
        mark = None
    if mark is None or not stat.S_ISREG(mark.st_mode):
        raise RefusedError(
            f"{text(root.path)} holds no file .cachekit, so it may be no cache; make that file "
            "there, or set `adopt: true`"
        )


def lock(fd: int) -> bool:
    """Lock an open directory until it is closed; False while another run holds it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        # NFS locks no directories: there one node does it, and cachekit's own lock is enough.
        return True
    return True


def locked_root(path: str, owner: "str | None", clock: Clock) -> Root:
    """Open the root once no other run is at work on it. Raises LateError."""
    while True:
        root = open_root(path, owner)
        if lock(root.fd) and is_in_place(root, root.fd):
            return root
        os.close(root.fd)
        os.close(root.parent)
        if clock.left <= 0:
            raise LateError(f"another run is at work on {path}")
        time.sleep(0.01)


def is_in_place(root: Root, fd: int) -> bool:
    """Tell whether the path leads to this open directory now."""
    try:
        return os.path.samestat(os.stat(root.name, dir_fd=root.parent), os.fstat(fd))
    except FileNotFoundError:
        return False
