"""Storing many entries, each batch looked up afterwards."""

from collections.abc import Iterable

import hiredis

from cachekit.caches.redis.connection import Connection
from cachekit.caches.redis.items import Item, Writer, now_ms
from cachekit.caches.redis.replies import Reply
from cachekit.caches.redis.state import number
from cachekit.caches.redis.store import Store
from cachekit.caches.tally import Tally
from cachekit.errors import RefusedError
from cachekit.model import shown

_BATCH_ITEMS = 500
_BATCH_BYTES = 512 * 1024
_WATCH_EVERY = 20
_TTL_TOLERANCE_MS = 2000
_GONE = -2
# What is wrong with one entry; anything else is wrong with all of them.
_OF_ONE = ("ERR", "MOVED", "ASK", "TRYAGAIN", "CROSSSLOT", "WRONGTYPE")


class Shelf:
    """One server while it is filled."""

    def __init__(self, server: Connection, tally: Tally, *, overwrite: bool, force: bool) -> None:
        self._force = force
        self._server = server
        self._tally = tally
        self._writer = Writer(server, overwrite=overwrite)
        self._evicted = number(server.info(), "evicted_keys")
        self._batch: list[Item] = []
        self._size = 0
        self._batches = 0
        self._sent: list[Item] = []
        self._sent_at = 0

    def put(self, item: Item) -> None:
        """Take one entry; it is written with the next full batch."""
        self._batch.append(item)
        self._size += sum(map(len, item.values))
        if len(self._batch) >= _BATCH_ITEMS or self._size >= _BATCH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting. Raises RefusedError where the server evicts.

        What redis says to it is read when the next batch is there: meanwhile that one is made.
        """
        self._settle()
        now = now_ms()
        batch, self._batch, self._size = self._batch, [], 0
        alive = [item for item in batch if item.expires_ms is None or item.expires_ms > now]
        self._tally.skipped += len(batch) - len(alive)
        for item in alive:
            if item.is_collection:
                reply = self._writer.store_collection(item)
                self._judge(item, reply, self._server.ask("PTTL", item.key), now)
        self._send([item for item in alive if not item.is_collection], now)
        self._batches += 1
        if self._batches % _WATCH_EVERY == 0:
            self.watch()

    def watch(self) -> int:
        """Count what the server threw out since the start. Raises RefusedError, unless forced."""
        self._settle()
        evicted = number(self._server.info(), "evicted_keys") - self._evicted
        if evicted and not self._force:
            raise RefusedError(
                self._server.place,
                f"it is full: {evicted:,} entries were evicted while {self._tally.stored:,} were"
                " stored, and the rest was not; give it more memory or prime less, or --force",
            )
        return evicted

    def _send(self, items: list[Item], now: int) -> None:
        writes = [self._writer.command(item, now) for item in items]
        looks = [("PTTL", item.key) for item in items]
        self._server.send([*writes, *looks])
        self._sent, self._sent_at = items, now

    def _settle(self) -> None:
        """Count what was sent last."""
        items, self._sent = self._sent, []
        replies = self._server.receive(2 * len(items))
        for item, wrote, ttl in zip(items, replies, replies[len(items) :], strict=False):
            self._judge(item, wrote, ttl, self._sent_at)

    def _judge(self, item: Item, wrote: Reply, ttl: Reply, now: int) -> None:
        """Count one entry by what redis said to it, and by what is there."""
        tally = self._tally
        refused = isinstance(wrote, hiredis.ReplyError)
        was_there = wrote is None or (refused and str(wrote).startswith("BUSYKEY"))
        if refused and not was_there:
            if not str(wrote).startswith(_OF_ONE):
                self._server.check(wrote)
            tally.fail(item.key, f"redis says: {shown(str(wrote))}")
        elif ttl == _GONE:
            self._count_gone(item, was_there=was_there)
        elif was_there:
            tally.present += 1
        elif _lives(ttl, item.expires_ms, now, now_ms()):
            tally.stored += 1
        else:
            # The application has stored it anew between the write and the look.
            tally.present += 1

    def _count_gone(self, item: Item, *, was_there: bool) -> None:
        if item.expires_ms is not None and item.expires_ms <= now_ms():
            self._tally.skipped += 1
        elif was_there:
            self._tally.fail(item.key, "was there and went away meanwhile")
        else:
            self._tally.fail(item.key, "is not there after it was stored")


def fill(
    items: Iterable[Item], store: Store, tally: Tally, *, overwrite: bool, force: bool
) -> None:
    """Store all entries, each on the server that holds its key. Raises CachekitError."""
    shelves = {
        each: Shelf(each, tally, overwrite=overwrite, force=force) for each in store.primaries
    }
    for item in items:
        tally.found += 1
        shelves[store.owner(item.key)].put(item)
    for shelf in shelves.values():
        shelf.flush()
        tally.evicted += shelf.watch()


def _lives(ttl: Reply, expires_ms: int | None, began: int, ended: int) -> bool:
    """Whether a lifetime that was told between two times is the one that was asked for."""
    if expires_ms is None or not isinstance(ttl, int):
        return bool(ttl == -1)
    return began + ttl - _TTL_TOLERANCE_MS <= expires_ms <= ended + ttl + _TTL_TOLERANCE_MS
