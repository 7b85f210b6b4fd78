"""Which keys a memcached holds: `lru_crawler metadump hash`, with its hazards guarded.

On 1.6.18 a dump that meets a growing hash table and a second crawler command froze the whole
server. So: never while the table grows, one at a time by a lock, no second command.
"""

import re
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import quote_from_bytes, unquote_to_bytes

from cachekit.caches.base import Conditions
from cachekit.caches.census import Count, start_of_any
from cachekit.caches.memcache.connection import Connection
from cachekit.errors import LockedError, RefusedError
from cachekit.lock import locked_one

_POLL_SECONDS = 0.1
_OLDEST = (1, 6, 9)


class NotListedError(RefusedError):
    """A memcached that never lists its keys, however quiet it is."""


def size_of(connection: Connection, prefix: bytes, conditions: Conditions) -> int:
    """Sum the bytes of the items that start with a prefix."""
    pattern = re.compile(_start(prefix) + rb"[^\n]* size=(\d+)", re.MULTILINE)
    with dumped(connection, conditions) as blocks:
        return sum(int(size) for block in blocks for _, size in pattern.findall(block))


def by_release(connection: Connection, namespace: str, conditions: Conditions) -> dict[str, Count]:
    """Count the items of each release of a namespace by its token, aged since their last use."""
    start = start_of_any(namespace, _encoded)
    fields = rb"\S*(?: exp=\S+)?(?: la=(\d+))?(?:[^\n]* size=(\d+))?"
    pattern = re.compile(rb"^key=" + start + fields, re.MULTILINE)
    counts: dict[str, Count] = defaultdict(Count)
    now = connection.number("time")
    with dumped(connection, conditions) as blocks:
        for block in blocks:
            for token, used, size in pattern.findall(block):
                age = max(0.0, now - int(used)) if used else None
                counts[token.decode()].add(1, int(size) if size else None, age, age)
    return counts


def keys_and_total(
    connection: Connection, prefix: bytes, conditions: Conditions
) -> tuple[list[bytes], int]:
    """List the keys that start with a prefix, and count all items."""
    pattern = re.compile(_start(prefix), re.MULTILINE)
    keys: list[bytes] = []
    total = 0
    with dumped(connection, conditions) as blocks:
        for block in blocks:
            total += block.count(b"\nkey=") + block.startswith(b"key=")
            keys += pattern.findall(block)
    return [unquote_to_bytes(key) if b"%" in key else key for key in keys], total


@contextmanager
def dumped(connection: Connection, conditions: Conditions) -> Iterator[Iterator[bytes]]:
    """Hold the server's one crawler, and give its dump in blocks of whole lines.

    To be read at once: what pushes back on a dump holds up the server's own threads.
    """
    _check_able(connection)
    with _lock(connection, conditions):
        _await_quiet(connection, conditions)
        yield connection.lines(b"lru_crawler metadump hash\r\n")


def _check_able(connection: Connection) -> None:
    settings = connection.stats("settings")
    version = connection.stats().get("version", "")
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:3])
    instead = "change the namespace of the release instead; nothing was removed"
    if numbers < _OLDEST:
        raise NotListedError(
            connection.place, f"memcached {version} cannot list its keys, 1.6.9 can; {instead}"
        )
    if "no" in (settings.get("dump_enabled"), settings.get("lru_crawler")):
        raise NotListedError(
            connection.place,
            f"this memcached does not list its keys (-X, or no_lru_crawler); {instead}",
        )


@contextmanager
def _lock(connection: Connection, conditions: Conditions) -> Iterator[None]:
    subject = f"memcached {connection.place}"
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(locked_one(conditions.state_dir, subject, "listed"))
                break
            except LockedError:
                time.sleep(conditions.deadline.remaining(_POLL_SECONDS))
        yield


def _await_quiet(connection: Connection, conditions: Conditions) -> None:
    while True:
        stats = connection.stats()
        if stats.get("hash_is_expanding", "0") in ("0", "False") and stats.get(
            "lru_crawler_running", "0"
        ) in ("0", "False"):
            return
        if conditions.deadline.has_passed:
            raise RefusedError(
                connection.place,
                "its hash table grows or its crawler runs, and a dump could freeze it; try later",
            )
        time.sleep(_POLL_SECONDS)


def _start(prefix: bytes) -> bytes:
    # Matched as it stands on the wire, encoded; only what matches is decoded.
    return rb"^key=(" + re.escape(_encoded(prefix)) + rb"\S*)"


def _encoded(part: bytes) -> bytes:
    return quote_from_bytes(part, safe="").encode()
