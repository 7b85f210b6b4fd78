"""Finding the keys that a scope selects, by SCAN; never by KEYS."""

import re
from collections.abc import Callable, Iterator, Sequence
from fnmatch import translate
from typing import NamedTuple

from cachekit.caches.namespace import literal_start, prefix_of
from cachekit.caches.redis.connection import Connection
from cachekit.caches.redis.store import Store
from cachekit.scope import Kind, Scope

# More are listed a little faster, and hold other clients up for longer.
LISTED_AT_ONCE = 1000
_SPECIAL = re.compile(rb"([\\*?\[\]])")


class Selection(NamedTuple):
    """Keys: redis looks for what they start with, `matches` for the rest."""

    start: bytes
    matches: Callable[[bytes], bool]

    @property
    def pattern(self) -> bytes:
        """The start as a glob of redis, taken literally."""
        return escaped(self.start) + b"*"


def selection_of(scope: Scope, namespace: str) -> Selection:
    """Select the keys of an EVERYTHING, RELEASE, PREFIX or GLOB scope."""
    if scope.kind is Kind.EVERYTHING:
        return prefixed(b"")
    if scope.kind is Kind.GLOB:
        return _globs(scope.values)
    starts = [
        prefix_of(namespace, value) if scope.kind is Kind.RELEASE else value
        for value in scope.values
    ]
    return prefixed(*map(wire, starts))


def prefixed(*starts: bytes) -> Selection:
    """Select the keys that start with one of these."""
    return Selection(_common(starts), lambda key: key.startswith(starts))


def wire(key: str) -> bytes:
    """Give the bytes of a key that was written as text."""
    return key.encode("utf-8", "surrogateescape")


def text(key: bytes) -> str:
    """Write the bytes of a key as text, and nothing is lost."""
    return key.decode("utf-8", "surrogateescape")


def escaped(literal: bytes) -> bytes:
    """Write bytes as a glob of redis that matches them alone."""
    return _SPECIAL.sub(rb"\\\1", literal)


def pages(primary: Connection, selection: Selection) -> Iterator[list[bytes]]:
    """Yield the selected keys of one server as it lists them, some of them more than once."""
    cursor = b"0"
    while True:
        cursor, keys = primary.page(
            "SCAN", cursor, "MATCH", selection.pattern, "COUNT", LISTED_AT_ONCE
        )
        yield list(filter(selection.matches, keys))
        if cursor == b"0":
            return


def listed(store: Store, selection: Selection) -> set[bytes]:
    """List the selected keys."""
    return set().union(*(listed_at(primary, selection) for primary in store.primaries))


def listed_at(primary: Connection, selection: Selection) -> set[bytes]:
    """List the selected keys of one server."""
    return {key for page in pages(primary, selection) for key in page}


def sweep(store: Store, selection: Selection) -> int:
    """Unlink the selected keys while they are listed; count them."""
    return sum(
        store.unlink_listed(primary, page)
        for primary in store.primaries
        for page in pages(primary, selection)
    )


def total(store: Store) -> int:
    """Count all keys."""
    return sum(primary.number(primary.ask("DBSIZE")) for primary in store.primaries)


def _globs(values: Sequence[str]) -> Selection:
    found = re.compile("|".join(map(translate, values))).match
    start = _common([wire(literal_start(value)) for value in values])
    return Selection(start, lambda key: found(text(key)) is not None)


def _common(starts: Sequence[bytes]) -> bytes:
    """Give what all of them start with."""
    first, last = min(starts), max(starts)
    for at, (one, other) in enumerate(zip(first, last, strict=False)):
        if one != other:
            return first[:at]
    return first
