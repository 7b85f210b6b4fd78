"""Reading many entries of a redis under the keys of their copies: as payloads, or by type."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import hiredis

from cachekit.caches.redis.connection import Connection
from cachekit.caches.redis.items import How, Item, now_ms, skew_ms
from cachekit.caches.redis.replies import Command, Reply
from cachekit.caches.tally import Tally

_FEW = 50
_MANY = 500
_BATCH_BYTES = 2 * 1024 * 1024
_WITH_EXPIRY_TIME = (7, 0)
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


def dumped(server: Connection, keys: Sequence[bytes], rewrite: Rewrite) -> Iterator[Item]:
    """Read entries as payloads of DUMP; what expired meanwhile is left out.

    Each batch is used while the next one is on its way. How many entries are in one depends on
    how large the last ones were.
    """
    expiry = _Expiry(server)
    asked: Sequence[bytes] = ()
    at, count, since = 0, _FEW, 0
    while asked or at < len(keys):
        ahead = keys[at : at + count]
        at += len(ahead)
        asked_at = expiry.since()
        server.send([*(("DUMP", key) for key in ahead), *expiry.commands(ahead)])
        replies = server.receive(2 * len(asked))
        server.check(*replies)
        with server.parsing("DUMP"):
            size = sum(len(payload) for payload in replies[: len(asked)] if payload is not None)
            for key, payload, told in zip(asked, replies, replies[len(asked) :], strict=False):
                if payload is not None:
                    yield Item(rewrite(key), "RESTORE", (payload,), expiry.of(told, since))
        if size:
            count = max(1, min(_MANY, _BATCH_BYTES * len(asked) // size))
        asked, since = ahead, asked_at


def read_by_type(
    server: Connection, keys: Sequence[bytes], rewrite: Rewrite, tally: Tally
) -> Iterator[Item]:
    """Read entries as what they are; those of kinds that cannot be written so are failures."""
    expiry = _Expiry(server)
    for at in range(0, len(keys), _FEW):
        batch = keys[at : at + _FEW]
        kinds = server.pipeline([("TYPE", key) for key in batch])
        server.check(*kinds)
        there = [(key, kind) for key, kind in zip(batch, kinds, strict=True) if kind != b"none"]
        since = expiry.since()
        replies = server.pipeline([_read(key, kind) for key, kind in there])
        expiries = server.pipeline(expiry.commands([key for key, _ in there]))
        server.check(*expiries)
        with server.parsing("TYPE"):
            for (key, kind), reply, told in zip(there, replies, expiries, strict=True):
                if kind not in _READERS or isinstance(reply, hiredis.ReplyError):
                    tally.found += 1
                    tally.fail(key, f"a {kind.decode()} cannot be copied to an older redis")
                elif reply not in (None, []):
                    how = _READERS[kind][0]
                    yield Item(rewrite(key), how, _values(kind, reply), expiry.of(told, since))


class _Expiry:
    """When the entries of a server expire, by this machine's clock."""

    def __init__(self, server: Connection) -> None:
        # Older ones tell a span, which counts from when it was asked for.
        self._is_time = server.version >= _WITH_EXPIRY_TIME
        self._skew = skew_ms(server)

    def commands(self, keys: Sequence[bytes]) -> list[Command]:
        """Give what to ask."""
        name = "PEXPIRETIME" if self._is_time else "PTTL"
        return [(name, key) for key in keys]

    def since(self) -> int:
        """Give what the replies to a question of now are to be added to."""
        return -self._skew if self._is_time else now_ms()

    def of(self, reply: Reply, since: int) -> int | None:
        """Tell the time: None for never, 0 for what is gone."""
        if reply == _ENDLESS:
            return None
        return 0 if reply == _GONE else since + int(reply)


def _read(key: bytes, kind: bytes) -> Command:
    _, name, arguments = _READERS.get(kind, _READERS[b"string"])
    return (name, key, *arguments)


def _values(kind: bytes, reply: Reply) -> tuple[bytes, ...]:
    if kind == b"string":
        return (reply,)
    if kind == b"zset":
        # Listed as member, score; stored as score, member.
        return tuple(value for at in range(0, len(reply), 2) for value in reply[at : at + 2][::-1])
    return tuple(reply)
