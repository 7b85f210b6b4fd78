"""When a run does not take place: the site is held, another run goes on, the last one is fresh."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cachekit.errors import ConfigError, LockedError
from cachekit.quantities import format_seconds
from cachekit.scheduling.hold import why_held

_PATIENCE_SECONDS = 600.0


def refuse_if_held(options: Mapping[str, Any], state_dir: Path, site: str) -> None:
    """Refuse a scheduled run while the site is held. Raises LockedError, ConfigError."""
    if options["hold_file"] and not options["scheduled"]:
        raise ConfigError("--hold-file: is about --scheduled runs")
    if options["scheduled"] and (why := why_held(state_dir, site, options["hold_file"])):
        raise LockedError(why)


def patience(options: Mapping[str, Any], budget: float | None) -> float:
    """Give the seconds to wait for another run."""
    if options["if_locked"] != "wait":
        return 0.0
    return _PATIENCE_SECONDS if budget is None else budget


def must_end(options: Mapping[str, Any], error: LockedError, caught: Sequence[int]) -> int:
    """Give the exit code of a run that was told to end while it waited for another; 0 is a skip.

    Raises the error unless `--if-locked skip` makes it one.
    """
    if caught:
        return caught[0]
    if options["if_locked"] != "skip":
        raise error
    return 0


def why_fresh(options: Mapping[str, Any], last_good: float | None) -> str:
    """Say why nothing needs to be done, by when the last good run began; "" if it is too old."""
    if options["max_age"] is None or last_good is None:
        return ""
    age = time.time() - last_good
    if not 0 <= age < options["max_age"]:  # a clock that was set back proves nothing
        return ""
    limit = format_seconds(options["max_age"])
    return f"the last good run began {format_seconds(age)} ago, and --max-age is {limit}"
