"""Copies of another memcache, or of another release in the same one."""

import base64
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

from cachekit.caches.base import Conditions, Place
from cachekit.caches.memcache import crawler
from cachekit.caches.memcache.connection import Connection, wire_key
from cachekit.caches.memcache.priming import Item


@dataclass(frozen=True, slots=True)
class Copies:
    """What keys start with at the donor, what their copies start with, and where the donor is."""

    source: bytes
    target: bytes
    places: Sequence[Place]
    conditions: Conditions

    def size(self) -> int:
        """Sum the bytes of the items."""
        return sum(self._size_at(place) for place in self.places)

    def items(self) -> Iterator[Item]:
        """Read the items under the keys of their copies."""
        for place in self.places:
            # A connection of its own: the donor may be the server that is written to meanwhile.
            with closing(Connection(place, self.conditions.deadline)) as connection:
                keys, _ = crawler.keys_and_total(connection, self.source, self.conditions)
                yield from self._read(connection, keys)

    def _size_at(self, place: Place) -> int:
        with closing(Connection(place, self.conditions.deadline)) as connection:
            return crawler.size_of(connection, self.source, self.conditions)

    def _read(self, connection: Connection, keys: Sequence[bytes]) -> Iterator[Item]:
        """Read without bumping items in the donor's LRU; what expired meanwhile is left out."""
        commands = (b"mg %b k v f t u%b q\r\n" % wire_key(key) for key in keys)
        with connection.translated():
            for line, value in connection.fetch(commands):
                _, _, key, flags, ttl, *is_binary = line.split(b" ")
                expires_at = None if ttl == b"t-1" else time.time() + int(ttl[1:])
                plain = base64.b64decode(key[1:]) if is_binary else key[1:]
                copied = self.target + plain[len(self.source) :]
                yield Item(copied, value, int(flags[1:]), expires_at)
