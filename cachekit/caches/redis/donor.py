"""Copies of another redis, or of another release in the same: payloads as they are, or by type."""

import secrets
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import hiredis

from cachekit.caches.base import Filling, Place
from cachekit.caches.redis.connection import Connection
from cachekit.caches.redis.items import How, Item, now_ms, skew_ms
from cachekit.caches.redis.keyspace import listed_at, prefixed
from cachekit.caches.redis.priming import Tally
from cachekit.caches.redis.replies import Command, Reply
from cachekit.caches.redis.store import Store
from cachekit.errors import RefusedError
from cachekit.model import Address

_FIRST_BATCH = 50
_LARGEST_BATCH = 500
_BATCH_BYTES = 4 * 1024 * 1024
_SAMPLE = 200
_WITH_EXPIRY_TIME = (7, 0)
_CANARY_MS = 10_000
_ENDLESS, _GONE = -1, -2

_READERS: dict[bytes, tuple[How, str, tuple[str, ...]]] = {
    b"string": ("SET", "GET", ()),
    b"list": ("RPUSH", "LRANGE", ("0", "-1")),
    b"set": ("SADD", "SMEMBERS", ()),
    b"hash": ("HSET", "HGETALL", ()),
    b"zset": ("ZADD", "ZRANGE", ("0", "-1", "WITHSCORES")),
}


class Rewrite(NamedTuple):
    """What keys start with at the donor, and what their copies start with."""

    source: bytes
    target: bytes

    def __call__(self, key: bytes) -> bytes:
        """Give the name of a key's copy."""
        return self.target + key[len(self.source) :]


