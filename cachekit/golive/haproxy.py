"""The `haproxy` actor: servers of HAProxy are drained and put into maintenance, and back."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import ClassVar

from cachekit.caches.base import Conditions, Place, at_servers
from cachekit.deadline import Deadline
from cachekit.errors import RefusedError
from cachekit.golive.base import GoLive, Standing, Turn
from cachekit.golive.patience import holds_within, patience
from cachekit.golive.runtime_socket import RuntimeSocket, Server
from cachekit.golive.words import filled, words_of
from cachekit.model import Node, NodeAddress, shown
from cachekit.quantities import OneOrMore, Seconds, format_seconds

_NAME = re.compile(r"[A-Za-z0-9_.:-]+")
_NAME_RULE = "expected a name of HAProxy: letters, digits and . : _ - only"


@dataclass(frozen=True, kw_only=True)
class Haproxy:
    """Servers in backends of HAProxy, by its runtime socket; several must all agree.

    `sockets` are those of this machine, or of each node of `via`. `server` is what a node is called
    in each `backend`. `drain` is how long visitors may take to leave, `up_within` how long the
    health checks may take to pass, if HAProxy runs any; until then nobody is sent to the node.
    """

    starts_out: ClassVar[bool] = False

    sockets: OneOrMore[NodeAddress]
    backend: OneOrMore[str]
    server: str = "{node}"
    via: OneOrMore[str] = ()
    drain: Seconds = 10.0
    up_within: Seconds = 30.0

    def __post_init__(self) -> None:
        if not self.sockets or not self.backend:
            raise ValueError("sockets, backend: expected at least one of each")
        if any(not each.unix_path and each.port is None for each in self.sockets):
            raise ValueError("sockets: expected unix:/path, or host:port")
        if not all(map(_NAME.fullmatch, self.backend)):
            raise ValueError(f"backend: {_NAME_RULE}")

    def bound(self, nodes: Mapping[str, Node]) -> GoLive:
        """Give the actor that knows the machines of its load balancers. Raises ConfigError."""
        own = {field.name: getattr(self, field.name) for field in fields(Haproxy)}
        return _Bound(**own, places=self._places(nodes))

    def refusal(self, nodes: Sequence[Node]) -> str:
        """Refuse names that HAProxy cannot have, and one name for two nodes."""
        names = {node.name: self._server(node) for node in nodes}
        for node, name in names.items():
            if not _NAME.fullmatch(name):
                return f"server: {shown(name)!r} for the node {shown(node)}: {_NAME_RULE}"
        if repeated := [name for name, count in Counter(names.values()).items() if count > 1]:
            return f"server: {repeated[0]} stands for several nodes; write {{node}} in it"
        return ""

    def take_out(self, node: Node, conditions: Conditions) -> Turn:
        """Send nobody new, wait for those who are there, and put the server into maintenance."""
        spots = self._spots(node, conditions.deadline)
        seconds = patience(self.drain, conditions.deadline)
        if seconds:
            # From maintenance, a drain would let visitors in that are bound to the server.
            _set([spot for spot in spots if not spot.look().is_kept_out], "drain")
            holds_within(lambda: not _sessions(spots), seconds)
        left = _sessions(spots)
        _set(spots, "maint")
        waited = f"after {format_seconds(seconds)}, {left} sessions of visitors had not ended"
        return _turn(spots, (waited,) if left else ())

    def put_in(self, node: Node, conditions: Conditions) -> Turn:
        """Let health checks pass while nobody is sent there, then let visitors in."""
        spots = self._spots(node, conditions.deadline)
        kept_out = [spot for spot in spots if spot.look().is_kept_out]
        seconds = patience(self.up_within, conditions.deadline)
        # Out of maintenance alone, HAProxy sends visitors before the first check is made.
        _set(kept_out, "drain")
        if not holds_within(lambda: all(spot.look().passes for spot in spots), seconds):
            failed = [str(spot) for spot in spots if not spot.look().passes]
            _set(kept_out, "maint")
            why = f"its health checks did not pass within {format_seconds(seconds)}: "
            return _turn(spots, (why + "; ".join(failed),))
        _set(spots, "ready")
        return _turn(spots)

    def standing(self, node: Node, conditions: Conditions) -> Turn:
        """Tell what all load balancers say of the node."""
        return _turn(self._spots(node, conditions.deadline, to_set=False))

    def _server(self, node: Node) -> str:
        return filled(self.server, words_of(node))

    def _places(self, nodes: Mapping[str, Node]) -> tuple[Place, ...]:
        if not self.via:
            return at_servers(self.sockets, None, nodes)
        return tuple(
            replace(place, name=f"{place.name} on {via}")
            for via in self.via
            for place in at_servers(self.sockets, via, nodes)
        )

    def _spots(self, node: Node, deadline: Deadline, *, to_set: bool = True) -> "tuple[_Spot, ...]":
        """Find the node at all load balancers before anything is changed. Raises CachekitError."""
        if reason := self.refusal([node]):
            raise RefusedError(node.name, reason)
        sockets = [RuntimeSocket(place, deadline) for place in self._places({})]
        spots = tuple(
            _Spot(socket, backend, self._server(node))
            for socket in sockets
            for backend in self.backend
        )
        for socket in sockets if to_set else ():
            socket.check_level()
        for spot in spots:
            spot.look()
        return spots


@dataclass(frozen=True, kw_only=True)
class _Bound(Haproxy):
    """The actor once it knows how its load balancers are reached."""

    places: tuple[Place, ...]

    def _places(self, nodes: Mapping[str, Node]) -> tuple[Place, ...]:
        return self.places


@dataclass(frozen=True, slots=True)
class _Spot:
    """One server of one backend of one load balancer."""

    socket: RuntimeSocket
    backend: str
    server: str

    def __str__(self) -> str:
        return f"{self.socket.place.name}: {self.backend}/{self.server} is {self.look()}"

    def look(self) -> Server:
        return self.socket.server(self.backend, self.server)


def _set(spots: Iterable[_Spot], state: str) -> None:
    for spot in spots:
        spot.socket.set_state(spot.backend, spot.server, state)


def _sessions(spots: Iterable[_Spot]) -> int:
    return sum(spot.look().sessions for spot in spots)


def _turn(spots: Sequence[_Spot], warnings: tuple[str, ...] = ()) -> Turn:
    """Look at all spots again, and tell what they agree on."""
    found = {
        f"{spot.socket.place.name}: {spot.backend}/{spot.server}": spot.look() for spot in spots
    }
    standings = {server.standing for server in found.values()}
    doubts = tuple(f"{spot} {server.doubt}" for spot, server in found.items() if server.doubt)
    if len(standings) > 1 and not doubts:
        doubts = ("the load balancers do not agree on it",)
    return Turn(
        standing=standings.pop() if len(standings) == 1 else Standing.UNKNOWN,
        evidence=tuple(f"{spot} is {server}" for spot, server in found.items()),
        warnings=(*warnings, *doubts),
    )
