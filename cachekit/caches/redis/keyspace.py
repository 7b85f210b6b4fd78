"""Finding the keys that a scope selects, by SCAN; never by KEYS."""

import re
from collections.abc import Callable, Iterator, Sequence
from fnmatch import translate
from typing import NamedTuple

from cachekit.caches.namespace import literal_start, prefix_of
from cachekit.caches.redis.connection import Connection
from cachekit.caches.redis.replies import Command
from cachekit.caches.redis.store import Store, is_elsewhere
from cachekit.scope import Kind, Scope

LISTED_AT_ONCE = 1000
_START = b"0"
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


def listed(store: Store, selection: Selection) -> set[bytes]:
    """List the selected keys."""
    return set().union(*(listed_at(primary, selection) for primary in store.primaries))


def listed_at(primary: Connection, selection: Selection) -> set[bytes]:
    """List the selected keys of one server."""
    keys: set[bytes] = set()
    cursor: bytes | None = _START
    while cursor is not None:
        primary.send([_scan(cursor, selection)])
        cursor, page = _page(primary, selection)
        keys.update(page)
    return keys


def sweep(store: Store, selection: Selection) -> int:
    """Unlink the selected keys while they are listed; count them.

    Keys of a slot that moves are passed over: whoever lists again finds them.
    """
    return sum(sum(_swept(store, primary, selection)) for primary in store.primaries)


def total(store: Store) -> int:
    """Count all keys."""
    return sum(int(primary.ask("DBSIZE")) for primary in store.primaries)


def _swept(store: Store, primary: Connection, selection: Selection) -> Iterator[int]:
    unlinks: list[Command] = []
    cursor: bytes | None = _START
    while cursor is not None:
        # Listed on before the last page is unlinked: redis never waits for what is packed here.
        primary.send([_scan(cursor, selection)])
        primary.send(unlinks)
        cursor, page = _page(primary, selection)
        yield from _unlinked(primary, len(unlinks))
        unlinks = store.unlinks(page)
    primary.send(unlinks)
    yield from _unlinked(primary, len(unlinks))


def _unlinked(primary: Connection, count: int) -> Iterator[int]:
    return (primary.number(each) for each in primary.receive(count) if not is_elsewhere(each))


def _scan(cursor: bytes, selection: Selection) -> Command:
    return ("SCAN", cursor, "MATCH", selection.pattern, "COUNT", LISTED_AT_ONCE)


def _page(primary: Connection, selection: Selection) -> tuple[bytes | None, list[bytes]]:
    """Receive some of the selected keys, and the cursor for more; None after the last."""
    (reply,) = primary.receive(1)
    primary.check(reply)
    match reply:
        case [bytes(cursor), list(keys)]:
            return (None if cursor == _START else cursor), list(filter(selection.matches, keys))
        case _:
            raise primary.unexpected("SCAN", reply)


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
