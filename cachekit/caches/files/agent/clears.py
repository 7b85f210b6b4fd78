"""Clear, survey and status of one cache directory."""

import contextlib
import itertools
import os
import time

from cachekit.caches.files.agent import roots, skeletons, swaps
from cachekit.caches.files.agent.selections import Selection, picked
from cachekit.caches.files.agent.trees import Clock, Directory, Job, LateError, Removal, text

EXAMPLES = 5
# The clock that dates files: it stands still between ticks, so that time.time() is ahead of it.
_CLOCK_REALTIME_COARSE = 5


def survey(job: Job) -> Job:
    """Count what a clear would remove; changes nothing."""
    clock = Clock(job["seconds"])
    root = roots.open_root(job["path"], job["owner"])
    roots.check_mark(root, job["adopt"])
    found = size = 0
    examples: list[str] = []
    for _, _, label, state in picked(root, Selection(job), clock):
        found += 1
        size += state.st_size
        if len(examples) < EXAMPLES:
            examples.append(label)
    total = sum(1 for _ in picked(root, Selection({}), clock))
    answer = {"found": found, "size": size, "total": total, "examples": examples}
    return answer if found else dict(answer, looks=_looks(root, job, clock))


def status(job: Job) -> Job:
    """Tell how many files there are, how old, what lies beside them, and how full the disk is."""
    clock = Clock(job["seconds"])
    root = roots.open_root(job["path"], job["owner"])
    items = size = php = 0
    ages: list[float] = []
    for _, name, _, state in picked(root, Selection({}), clock):
        items += 1
        php += name.endswith(b".php")
        size += state.st_size
        ages = [min([state.st_mtime, *ages]), max([state.st_mtime, *ages])]
    disk = os.fstatvfs(root.fd)
    return {
        "items": items,
        "size": size,
        "php": php,
        "ages": [time.time() - each for each in ages],
        "orphans": [text(name) for name in swaps.orphans(root)],
        "kept": [text(name) for name, kind in roots.siblings(root).items() if kind == "kept"],
        "marked": os.access(roots.MARKER, os.F_OK, dir_fd=root.fd),
        "disk": [disk.f_bavail, disk.f_blocks],
        "inodes": [disk.f_favail, disk.f_files],
    }


def clear(job: Job) -> Job:
    """Remove what is selected, or everything at once."""
    clock = Clock(job["seconds"])
    root = roots.locked_root(job["path"], job["owner"], clock)
    roots.check_mark(root, job["adopt"])
    answer = _clear_all(root, job, clock) if job["everything"] else _clear_some(root, job, clock)
    answer["not_collected"] = swaps.collect(root, swaps.orphans(root), Removal(clock))
    return answer


def _clear_some(root: roots.Root, job: Job, clock: Clock) -> Job:
    """Remove file by file, then count those that are older than this and still there."""
    started = _files_now()
    removal, selection = Failures(), Selection(job)
    try:
        for directory, name, label, _ in picked(root, selection, clock):
            removal.unlink(directory, name, label)
        left = sum(
            1
            for _, _, _, state in picked(root, selection, clock)
            if job["shared"] or state.st_ctime < started
        )
    except LateError as late:
        return {"removed": removal.removed, "late": str(late), "failed": removal.failed}
    found = removal.removed + len(removal.failed)
    answer = {"found": found, "removed": removal.removed, "left": left, "failed": removal.failed}
    return answer if found else dict(answer, looks=_looks(root, job, clock))


class Failures:
    """Removes single files; counts those that went, and keeps why others did not."""

    def __init__(self) -> None:
        self.removed = 0
        self.failed: dict[str, str] = {}

    def unlink(self, directory: Directory, name: bytes, label: str) -> None:
        """Remove one file; one that has gone by itself does not count."""
        try:
            self.removed += directory.unlink(name)
        except OSError as error:
            self.failed[label] = error.strerror or str(error)


def _clear_all(root: roots.Root, job: Job, clock: Clock) -> Job:
    """Put an empty tree in the place of the old one, then remove that at leisure."""
    if next(picked(root, Selection({}), clock), None) is None:
        return {"found": 0, "removed": 0, "left": 0}
    began = time.monotonic()
    fresh, fd = skeletons.make_fresh(root, job["shared"])
    try:
        born = os.fstat(fd).st_ctime_ns
        skeletons.keep_directories(root, fd, clock)
        swap = swaps.swap(root, fresh, job["shared"])
    except BaseException:
        swaps.collect(root, [fresh], Removal(Clock(1)))
        raise
    answer = {"how": swap.how, "usable": time.monotonic() - began}
    answer["left"] = _count_older(root, fd, born, clock)
    # The fresh tree stays locked until the end: no other run is at work beside it so long.
    return dict(answer, **_remove_retired(root, swap, clock))


def _remove_retired(root: roots.Root, swap: swaps.Swap, clock: Clock) -> Job:
    """Remove the old tree; `found` stays unknown where not all of it could be seen."""
    removal = Removal(clock)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(roots.MARKER, dir_fd=root.fd)
    not_removed = swaps.collect(root, [swap.retired], removal)
    found = None if not_removed else removal.removed
    return {"found": found, "removed": removal.removed, "not_removed": not_removed}


def _count_older(root: roots.Root, fresh: int, born: int, clock: Clock) -> "int | None":
    """Count what the path leads to and is older than the fresh tree; None if that cannot be."""
    if not roots.is_in_place(root, fresh):
        return None
    files = picked(root._replace(fd=fresh), Selection({}), clock)
    try:
        return sum(1 for _, _, _, state in files if state.st_ctime_ns < born)
    except LateError:
        return None


def _looks(root: roots.Root, job: Job, clock: Clock) -> "list[str]":
    """Give examples of paths or keys for patterns that matched none."""
    if not (job.get("match") or job.get("search")):
        return []
    everything = Selection({"by_key": job["by_key"]})
    labels = (label for _, _, label, _ in picked(root, everything, clock))
    return list(itertools.islice(labels, EXAMPLES))


def _files_now() -> float:
    try:
        return time.clock_gettime(_CLOCK_REALTIME_COARSE)
    except OSError:
        return time.time()
