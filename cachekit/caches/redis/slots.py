"""Which primary of a cluster holds which keys."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from cachekit.caches.redis.connection import Connection
from cachekit.caches.redis.replies import Reply
from cachekit.errors import RefusedError
from cachekit.model import Address

SLOTS = 16384
# How CLUSTER NODES marks slots of the node that is asked: [slot->-target], [slot-<-source].
_ON_THE_MOVE = re.compile(rb"\[\d+-[<>]-")


class Range(NamedTuple):
    """Slots in a row, the last one included, and the server that holds them."""

    first: int
    last: int
    primary: Address

    @property
    def size(self) -> int:
        """The number of slots."""
        return self.last - self.first + 1


Layout = tuple[Range, ...]


def layout_of(node: Connection) -> Layout:
    """Ask a node of a cluster who holds what, in the order of slots. Raises RefusedError."""
    reply = node.ask("CLUSTER", "SLOTS")
    with node.parsing("CLUSTER SLOTS"):
        return tuple(sorted(_ranges(reply, node.address)))


def primaries_of(layout: Layout) -> tuple[Address, ...]:
    """Give the servers that hold slots."""
    return tuple(dict.fromkeys(each.primary for each in layout))


def is_moving(node: Connection) -> bool:
    """Whether slots of a node are on their way to another one, or from there."""
    reply = node.ask("CLUSTER", "NODES")
    if not isinstance(reply, bytes):
        raise node.unexpected("CLUSTER NODES", reply)
    return _ON_THE_MOVE.search(reply) is not None


def state_hazards(node: Connection) -> list[str]:
    """Say what a node of a cluster finds wrong with it."""
    reply = node.ask("CLUSTER", "INFO")
    state = re.search(rb"cluster_state:(\w+)", reply if isinstance(reply, bytes) else b"")
    if state is None:
        raise node.unexpected("CLUSTER INFO", reply)
    if state[1] == b"ok":
        return []
    return [f"the cluster's state is {state[1].decode()}: it refuses commands"]


def check_whole(layout: Layout, place: str) -> None:
    """Raise RefusedError where some slots have no primary."""
    held = sum(each.size for each in layout)
    if held != SLOTS:
        raise RefusedError(
            place, f"{SLOTS - held:,} of {SLOTS:,} slots have no primary; mend the cluster first"
        )


def slot_of(key: bytes) -> int:
    """Give the slot of a key."""
    from redis.crc import key_slot  # takes long to import: only clusters pay for it

    return int(key_slot(key))


def _ranges(reply: Reply, asked: Address) -> Iterator[Range]:
    for first, last, (host, port, *_), *_replicas in reply:
        # A node that does not know its own name means the one by which it was asked.
        name = host.decode() if host not in (None, b"", b"?") else asked.host.strip("[]")
        yield Range(first, last, Address(host=f"[{name}]" if ":" in name else name, port=port))
