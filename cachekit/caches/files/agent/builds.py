"""Prime: build a tree beside the root by a command or as a copy, and swap it in."""

# Paths are bytes, and mostly relative to an open directory.
# ruff: noqa: PTH113, PTH118, PTH120
import ctypes
import os
import pwd
import signal
import subprocess
from collections.abc import Callable

from cachekit.caches.files.agent import copies, roots, skeletons, swaps
from cachekit.caches.files.agent.copies import Manifest
from cachekit.caches.files.agent.trees import (
    DIRECTORY,
    Clock,
    Job,
    LateError,
    MissingError,
    RefusedError,
    Removal,
    imitate,
    raw,
    text,
    walk,
)

_LAST_WORDS = 2000
_PR_SET_PDEATHSIG = 1


def prime(job: Job) -> Job:
    """Build, verify, swap, and keep the old tree for a rollback."""
    clock = Clock(job["seconds"])
    root = _root(job, clock)
    not_collected = swaps.collect(root, swaps.orphans(root), Removal(clock))
    fresh = _kept(root, job) or b""
    if fresh:
        fd = os.open(fresh, DIRECTORY, dir_fd=root.parent)
        manifest = manifest_of(fd, clock)
    else:
        fresh, fd, manifest = _build(root, job, clock)
    swap = swaps.swap(root, fresh, job["shared"])
    return dict(
        _keep(root, swap, job["keep"], clock),
        how=swap.how,
        found=len(manifest),
        size=sum(manifest.values()),
        left=0 if roots.is_in_place(root, fd) else None,
        not_collected=not_collected,
    )


def _root(job: Job, clock: Clock) -> roots.Root:
    """Open the root, which is made where there is none yet."""
    try:
        root = roots.locked_root(job["path"], job["owner"], clock)
    except MissingError:
        roots.make_root(job["path"], job["owner"])
        root = roots.locked_root(job["path"], job["owner"], clock)
    roots.check_mark(root, job["adopt"])
    return root


def manifest_of(top: int, clock: Clock) -> Manifest:
    """List the files of a tree with their sizes, the marker left out."""
    found = {}
    for directory in walk(top, clock):
        for name in directory.files:
            state = directory.stat(name)
            if state is not None:
                found[directory.below(name)] = state.st_size
    found.pop(roots.MARKER, None)
    return found


def _kept(root: roots.Root, job: Job) -> "bytes | None":
    """Name the tree kept for a rollback that is asked for; it is swapped back as it is."""
    folder, name = os.path.split(raw(job.get("source", "")).rstrip(b"/"))
    is_kept = roots.siblings(root).get(name) == "kept"
    return name if is_kept and os.path.realpath(folder) == os.path.dirname(root.path) else None


def _build(root: roots.Root, job: Job, clock: Clock) -> "tuple[bytes, int, Manifest]":
    fresh, fd = skeletons.make_fresh(root, job["shared"])
    try:
        imitate(fd, os.fstat(root.fd), root.fd)
        manifest = _fill(os.path.join(os.path.dirname(root.path), fresh), fd, job, clock)
        _check_built(root, manifest)
        skeletons.copy_marker(root, fd)
        _flush(fd)
    except BaseException:
        swaps.collect(root, [fresh], Removal(Clock(5)))
        raise
    return fresh, fd, manifest


def _check_built(root: roots.Root, manifest: Manifest) -> None:
    if not manifest:
        raise RefusedError(f"nothing was built, so {text(root.path)} stays as it is")


def _fill(path: bytes, fd: int, job: Job, clock: Clock) -> Manifest:
    if "command" in job:
        _run(job["command"], path, fd, clock)
        return manifest_of(fd, clock)
    source = os.path.realpath(raw(job["source"]))
    if (job["path"] + "/").startswith(text(source) + "/"):
        raise RefusedError(f"{text(source)} is or holds the cache itself")
    copied = copies.unpack if os.path.isfile(source) else copies.copy
    wanted = copied(source, fd, clock)
    if manifest_of(fd, clock) != wanted:
        raise RefusedError(f"what was built is not what is in {text(source)}; is it being written?")
    return wanted


def _run(argv: "list[str]", path: bytes, fd: int, clock: Clock) -> None:
    """Run the command that builds, as the owner of the cache, and end it with the deadline."""
    process = subprocess.Popen(  # noqa: S603 - the settings name it
        [raw(each) for each in argv],
        env=dict(os.environ, CACHEKIT_DIR=os.fsdecode(path)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=_become(os.fstat(fd)),  # noqa: PLW1509 - this process has no threads
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=max(clock.left, 0))
    except subprocess.TimeoutExpired:
        raise LateError("the command was still at work") from None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    if process.returncode:
        words = text(said[-_LAST_WORDS:]).strip()
        raise RefusedError(f"the command ended with {process.returncode}: {words}")


def _become(owner: os.stat_result) -> "Callable[[], None]":
    """Let root build as the owner of the cache, and let the command end when this process does."""
    libc = ctypes.CDLL(None)
    groups = _groups(owner) if os.geteuid() == 0 and owner.st_uid != 0 else None

    def become() -> None:
        if groups is not None:
            os.setgroups(groups)
            os.setgid(owner.st_gid)
            os.setuid(owner.st_uid)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    return become


def _groups(owner: os.stat_result) -> "list[int]":
    try:
        return os.getgrouplist(pwd.getpwuid(owner.st_uid).pw_name, owner.st_gid)
    except KeyError:
        return [owner.st_gid]


def _flush(fd: int) -> None:
    """Bring the tree to the disk: after a power cut, a file of PHP must not be there and empty."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "syncfs") or libc.syncfs(fd):
        os.sync()


def _keep(root: roots.Root, swap: swaps.Swap, keep: int, clock: Clock) -> Job:
    """Keep the old tree and as many before it as is wished; remove the others."""
    kept = roots.sibling(root.name, "kept")
    os.rename(swap.retired, kept, src_dir_fd=root.parent, dst_dir_fd=root.parent)
    names = [name for name, kind in roots.siblings(root).items() if kind == "kept"]
    surplus = names[: max(0, len(names) - keep)]
    not_removed = swaps.collect(root, surplus, Removal(clock))
    return {"kept": [text(name) for name in names[len(surplus) :]], "not_removed": not_removed}
