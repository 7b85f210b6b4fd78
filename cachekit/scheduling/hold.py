"""Holds: while a site is held, runs that a schedule starts do nothing.

A hold is a file of the state directory. It ends by itself, or with `cachekit release`.
"""

import getpass
import json
import os
import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cachekit.errors import ConfigError, JournalError, LockedError
from cachekit.lock import file_name
from cachekit.model import Site, shown

_LIFT = "`cachekit release` lifts the hold"
_END_OF_CALENDAR = 250_000_000_000.0
"""In epoch seconds; beyond the year 9999 no time can be written."""


@dataclass(frozen=True, kw_only=True)
class Hold:
    """Who holds a site and why; times in epoch seconds, `until` is None if it has no end."""

    holder: str
    since: float
    until: float | None = None
    reason: str = ""

    @property
    def has_ended(self) -> bool:
        """Whether its time is over."""
        return self.until is not None and time.time() >= self.until

    def __str__(self) -> str:
        until = f" until {_shown_time(self.until)}" if self.until is not None else ""
        reason = f": {self.reason}" if self.reason else ""
        return shown(f"held by {self.holder} since {_shown_time(self.since)}{until}{reason}")


def hold(state_dir: Path, site: str, *, seconds: float | None = None, reason: str = "") -> Hold:
    """Hold a site, for so long or until it is released; one's own hold is made anew.

    Raises LockedError if somebody else holds it, ConfigError for a time without end, JournalError.
    """
    path, now = _path(state_dir, site), time.time()
    until = None if seconds is None else now + seconds
    if until is not None and until > _END_OF_CALENDAR:
        raise ConfigError("--for: that is too long; without it a hold lasts until it is released")
    made = Hold(holder=_who(), since=now, until=until, reason=reason)
    there = _read(path)
    if there is not None and not there.has_ended and there.holder != made.holder:
        raise LockedError(f"{site} is already {there}; {_LIFT}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        partial.write_text(json.dumps(asdict(made)), encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise _failed(path, "written", error) from error
    return made


def release(state_dir: Path, site: str) -> Hold | None:
    """End the hold of a site, and give it if it had not ended. Raises JournalError."""
    path = _path(state_dir, site)
    there = _read(path)
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise _failed(path, "removed", error) from error
    return None if there is None or there.has_ended else there


def why_held(state_dir: Path, site: str, hold_file: Path | None = None) -> str:
    """Say who holds a site and why, or that the file is there which says so; "" if it is not held.

    What cannot be read counts as a hold.
    """
    there = _read(_path(state_dir, site))
    if there is not None and not there.has_ended:
        return f"{site} is {there}; {_LIFT}"
    if hold_file is not None and _is_there(hold_file):
        return f"{site} is held: {shown(str(hold_file))} is there"
    return ""


def _path(state_dir: Path, site: str) -> Path:
    return state_dir / "holds" / f"{file_name(str(Site(site)))}.json"


def _read(path: Path) -> Hold | None:
    try:
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return Hold(
            holder=str(facts["holder"]),
            since=_time(facts["since"]),
            until=None if facts["until"] is None else _time(facts["until"]),
            reason=str(facts["reason"]),
        )
    except FileNotFoundError:
        return None
    except OSError as error:
        why = error.strerror or ""
    except (ValueError, TypeError, LookupError):
        why = "it is damaged"
    return Hold(holder="somebody", since=time.time(), reason=f"{path} cannot be read: {why}")


def _time(number: Any) -> float:
    """Take a time that can be written. Raises ValueError and TypeError."""
    seconds = float(number)
    if not 0 <= seconds <= _END_OF_CALENDAR:
        raise ValueError(f"{number} is no time")
    return seconds


def _is_there(path: Path) -> bool:
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def _failed(path: Path, done: str, error: OSError) -> JournalError:
    return JournalError(f"{path}: cannot be {done}: {error.strerror}; give the right --state-dir")


def _who() -> str:
    try:
        user = os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user} on {socket.gethostname()}"


def _shown_time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(seconds))
