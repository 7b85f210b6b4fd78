"""The directories of all releases: what stands in the place of `{release}` in a path."""

# Paths are bytes here.
# ruff: noqa: PTH112, PTH114, PTH118, PTH208
import os
import re
import time
from collections.abc import Iterator

from cachekit.caches.files.agent import roots
from cachekit.caches.files.agent.selections import Selection, picked
from cachekit.caches.files.agent.trees import (
    Clock,
    Job,
    LateError,
    MissingError,
    RefusedError,
    raw,
    text,
)

PLACEHOLDER = b"{release}"


def releases(job: Job) -> Job:
    """Count the files of each release; the time may end before all are counted."""
    clock = Clock(job["seconds"])
    path = raw(job["path"])
    found: list[Job] = []
    refused: dict[str, str] = {}
    for name, is_link in _names(path):
        try:
            root = roots.open_root(text(path.replace(PLACEHOLDER, name)), job["owner"])
            roots.check_mark(root, job["adopt"])
        except MissingError:
            continue
        except RefusedError as error:
            # Links beside releases, such as `current`, are none.
            if not is_link:
                refused[text(name)] = str(error)
            continue
        found.append(dict(_counted(root, clock), release=text(name)))
        os.close(root.fd)
        os.close(root.parent)
    return {"found": found, "left_out": refused}


def _names(path: bytes) -> "Iterator[tuple[bytes, bool]]":
    """Give what may be releases, and whether a link stands there; above a cache it is none."""
    before, _, after = path.partition(PLACEHOLDER)
    above, _, start = before.rpartition(b"/")
    rest, slash, _ = after.partition(b"/")
    others = rb"(?:\1)".join(re.escape(part) for part in rest.split(PLACEHOLDER))
    pattern = re.compile(re.escape(start) + rb"([^/\x00-\x1f\x7f]+)" + others)
    try:
        listed = sorted(os.listdir(above or b"/"))
    except FileNotFoundError:
        raise MissingError("there is no directory " + text(above)) from None
    for entry in listed:
        match = pattern.fullmatch(entry)
        is_hidden = not start and entry.startswith(b".")
        full = os.path.join(above or b"/", entry)
        is_link = os.path.islink(full)
        if match and not is_hidden and os.path.isdir(full) and not (is_link and slash):
            yield match.group(1), is_link


def _counted(root: roots.Root, clock: Clock) -> Job:
    items = size = 0
    times: list[float] = []
    try:
        for _, _, _, state in picked(root, Selection({}), clock):
            items += 1
            size += state.st_size
            times = [min([state.st_mtime, *times]), max([state.st_mtime, *times])]
    except LateError:
        return {"items": None, "size": None, "ages": []}
    return {"items": items, "size": size, "ages": [time.time() - each for each in times]}
