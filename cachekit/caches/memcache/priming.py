"""Writing many items to the servers that PHP looks for them on, each batch looked up afterwards."""

import math
import re
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from cachekit.caches.memcache.connection import BLANK, MAX_KEY, WRITE_BATCH_BYTES, Connection
from cachekit.caches.memcache.keys import present
from cachekit.caches.tally import Tally
from cachekit.errors import RefusedError, UnreachableError
from cachekit.quantities import format_bytes

BATCH_ITEMS = 1000
_LONGEST_RELATIVE_TTL = 30 * 86400
# What an item takes beside key and value, at most; the server's limit includes it.
_HEADER_BYTES = 64
_WATCH_EVERY = 10
# php-memcached refuses keys with anything else.
_NOT_GRAPHIC = re.compile(rb"[^\x21-\x7e]")


class Item(NamedTuple):
    """What to store; `expires_at` in epoch seconds by this machine's clock, None for never."""

    key: bytes
    value: bytes
    flags: int
    expires_at: float | None


class Shelf:
    """One server while it is filled; `kept` are keys of others that are to outlive that."""

    def __init__(
        self,
        connection: Connection,
        tally: Tally,
        *,
        kept: Sequence[bytes] = (),
        overwrite: bool = False,
        for_php: bool = True,
        force: bool = False,
    ) -> None:
        self.tally = tally
        self.place = connection.place
        self._connection = connection
        self._kept = kept
        self._force = force
        self._unfit_bytes = _NOT_GRAPHIC if for_php else BLANK
        self._mode = b"MS" if overwrite else b"ME"
        self._max_item = connection.number("item_size_max", "settings")
        self._evictions = connection.number("evictions")
        self._batch: list[Item] = []
        self._size = 0
        self._batches = 0

    def put(self, item: Item) -> None:
        """Take one item; it is written with the next full batch."""
        self.tally.found += 1
        if reason := self._unfit(item):
            self.tally.fail(item.key, reason)
        else:
            self._batch.append(item)
            self._size += len(item.value)
            if len(self._batch) >= BATCH_ITEMS or self._size >= WRITE_BATCH_BYTES:
                self.flush()

    @property
    def waiting(self) -> int:
        """How many items are not written and looked up yet."""
        return len(self._batch)

    def room(self) -> int:
        """Tell how many bytes may still come."""
        used = self._connection.number("bytes")
        return max(0, self._connection.number("limit_maxbytes") - used)

    def finish(self) -> None:
        """Write the rest, and look what became of the others. Raises RefusedError."""
        self.flush()
        self.tally.evicted += self.watch()
        if gone := len(self._kept) - len(present(self._connection, self._kept)):
            self.tally.notes.append(
                f"{self.place}: {gone} of {len(self._kept)} sampled keys of the"
                " rollback release are gone"
            )

    def flush(self) -> None:
        """Write what is waiting, and look it up. Raises RefusedError where the server evicts."""
        if not self._batch:
            return
        now = time.time()
        batch = [each for each in self._batch if each.expires_at is None or each.expires_at > now]
        self._verify(batch, self._write(batch, now))
        self.tally.skipped += len(self._batch) - len(batch)
        self._batch, self._size = [], 0
        self._batches += 1
        if self._batches % _WATCH_EVERY == 0:
            self.watch()

    def watch(self) -> int:
        """Count what the server threw out since the start. Raises RefusedError, unless forced."""
        evicted = self._connection.number("evictions") - self._evictions
        if evicted and not self._force:
            raise RefusedError(
                self.place,
                f"it is full: {evicted:,} entries were evicted while {self.tally.stored:,} were"
                " stored, and the rest was not; give it more memory or prime less, or --force",
            )
        return evicted

    def _unfit(self, item: Item) -> str:
        if len(item.key) > MAX_KEY:
            return f"the key has {len(item.key)} bytes, memcached takes {MAX_KEY}"
        if self._unfit_bytes.search(item.key):
            return "the key has spaces, control or non-ASCII bytes, which PHP cannot ask for"
        if len(item.key) + len(item.value) + _HEADER_BYTES > self._max_item:
            return f"larger than the server's item_size_max of {format_bytes(self._max_item)}"
        return ""

    def _write(self, batch: Sequence[Item], now: float) -> set[int]:
        """Store what is not there yet; give the numbers of what was."""
        ahead = self._clock_ahead(batch, now)
        commands = [
            b"ms %b %d T%d F%d %b O%d q\r\n%b\r\n"
            % (key, len(value), _exptime(expires_at, now, ahead), flags, self._mode, number, value)
            for number, (key, value, flags, expires_at) in enumerate(batch)
        ]
        batches = self._connection.ask(commands, batch_bytes=2 * WRITE_BATCH_BYTES)
        with self._connection.translated():
            return {
                int(line[4:]) for lines in batches for line in lines if line.startswith(b"NS O")
            }

    def _clock_ahead(self, batch: Sequence[Item], now: float) -> float:
        """Tell how far the server's clock is ahead, by which it reads what is over 30 days."""
        latest = now + _LONGEST_RELATIVE_TTL
        if any(item.expires_at is not None and item.expires_at > latest for item in batch):
            return self._connection.number("time") - now
        return 0

    def _verify(self, batch: Sequence[Item], there: set[int]) -> None:
        """Look every item up: there with its size and flags, or there since before."""
        commands = [b"mg %b s f O%d q\r\n" % (item.key, n) for n, item in enumerate(batch)]
        wanted = [
            b"HD s%d f%d O%d" % (len(item.value), item.flags, n) for n, item in enumerate(batch)
        ]
        replies = [
            reply
            for lines in self._connection.ask(commands, batch_bytes=WRITE_BATCH_BYTES)
            for reply in lines
        ]
        tally = self.tally
        tally.present += len(there)
        tally.stored += len(batch) - len(there)
        if replies != wanted:
            self._count_missing(batch, there, replies, wanted)

    def _count_missing(
        self, batch: Sequence[Item], there: set[int], replies: list[bytes], wanted: list[bytes]
    ) -> None:
        with self._connection.translated():
            found = {int(reply.rpartition(b"O")[2]): reply for reply in replies}
        for number, item in enumerate(batch):
            reply = found.get(number)
            if reply == wanted[number] or (number in there and reply):
                continue
            if number in there:
                self.tally.present -= 1
                self.tally.fail(item.key, "was there and went away meanwhile")
            else:
                self.tally.stored -= 1
                gone = "is not there after it was stored" if reply is None else "was changed since"
                self.tally.fail(item.key, gone)


