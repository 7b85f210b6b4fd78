"""Tags as applications keep them: a set for each, that lists the keys which carry it."""

from collections.abc import Iterator, Sequence

from cachekit.caches.redis.keyspace import text
from cachekit.caches.redis.store import Store
from cachekit.errors import RefusedError
from cachekit.model import shown

_AT_ONCE = 1000
# How a kind of set is listed, how members leave it, how far apart they stand in the list.
_SETS = {b"set": ("SSCAN", "SREM", 1), b"zset": ("ZSCAN", "ZREM", 2)}


class TagSet:
    """The set of one tag; it goes when its last member leaves."""

    def __init__(self, store: Store, name: bytes) -> None:
        self._store = store
        self._name = name
        self._home = store.owner(name)
        kind = self._home.ask("TYPE", name)
        if kind != b"none" and kind not in _SETS:
            said = f"is a {kind.decode()}, expected a set or sorted set that lists keys"
            raise RefusedError(self._home.place, f"the tag {self} {said}")
        self._is_there = kind != b"none"
        self._list, self._remove, self._step = _SETS.get(kind, _SETS[b"set"])

    def __str__(self) -> str:
        return shown(text(self._name))

    def members(self) -> set[bytes]:
        """List the keys that carry the tag."""
        return {key for page in self._pages() for key in page} if self._is_there else set()

    def clear(self, members: Sequence[bytes]) -> int:
        """Unlink keys and strike them off the list; count those that were there.

        Struck off first: what the application stores meanwhile is listed again, so that no key is
        left without its tag.
        """
        removed = 0
        for at in range(0, len(members), _AT_ONCE):
            batch = members[at : at + _AT_ONCE]
            self._home.ask(self._remove, self._name, *batch)
            removed += self._store.unlink(batch)
        return removed

    def _pages(self) -> Iterator[list[bytes]]:
        cursor = b"0"
        while True:
            reply = self._home.ask(self._list, self._name, cursor, "COUNT", _AT_ONCE)
            match reply:
                case [bytes(cursor), list(listed)]:
                    yield listed[:: self._step]
                case _:
                    raise self._home.unexpected(self._list, reply)
            if cursor == b"0":
                return
