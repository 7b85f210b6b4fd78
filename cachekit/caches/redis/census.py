"""Counting what a redis holds of each release: by SCAN, with a sample of each looked at closer."""

import re
from collections import defaultdict
from collections.abc import Sequence

import hiredis

from cachekit.caches.census import Count, start_of_any
from cachekit.caches.namespace import fixed_part
from cachekit.caches.redis.connection import Connection
from cachekit.caches.redis.keyspace import listed_at, prefixed, wire
from cachekit.caches.redis.store import Store

_SAMPLE = 200


def by_release(store: Store, namespace: str) -> dict[str, Count]:
    """Count the entries of each release of a namespace by its token, aged since their last use.

    The size is estimated from some of them, and the ages are those of the same ones.
    """
    counts: dict[str, Count] = defaultdict(Count)
    for primary in store.primaries:
        for token, keys in _keys_by_token(primary, namespace).items():
            ages = _ages(primary, _sample(keys))
            oldest, newest = (max(ages), min(ages)) if ages else (None, None)
            counts[token].add(len(keys), _size(primary, keys), oldest, newest)
    return counts


def _keys_by_token(primary: Connection, namespace: str) -> dict[str, list[bytes]]:
    match = re.compile(start_of_any(namespace)).match
    found: dict[str, list[bytes]] = defaultdict(list)
    for key in listed_at(primary, prefixed(wire(fixed_part(namespace)))):
        if start := match(key):
            found[start[1].decode()].append(key)
    return found


def _sample(keys: Sequence[bytes]) -> Sequence[bytes]:
    return keys[:: max(1, len(keys) // _SAMPLE)]


def _size(primary: Connection, keys: Sequence[bytes]) -> int | None:
    """Estimate the bytes of entries; None where the server does not tell."""
    sizes = _numbers(primary, ("MEMORY", "USAGE"), _sample(keys))
    return None if sizes is None else sum(sizes) * len(keys) // max(1, len(sizes))


def _ages(primary: Connection, keys: Sequence[bytes]) -> list[float]:
    """Tell how long ago entries were used; nothing where the server keeps no account of it.

    With an LFU policy it counts uses instead.
    """
    return [float(each) for each in _numbers(primary, ("OBJECT", "IDLETIME"), keys) or ()]


def _numbers(
    primary: Connection, command: tuple[str, str], keys: Sequence[bytes]
) -> list[int] | None:
    """Ask for a number of each key; what is gone has none. None where the server refuses."""
    replies = primary.pipeline([(*command, key) for key in keys])
    if any(isinstance(reply, hiredis.ReplyError) for reply in replies):
        return None
    return [primary.number(reply) for reply in replies if reply is not None]