class Reader:
    """One server that entries are copied from.

    Without `as_dumps` they are read by type: for a target that is older than the donor.
    """

    def __init__(self, server: Connection, tally: Tally, *, as_dumps: bool) -> None:
        self._server = server
        self._tally = tally
        self._as_dumps = as_dumps
        self._skew = skew_ms(server)
        # Without PEXPIRETIME a span is asked for, and counts from now.
        self._tells_time = server.version >= _WITH_EXPIRY_TIME

    def copies(self, keys: Sequence[bytes], rewrite: Rewrite) -> Iterator[Item]:
        """Read entries, under the keys of their copies; what expired meanwhile is left out."""
        at, count = 0, _FIRST_BATCH
        while at < len(keys):
            batch = keys[at : at + count]
            size = 0
            for item in self._read(batch):
                size += sum(map(len, item.values))
                yield item._replace(key=rewrite(item.key))
            at += len(batch)
            count = max(1, min(_LARGEST_BATCH, _BATCH_BYTES * len(batch) // max(1, size)))

    def _read(self, keys: Sequence[bytes]) -> Iterator[Item]:
        if not self._as_dumps:
            yield from self._by_type(keys)
            return
        told = self._with_expiry([("DUMP", key) for key in keys])
        for key, (payload, expiry) in zip(keys, told, strict=True):
            self._server.check(payload)
            if payload is not None:
                yield Item(key, "RESTORE", (payload,), expiry)

    def _by_type(self, keys: Sequence[bytes]) -> Iterator[Item]:
        kinds = self._server.pipeline([("TYPE", key) for key in keys])
        self._server.check(*kinds)
        there = [(key, kind) for key, kind in zip(keys, kinds, strict=True) if kind != b"none"]
        commands: list[Command] = []
        for key, kind in there:
            _, name, arguments = _READERS.get(kind, _READERS[b"string"])
            commands.append((name, key, *arguments))
        told = self._with_expiry(commands)
        for (key, kind), (reply, expiry) in zip(there, told, strict=True):
            if kind not in _READERS or isinstance(reply, hiredis.ReplyError):
                self._tally.found += 1
                self._tally.fail(key, f"a {kind.decode()} cannot be copied to an older redis")
            elif reply not in (None, []):
                yield Item(key, _READERS[kind][0], _values(kind, reply), expiry)

    def _with_expiry(self, commands: Sequence[Command]) -> Iterator[tuple[Reply, int | None]]:
        """Ask for entries, and when each expires by this machine's clock: 0 for one that is gone.

        A command's first argument is its key.
        """
        ask = "PEXPIRETIME" if self._tells_time else "PTTL"
        since = -self._skew if self._tells_time else now_ms()
        replies = self._server.pipeline([*commands, *((ask, key) for _, key, *_ in commands)])
        expiries = replies[len(commands) :]
        self._server.check(*expiries)
        return zip(replies, (_expiry(each, since) for each in expiries), strict=False)


class Copies:
    """The entries of a donor, read for a target."""

    def __init__(self, donor: Store, target: Store, rewrite: Rewrite, tally: Tally) -> None:
        self._target = target
        self._rewrite = rewrite
        self._tally = tally
        self._held = {
            server: list(listed_at(server, prefixed(rewrite.source))) for server in donor.primaries
        }

    def size(self) -> int:
        """Estimate the memory that they take, from some of them."""
        return sum(_size(server, keys) for server, keys in self._held.items() if keys)

    def items(self) -> Iterator[Item]:
        """Read all entries."""
        for server, keys in self._held.items():
            as_dumps = self._reads_dumps(server, keys)
            yield from Reader(server, self._tally, as_dumps=as_dumps).copies(keys, self._rewrite)

    def _reads_dumps(self, donor: Connection, keys: Sequence[bytes]) -> bool:
        """Whether the target reads what the donor dumps: payloads name their version.

        A payload that is too new is refused in the same words as one that is broken, so this is
        asked first. A key of our own, which expires soon, tells the target's version.
        """
        canary = self._rewrite.target + b"cachekit:" + secrets.token_hex(8).encode()
        target = self._target.owner(canary)
        dumps = (donor.ask("DUMP", key) for key in keys)
        newest = next((_dump_version(dump) for dump in dumps if dump is not None), 0)
        target.ask("SET", canary, b"", "PX", _CANARY_MS)
        own = target.ask("DUMP", canary)
        target.ask("UNLINK", canary)
        return own is not None and newest <= _dump_version(own)


def pairs(
    places: Sequence[Place], filling: Filling, servers: Sequence[Address]
) -> list[tuple[Place, Place]]:
    """Tell which place is copied from which. Raises RefusedError.

    Only the application knows which of several `servers` holds a key, so each is copied to its own.
    """
    donors = filling.donor_places
    if filling.donor is None:
        return [(place, place) for place in places]
    if len(servers) == 1:
        return [(places[0], donor) for donor in donors]
    if len(donors) != len(servers):
        raise RefusedError(
            ", ".join(place.name for place in places),
            f"which of its {len(servers)} servers holds a key is the application's choice; a donor"
            f" needs as many, in the same order, and has {len(donors)}",
        )
    return [(place, donors[servers.index(place.addresses[0])]) for place in places]


def _size(server: Connection, keys: Sequence[bytes]) -> int:
    sample = keys[:: max(1, len(keys) // _SAMPLE)]
    sizes = server.pipeline([("MEMORY", "USAGE", key) for key in sample])
    server.check(*sizes)
    return sum(size or 0 for size in sizes) * len(keys) // len(sample)


def _dump_version(payload: bytes) -> int:
    return int.from_bytes(payload[-10:-8], "little")


def _expiry(reply: Reply, since: int) -> int | None:
    if reply == _ENDLESS:
        return None
    return 0 if reply == _GONE else since + int(reply)


def _values(kind: bytes, reply: Reply) -> tuple[bytes, ...]:
    if kind == b"string":
        return (reply,)
    if kind == b"zset":
        # Listed as member, score; stored as score, member.
        return tuple(value for at in range(0, len(reply), 2) for value in reply[at : at + 2][::-1])
    return tuple(reply)
