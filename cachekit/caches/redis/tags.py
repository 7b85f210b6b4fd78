"""Tags as applications keep them: a set for each, that lists the keys which carry it."""

from collections.abc import Iterable, Iterator, Sequence

from cachekit.caches.redis.keyspace import text
from cachekit.caches.redis.store import Store
from cachekit.errors import RefusedError
from cachekit.model import shown

_AT_ONCE = 1000
# How a kind of set is listed, how members leave it, how far apart they stand in the list.
_SETS = {b"set": ("SSCAN", "SREM", 1), b"zset": ("ZSCAN", "ZREM", 2)}


class TagSet:
    """The set of one tag; it goes when its last member leaves.

    Its members are keys, or what follows `prefix` in them.
    """

    def __init__(self, store: Store, name: bytes, prefix: bytes) -> None:
        self._store = store
        self._name = name
        self._prefix = prefix
        self._home = store.owner(name)
        with self._home.parsing("TYPE"):
            kind = self._home.ask("TYPE", name)
            if kind != b"none" and kind not in _SETS:
                said = f"is a {kind.decode()}, expected a set or sorted set that lists keys"
                raise RefusedError(self._home.place, f"the tag {self} {said}")
            self.is_there = kind != b"none"
            self._list, self._remove, self._step = _SETS.get(kind, _SETS[b"set"])

    def __str__(self) -> str:
        return shown(text(self._name))

    def key_of(self, member: bytes) -> bytes:
        """Give the key that a member stands for."""
        return self._prefix + member

    def members(self) -> set[bytes]:
        """List what the set holds."""
        return {member for page in self._pages() for member in page} if self.is_there else set()

    def clear(self, members: Sequence[bytes]) -> int:
        """Unlink the keys of members and strike them off the list; count those that were there.

        The list goes second, so that a clear that breaks off can be done again; and what the
        application stored before its name was struck off goes too, or it would have lost its tag.
        """
        removed = 0
        for at in range(0, len(members), _AT_ONCE):
            batch = members[at : at + _AT_ONCE]
            keys = list(map(self.key_of, batch))
            removed += self._store.unlink(keys)
            self._home.ask(self._remove, self._name, *batch)
            removed += self._store.unlink(keys)
        return removed

    def _pages(self) -> Iterator[list[bytes]]:
        cursor = b"0"
        while True:
            cursor, listed = self._home.page(self._list, self._name, cursor, "COUNT", _AT_ONCE)
            yield listed[:: self._step]
            if cursor == b"0":
                return


def absent(tags: Iterable[TagSet]) -> tuple[str, ...]:
    """Say which tags have no set, as one that the application calls otherwise has none."""
    return tuple(
        f"there is no set {tag}: no entry carries the tag, or `tags` does not fit"
        for tag in tags
        if not tag.is_there
    )