class Gone:
    """A server that does not answer: nothing that belongs there is proven to be there."""

    waiting = 0

    def __init__(self, error: UnreachableError, tally: Tally, waiting: int = 0) -> None:
        self.error = error
        self.tally = tally
        tally.left += tally.stored + tally.present + waiting
        tally.stored = tally.present = 0
        tally.notes.append(f"{error}; what belongs there counts as left")

    def put(self, item: Item) -> None:
        """Count an item that cannot be stored."""
        self.tally.found += 1
        self.tally.fail(item.key, "its server does not answer")

    def finish(self) -> None:
        """Do nothing: there is nothing more to know."""


def fill(
    items: Iterable[Item], shelves: Sequence[Shelf | Gone], place_of: Callable[[bytes], int]
) -> Tally:
    """Store all items, each on its server, of which one that dies does not stop the others.

    Raises RefusedError.
    """
    rows = list(shelves)
    for item in items:
        at = place_of(item.key)
        try:
            rows[at].put(item)
        except UnreachableError as error:
            rows[at] = Gone(error, rows[at].tally, rows[at].waiting)
    tally = Tally()
    for row in rows:
        try:
            row.finish()
        except UnreachableError as error:
            row = Gone(error, row.tally, row.waiting)  # noqa: PLW2901 - it takes its place
        tally.add(row.tally)
    return tally


def check_room(shelves: Sequence[Shelf], size: int) -> None:
    """Refuse what would push other entries out. Raises RefusedError."""
    room = sum(shelf.room() for shelf in shelves)
    if size > room:
        raise RefusedError(
            ", ".join(shelf.place for shelf in shelves),
            f"about {format_bytes(size)} would go into {format_bytes(room)} of room and push out"
            " what is there, the rollback release first; --force primes all the same",
        )


def _exptime(expires_at: float | None, now: float, clock_ahead: float) -> int:
    if expires_at is None:
        return 0
    seconds = math.ceil(expires_at - now)
    return seconds if seconds <= _LONGEST_RELATIVE_TTL else math.ceil(expires_at + clock_ahead)
