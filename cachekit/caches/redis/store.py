"""The servers that hold the keys of a place: one, or the primaries of a cluster."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager

import hiredis

from cachekit.caches.base import Place
from cachekit.caches.redis.connection import Access, Connection
from cachekit.caches.redis.replies import Command, Reply
from cachekit.caches.redis.slots import (
    Layout,
    check_whole,
    is_moving,
    layout_of,
    primaries_of,
    slot_of,
    state_hazards,
)
from cachekit.deadline import Deadline
from cachekit.errors import UnreachableError
from cachekit.model import Address

_PIPELINED = 1000
# One command must not hold other clients up for long.
_UNLINKED_AT_ONCE = 200
_ELSEWHERE = ("MOVED", "ASK", "TRYAGAIN")


class Store:
    """Open connections to all servers that hold the keys of a place."""

    def __init__(self, primaries: Sequence[Connection], layout: Layout = ()) -> None:
        self.primaries = tuple(primaries)
        self._layout = layout
        at = {primary.address: primary for primary in primaries}
        self._holders = [at[each.primary] for each in layout for _ in range(each.size)]

    @property
    def is_cluster(self) -> bool:
        """Whether the servers share the keys out among them."""
        return bool(self._layout)

    def has_moved(self) -> bool:
        """Whether slots went to other servers since it was opened, or are on their way."""
        if not self.is_cluster:
            return False
        return layout_of(self.primaries[0]) != self._layout or any(map(is_moving, self.primaries))

    def owner(self, key: bytes) -> Connection:
        """Tell which server holds a key."""
        return self._holders[slot_of(key)] if self._layout else self.primaries[0]

    def by_owner(self, keys: Iterable[bytes]) -> Mapping[Connection, list[bytes]]:
        """Sort keys by the server that holds them."""
        held: dict[Connection, list[bytes]] = {}
        for key in keys:
            held.setdefault(self.owner(key), []).append(key)
        return held

    def unlink(self, keys: Iterable[bytes]) -> int:
        """Unlink keys wherever they are; count those that were there.

        Raises RefusedError for keys of a slot that moves.
        """
        held = self.by_owner(keys)
        return sum(sum(_counts(server, self._unlinks(mine))) for server, mine in held.items())

    def unlink_listed(self, primary: Connection, keys: Sequence[bytes]) -> int:
        """Unlink keys that one server has listed; count those that were there.

        Keys of a slot that moves are passed over: whoever lists again finds them.
        """
        replies = primary.pipeline(self._unlinks(keys))
        return sum(primary.number(reply) for reply in replies if not _is_elsewhere(reply))

    def present(self, keys: Iterable[bytes]) -> list[bytes]:
        """Tell which of the keys are there. Raises RefusedError for keys of a slot that moves."""
        there: list[bytes] = []
        for primary, mine in self.by_owner(keys).items():
            counts = _counts(primary, [("EXISTS", key) for key in mine])
            there += [key for key, count in zip(mine, counts, strict=True) if count]
        return there

    def _unlinks(self, keys: Sequence[bytes]) -> list[Command]:
        # In a cluster one command takes keys of one slot only.
        at_once = 1 if self.is_cluster else _UNLINKED_AT_ONCE
        return [("UNLINK", *keys[at : at + at_once]) for at in range(0, len(keys), at_once)]


@contextmanager
def opened(
    place: Place, access: Access, deadline: Deadline, *, cluster: bool, writing: bool
) -> Iterator[Store]:
    """Connect to all servers of a place. Raises CachekitError, also where entries would be missed.

    A replica is refused for `writing`.
    """
    with ExitStack() as stack:

        def connect(address: Address) -> Connection:
            return stack.enter_context(closing(Connection(place, address, access, deadline)))

        if cluster:
            layout = layout_of(_seed(place, connect))
            check_whole(layout, place.name)
            store = Store([connect(each) for each in primaries_of(layout)], layout)
        else:
            store = Store([connect(place.addresses[0])])
        for primary in store.primaries:
            primary.check_usable(cluster=cluster, writing=writing)
        yield store


def infos(
    place: Place, access: Access, deadline: Deadline, *, cluster: bool
) -> tuple[dict[str, Mapping[str, str]], list[str]]:
    """Ask all servers of a place for INFO; give it by address, and what is wrong with the rest."""
    told: dict[str, Mapping[str, str]] = {}
    hazards: list[str] = []
    with ExitStack() as stack:

        def connect(address: Address) -> Connection:
            return stack.enter_context(closing(Connection(place, address, access, deadline)))

        if not cluster:
            server = connect(place.addresses[0])
            told[str(server.address)] = server.info()
            return told, hazards
        seed = _seed(place, connect)
        hazards += state_hazards(seed)
        for address in primaries_of(layout_of(seed)):
            try:
                told[str(address)] = connect(address).info()
            except UnreachableError as error:
                hazards.append(f"not counted: {error}")
    return told, hazards


def _seed(place: Place, connect: Callable[[Address], Connection]) -> Connection:
    """Connect to the first seed that answers. Raises UnreachableError where none does."""
    silent = []
    for address in place.addresses:
        try:
            return connect(address)
        except UnreachableError as error:
            silent.append(str(error))
    raise UnreachableError(place.name, f"no seed answers: {'; '.join(silent)}")


def _is_elsewhere(reply: Reply) -> bool:
    return isinstance(reply, hiredis.ReplyError) and str(reply).startswith(_ELSEWHERE)


def _counts(primary: Connection, commands: Sequence[Command]) -> Iterator[int]:
    """Give the numbers that redis answers. Raises RefusedError where it refuses."""
    for at in range(0, len(commands), _PIPELINED):
        for reply in primary.pipeline(commands[at : at + _PIPELINED]):
            yield primary.number(reply)
