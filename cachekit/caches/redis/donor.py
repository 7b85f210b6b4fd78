"""Copies of another redis, or of another release in the same one."""

import secrets
from collections.abc import Iterator, Sequence

from cachekit.caches.base import Filling, Place
from cachekit.caches.redis.connection import Connection
from cachekit.caches.redis.items import Item
from cachekit.caches.redis.keyspace import listed_at, prefixed
from cachekit.caches.redis.reading import Rewrite, dumped, read_by_type
from cachekit.caches.redis.store import Store
from cachekit.caches.tally import Tally
from cachekit.errors import RefusedError
from cachekit.model import Address

_SAMPLE = 200
_CANARY_MS = 10_000


class Copies:
    """The entries of a donor, read for a target."""

    def __init__(self, donor: Store, target: Store, rewrite: Rewrite, tally: Tally) -> None:
        self._target = target
        self._rewrite = rewrite
        self._tally = tally
        self._held = {
            server: list(listed_at(server, prefixed(rewrite.source))) for server in donor.primaries
        }
        # Known before the first entry is stored: from then on the target's replies are about these.
        self._as_dumps = {
            server: self._reads_dumps(server, keys) for server, keys in self._held.items()
        }

    def size(self) -> int:
        """Estimate the memory that they take, from some of them."""
        return sum(_size(server, keys) for server, keys in self._held.items() if keys)

    def items(self) -> Iterator[Item]:
        """Read all entries: as payloads, or by type for a target that is older than the donor."""
        for server, keys in self._held.items():
            if self._as_dumps[server]:
                yield from dumped(server, keys, self._rewrite)
            else:
                yield from read_by_type(server, keys, self._rewrite, self._tally)

    def _reads_dumps(self, donor: Connection, keys: Sequence[bytes]) -> bool:
        """Whether the target reads what the donor dumps: payloads name their version.

        A payload that is too new is refused in the same words as one that is broken, so this is
        asked first. A key of our own, which expires soon, tells the target's version: that of the
        server does not, for its forks count differently.
        """
        dumps = (donor.ask("DUMP", key) for key in keys)
        newest = next((_dump_version(dump) for dump in dumps if dump is not None), 0)
        canary = self._rewrite.target + b"cachekit:" + secrets.token_hex(8).encode()
        target = self._target.owner(canary)
        target.ask("SET", canary, b"", "PX", _CANARY_MS)
        own = target.ask("DUMP", canary)
        target.ask("UNLINK", canary)
        return own is not None and newest <= _dump_version(own)


def sources(place: Place, filling: Filling, servers: Sequence[Address]) -> Sequence[Place]:
    """Tell what a place, one of `servers`, is copied from. Raises RefusedError.

    Only the application knows which of several servers holds a key, so each is copied from the one
    at the same position.
    """
    donors = filling.donor_places
    if filling.donor is None:
        return (place,)
    if len(servers) == 1:
        return donors
    if len(donors) != len(servers):
        raise RefusedError(
            place.name,
            f"which of its {len(servers)} servers holds a key is the application's choice; a donor"
            f" needs as many, in the same order, and has {len(donors)}",
        )
    return (donors[servers.index(place.addresses[0])],)


def _size(server: Connection, keys: Sequence[bytes]) -> int:
    sample = keys[:: max(1, len(keys) // _SAMPLE)]
    sizes = server.pipeline([("MEMORY", "USAGE", key) for key in sample])
    server.check(*sizes)
    return sum(server.number(size or 0) for size in sizes) * len(keys) // len(sample)


def _dump_version(payload: bytes) -> int:
    return int.from_bytes(payload[-10:-8], "little")
