"""One entry to store, and the commands that store it."""

import time
from typing import Literal, NamedTuple

import hiredis

from cachekit.caches.redis.connection import Connection
from cachekit.caches.redis.replies import Command, Reply

How = Literal["SET", "RESTORE", "RPUSH", "SADD", "HSET", "ZADD"]

# Clocks that differ by less count as one: measuring them over a network is no better.
_SAME_CLOCK_MS = 500
# Even, for fields and values, scores and members come in pairs.
_ELEMENTS_AT_ONCE = 1000


class Item(NamedTuple):
    """An entry to store; `expires_ms` since the epoch by this machine's clock, None for never.

    `values` is one value, one payload of DUMP, or what a collection's command takes.
    """

    key: bytes
    how: How
    values: tuple[bytes, ...]
    expires_ms: int | None

    @property
    def is_collection(self) -> bool:
        """Whether it takes more than one command."""
        return self.how not in ("SET", "RESTORE")


def now_ms() -> int:
    """Give this machine's time."""
    return time.time_ns() // 1_000_000


def skew_ms(server: Connection) -> int:
    """Tell how far a server's clock is ahead of this machine's."""
    with server.parsing("TIME"):
        seconds, microseconds = server.ask("TIME")
        ahead = int(seconds) * 1000 + int(microseconds) // 1000 - now_ms()
    return ahead if abs(ahead) >= _SAME_CLOCK_MS else 0


class Writer:
    """Stores entries on one server: only where there is none of that name, unless it overwrites.

    Replies are OK for what was stored, None or BUSYKEY for what was there.
    """

    def __init__(self, server: Connection, *, overwrite: bool) -> None:
        self._server = server
        self._overwrite = overwrite
        self._skew = skew_ms(server)

    def command(self, item: Item, now: int) -> Command:
        """Give the command that stores a value or a payload."""
        if item.how == "RESTORE":
            # A time, not a span: none of it is lost on the way. 0 is for ever.
            until = 0 if item.expires_ms is None else item.expires_ms + self._skew
            mode = ("REPLACE",) if self._overwrite else ()
            return ("RESTORE", item.key, until, item.values[0], "ABSTTL", *mode)
        span = () if item.expires_ms is None else ("PX", item.expires_ms - now)
        return ("SET", item.key, item.values[0], *span, *(() if self._overwrite else ("NX",)))

    def store_collection(self, item: Item) -> Reply:
        """Store a collection at once, unless somebody else stores one of that name meanwhile."""
        watched = self._server.pipeline([("WATCH", item.key), ("EXISTS", item.key)])
        for reply in watched:
            if isinstance(reply, hiredis.ReplyError):
                return reply
        if watched[1] and not self._overwrite:
            self._server.ask("UNWATCH")
            return None
        replies = self._server.pipeline([("MULTI",), *self._parts(item), ("EXEC",)])
        for reply in (*replies[:-1], *(replies[-1] or ())):
            if isinstance(reply, hiredis.ReplyError):
                return reply
        return None if replies[-1] is None else b"OK"

    def _parts(self, item: Item) -> list[Command]:
        parts: list[Command] = [("UNLINK", item.key)]
        parts += [
            (item.how, item.key, *item.values[at : at + _ELEMENTS_AT_ONCE])
            for at in range(0, len(item.values), _ELEMENTS_AT_ONCE)
        ]
        if item.expires_ms is not None:
            parts.append(("PEXPIREAT", item.key, item.expires_ms + self._skew))
        return parts
