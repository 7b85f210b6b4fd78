"""What a folder tells of the release that is in it: REVISION, the logs of deploy tools, git."""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cachekit.context.base import UNKNOWN, Fact, fault_of
from cachekit.deadline import Deadline
from cachekit.errors import CommandError
from cachekit.git import ask_git
from cachekit.model import shown

FOLDER = {
    "tool": ("the log of releases",),
    "release": ("the file REVISION", "git HEAD"),
    "previous": ("the link `current`", "the log of releases"),
}
"""Where facts are looked for after the environment, for people."""

_REVISION = "REVISION"
_LOGS = {"capistrano": "revisions.log", "deployer": ".dep/releases_log"}
_CAPISTRANO = re.compile(r"(?:deployed as|rolled back to) release (\S+)")
_NOT_KEPT = ("BAD_RELEASE", "DIRTY_RELEASE")
_LONGEST = 255
_READ_BYTES = 65536
_GIT_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """What a folder tells; `previous` was live before, and is still there."""

    tool: Fact = UNKNOWN
    release: Fact = UNKNOWN
    previous: Fact = UNKNOWN
    notes: tuple[str, ...] = ()


def look_at(folder: Path, *, with_git: bool) -> Deployed:
    """Look from the folder up to where its release or its working copy begins.

    `with_git` takes the commit that is checked out, where there is no REVISION. Changes nothing.
    """
    notes: list[str] = []
    try:
        above = _up_to_the_top(folder.resolve(strict=True))
    except OSError as error:
        return Deployed(notes=(f"{folder}: cannot be looked at: {error.strerror}",))
    release = _first(above, notes)
    place = above[-1]
    if with_git and not release.value and _is_repository(place):
        release = _head(place, notes)
    if place.parent.name != "releases":
        return Deployed(release=release, notes=tuple(notes))
    tool, names = _log(place.parent.parent, notes)
    previous = UNKNOWN
    if release.value:
        previous = _previous(place, release, [*names, *_live(place.parent.parent)], notes)
    return Deployed(tool=tool, release=release, previous=previous, notes=tuple(notes))


def _up_to_the_top(folder: Path) -> tuple[Path, ...]:
    """Give the folder and those above it; outside of a release or a working copy, only itself."""
    above = (folder, *folder.parents)
    for count, each in enumerate(above, start=1):
        if each.parent.name == "releases" or (each / ".git").exists():
            return above[:count]
    return above[:1]


def _first(folders: tuple[Path, ...], notes: list[str]) -> Fact:
    for folder in folders:
        found = _revision(folder / _REVISION, notes)
        if found.value:
            return found
    return UNKNOWN


def _revision(path: Path, notes: list[str]) -> Fact:
    """Read the one word of a file."""
    text = _read(path, notes).strip()
    fault = "has more than one word" if len(text.split()) > 1 else fault_of(text, _LONGEST)
    if fault:
        notes.append(f"{path} is no release: {fault}")
        return UNKNOWN
    return Fact(text, str(path)) if text else UNKNOWN


def _previous(place: Path, release: Fact, names: list[str], notes: list[str]) -> Fact:
    """Choose the last other release that was live and is kept."""
    try:
        kept = {other.name: other for other in place.parent.iterdir() if other != place}
        for name in reversed(names):
            if name in kept and not any((kept[name] / mark).exists() for mark in _NOT_KEPT):
                found = _revision(kept[name] / _REVISION, notes)
                if found.value not in ("", release.value):
                    return found
    except OSError as error:
        notes.append(f"{place.parent}: cannot be looked at: {error.strerror}")
    return UNKNOWN


def _live(root: Path) -> Iterator[str]:
    """Give the name of the release that visitors see: before the switch, that is another one."""
    current = Path(os.path.realpath(root / "current"))
    if current.parent == root / "releases":
        yield current.name


def _log(root: Path, notes: list[str]) -> tuple[Fact, list[str]]:
    """Read which tool made the releases, and their names in the order in which they went live."""
    for tool, name in _LOGS.items():
        lines = _read(root / name, notes, from_end=True).splitlines()
        if names := [found for line in lines if (found := _logged(tool, line))]:
            return Fact(tool, str(root / name)), names
    return UNKNOWN, []


def _logged(tool: str, line: str) -> str:
    """Read the name of a release from a line; "" where there is none."""
    if tool == "capistrano":
        found = _CAPISTRANO.search(line)
        return found[1] if found else ""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return ""
    return str(entry.get("release_name", "")) if isinstance(entry, dict) else ""


def _read(path: Path, notes: list[str], *, from_end: bool = False) -> str:
    """Read the beginning or the end of a file that may not be there."""
    try:
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            if from_end:
                file.seek(max(0, path.stat().st_size - _READ_BYTES))
            return file.read(_READ_BYTES).decode("utf-8", "surrogateescape")
    except OSError as error:
        notes.append(f"{path}: cannot be read: {error.strerror}")
        return ""


def _head(folder: Path, notes: list[str]) -> Fact:
    """Ask git which commit is checked out."""
    asked = ("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    try:
        done = ask_git(folder, *asked, deadline=Deadline(_GIT_SECONDS))
    except CommandError as error:
        notes.append(f"git HEAD in {folder} is not known: {error}")
        return UNKNOWN
    if done.status == 0:
        return Fact(done.stdout.decode(errors="replace").strip(), f"git HEAD in {folder}")
    said = done.stderr.decode(errors="replace").strip().partition("\n")[0] or "no commit"
    notes.append(f"git HEAD in {folder} is not known: {shown(said)}")
    return UNKNOWN


def _is_repository(folder: Path) -> bool:
    is_bare = (folder / "HEAD").is_file() and (folder / "objects").is_dir()
    return is_bare or (folder / ".git").exists()
