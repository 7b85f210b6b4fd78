"""Entries from records, and whether there is room for what comes."""

import json
from collections.abc import Iterator
from typing import Any

from cachekit.caches.base import Conditions, Filling
from cachekit.caches.namespace import stored_key
from cachekit.caches.records import Record, read_records
from cachekit.caches.redis.items import Item
from cachekit.caches.redis.keyspace import wire
from cachekit.caches.redis.state import room
from cachekit.caches.redis.store import Store
from cachekit.caches.tally import Tally
from cachekit.errors import RefusedError
from cachekit.quantities import format_bytes


def loaded(
    filling: Filling, namespace: str, conditions: Conditions, place: str, tally: Tally
) -> Iterator[Item]:
    """Read records as entries. Raises SourceError; RefusedError for one outside the namespace."""
    with_flags = 0
    for record in read_records(filling, conditions.deadline):
        try:
            key = stored_key(record.key, namespace, conditions.release)
        except ValueError as error:
            raise RefusedError(place, str(error)) from error
        with_flags += bool(record.flags)
        yield Item(wire(key), "SET", (value_of(record),), _expiry(record))
    if with_flags:
        tally.notes.append(f"{with_flags:,} records have flags, which redis does not keep")


def value_of(record: Record) -> bytes:
    """Give what is stored: bytes and text as they are, anything else as JSON."""
    value: Any = record.value
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        value = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return wire(value)


def check_room(store: Store, size: int) -> None:
    """Raise RefusedError for what would push other entries out, or not fit."""
    rooms = [room(primary.info()) for primary in store.primaries]
    limited = [each for each in rooms if each is not None]
    if len(limited) == len(rooms) and size > sum(limited):
        raise RefusedError(
            store.primaries[0].place,
            f"about {format_bytes(size)} would go into {format_bytes(sum(limited))} of room below"
            " maxmemory and push out what is there; --force primes all the same",
        )


def _expiry(record: Record) -> int | None:
    return None if record.expires_at is None else int(record.expires_at * 1000)
