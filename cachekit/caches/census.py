"""Counting the keys of a namespace by the token that stands in the place of `{release}`."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cachekit.caches.namespace import PLACEHOLDER, TOKEN_LENGTH
from cachekit.caches.releases import ReleaseEntries
from cachekit.scope import Kind, Scope

_TOKEN = rb"[0-9a-f]{%d}" % TOKEN_LENGTH


def start_of_any(namespace: str, encode: Callable[[bytes], bytes] = bytes) -> bytes:
    """Give the regular expression of what keys of any release start with; group 1 is the token.

    `encode` writes bytes as they stand where keys are read. Keys that have something else than a
    token in its place are of no release.
    """
    parts = namespace.encode("utf-8", "surrogateescape").split(PLACEHOLDER.encode())
    # In a group of its own, or a digit that follows would belong to the number of the group.
    first, *others = (re.escape(encode(part)) for part in parts)
    return first + rb"(" + _TOKEN + rb")" + rb"(?:\1)".join(others)


@dataclass(slots=True)
class Count:
    """Entries of one release, added up; a size or age that one of them does not tell is unknown."""

    items: int = 0
    size: int | None = 0
    oldest: float | None = 0.0
    newest: float | None = float("inf")

    def add(self, items: int, size: int | None, oldest: float | None, newest: float | None) -> None:
        """Add entries, and the ages of the oldest and the newest of them."""
        self.items += items
        self.size = None if self.size is None or size is None else self.size + size
        self.oldest = None if self.oldest is None or oldest is None else max(self.oldest, oldest)
        self.newest = None if self.newest is None or newest is None else min(self.newest, newest)


def told(counts: Mapping[str, Count], namespace: str) -> tuple[ReleaseEntries, ...]:
    """Give what was counted by token."""
    return tuple(
        ReleaseEntries(
            token=token,
            scope=Scope(Kind.PREFIX, (namespace.replace(PLACEHOLDER, token),)),
            items=count.items,
            size=count.size,
            oldest=count.oldest,
            newest=count.newest,
        )
        for token, count in counts.items()
    )
