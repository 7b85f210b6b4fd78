"""What caches hold of each release, as plain data."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from cachekit.scope import Scope


class Role(StrEnum):
    """What a release is to the site; ordered from the one to keep to those to reap."""

    LIVE = "live"
    PREVIOUS = "previous"
    UNKNOWN = "unknown"
    OLD = "old"

    @property
    def rank(self) -> int:
        """0 is the live one."""
        return tuple(Role).index(self)


@dataclass(frozen=True, kw_only=True)
class ReleaseEntries:
    """What a cache holds of one release at one place; None is for what cannot be known.

    `token` is what stands in the place of `{release}` in stored names, `release` the id that it is
    of, "" where nobody said one. `scope` is what a clear of these entries takes. `size` is in
    bytes; `oldest` and `newest` are ages in seconds.
    """

    token: str
    scope: Scope
    release: str = ""
    role: Role = Role.UNKNOWN
    items: int | None = None
    size: int | None = None
    oldest: float | None = None
    newest: float | None = None


@dataclass(frozen=True, kw_only=True)
class Releases:
    """What a cache holds at one place, release by release.

    Ages count from when an entry was last `used`, or `written`.
    """

    aged_since: Literal["used", "written"]
    entries: tuple[ReleaseEntries, ...] = ()
    warnings: tuple[str, ...] = ()
