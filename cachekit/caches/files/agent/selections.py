"""Which files of a cache are meant: by path, age, or the key that nginx wrote into them."""

import os
import re
import stat
import time
from collections.abc import Iterator

from cachekit.caches.files.agent.roots import MARKER, Root
from cachekit.caches.files.agent.trees import Clock, Directory, Job, text, walk

_NGINX_NAME = re.compile(rb"[0-9a-f]{32}")
_NGINX_KEY = re.compile(rb"\nKEY: ([^\n]*)\n")
# The header before the KEY line has some 340 bytes; the key is as long as the longest URL.
_KEY_WITHIN = 65536


class Selection:
    """Picks files; without patterns and age all of them, and never the marker."""

    def __init__(self, job: Job) -> None:
        self._patterns = [re.compile(each, re.DOTALL) for each in job.get("match", [])]
        # What is searched is the part of a label that is called `uri` here.
        self._within = re.compile(job.get("within", ""), re.DOTALL)
        self._searches = [re.compile(each) for each in job.get("search", [])]
        age = job.get("older_than")
        self._before = None if age is None else time.time() - age
        self._by_key = job.get("by_key", False)

    def picks(self, directory: Directory, name: bytes) -> "tuple[str, os.stat_result] | None":
        """Give the label and state of a file that is meant: its key for nginx, else its path."""
        path = directory.below(name)
        if path == MARKER:
            return None
        label = _key(directory, name) if self._by_key else text(path)
        if label is None or not self._matches(label):
            return None
        state = directory.stat(name)
        if state is None or not (self._before is None or state.st_mtime < self._before):
            return None
        return label, state

    def _matches(self, label: str) -> bool:
        if not (self._patterns or self._searches):
            return True
        within = self._within.fullmatch(label) if self._searches else None
        return any(each.fullmatch(label) for each in self._patterns) or bool(
            within and any(each.search(within.group("uri")) for each in self._searches)
        )


def picked(
    root: Root, selection: Selection, clock: Clock
) -> "Iterator[tuple[Directory, bytes, str, os.stat_result]]":
    """Go through the files that are meant."""
    for directory in walk(root.fd, clock):
        for name in directory.files:
            pick = selection.picks(directory, name)
            if pick is not None:
                yield (directory, name, *pick)


def _key(directory: Directory, name: bytes) -> "str | None":
    """Read the key of an entry; None for what is none, such as one being written."""
    if not _NGINX_NAME.fullmatch(name):
        return None
    try:
        fd = os.open(
            name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory.fd
        )
    except OSError:
        return None
    with os.fdopen(fd, "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        match = _NGINX_KEY.search(file.read(4096))
        if match is None:
            file.seek(0)
            match = _NGINX_KEY.search(file.read(_KEY_WITHIN))
    return text(match.group(1)) if match else None
