"""The contract of a cache.

A cache is one frozen dataclass: its fields are its keys in `caches:`, its entry-point name (group
`cachekit.caches`) is its `type`, its methods are its actions. An adapter is plain blocking code. It
raises CachekitErrors for what went wrong and returns a Change for what it did: the planner, the
executor and the command line do the rest and are never edited for a new cache.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

from cachekit.caches.releases import Releases
from cachekit.deadline import Deadline
from cachekit.errors import ConfigError
from cachekit.model import Address, Node
from cachekit.scope import Kind, Scope
from cachekit.transports import Transport, transport_to, why_unreachable

NOT_APPLICABLE = "does not apply: "
"""How the refusal of a part begins that leaves a scope to the other parts of its cache."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where one action happens: a node, or a store that is dialled at `addresses`.

    `node` is None for a store that is dialled from this machine. `shared_by` names all nodes that
    see the same, where one acts for them.
    """

    name: str
    node: Node | None = None
    addresses: tuple[Address, ...] = ()
    shared_by: tuple[str, ...] = ()

    @property
    def transport(self) -> Transport:
        """How to get there."""
        return transport_to(self.node)


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What holds for one action: its deadline, the releases that live, where locks are kept.

    `release` is live or about to be, `previous` the one kept for rollback; empty where unknown.
    `site` is the public base URL. `force` lifts what guards against mistakes. `live_is_stale`: the
    files of the live release itself have changed, so what is made from them goes as well.
    """

    deadline: Deadline
    state_dir: Path
    site: str = ""
    release: str = ""
    previous: str = ""
    force: bool = False
    live_is_stale: bool = False

    @property
    def kept(self) -> tuple[str, ...]:
        """The releases whose entries are not to be touched without force."""
        return () if self.force else tuple(filter(None, (self.release, self.previous)))

    def kept_refusal(self, releases: Iterable[str], name: Callable[[str], str] = str) -> str:
        """Say why releases must not be cleared; "" if they may.

        Without the live one nothing is known not to be it. `name` gives what the cache calls one.
        """
        if not self.force and not self.release:
            return "which release is live? set `release:`, or give --live; --force does without"
        kept = {name(release): release for release in self.kept if not self._is_stale(release)}
        for release in map(name, releases):
            if release in kept:
                return (
                    f"release {kept[release]} is live or kept for rollback; --force clears it all"
                    " the same"
                )
        return ""

    def _is_stale(self, release: str) -> bool:
        return self.live_is_stale and release == self.release != self.previous


@dataclass(frozen=True, kw_only=True)
class Change:
    """What an action did. None is for what cannot be known.

    A clear found and removed entries, and `left` are still there; a prime found records, stored
    some, found some `present` already, skipped some (expired), and `left` are not there. `evidence`
    is what proves it: the server's own words, a count made afterwards, a probe.
    """

    found: int | None = None
    removed: int | None = None
    stored: int | None = None
    present: int | None = None
    skipped: int | None = None
    left: int | None = None
    evidence: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What a clear would touch: `found` of `total` entries, their bytes, some of their names."""

    found: int | None = None
    total: int | None = None
    size: int | None = None
    examples: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Status:
    """The state of a cache at one place; None is for what it does not tell.

    Sizes in bytes, `hits` and `misses` since its start, `fragmentation` as memory held / memory
    used. `details` are facts of its own; `hazards` what somebody should look at, with the reason.
    """

    version: str | None = None
    items: int | None = None
    size: int | None = None
    capacity: int | None = None
    hits: int | None = None
    misses: int | None = None
    evictions: int | None = None
    fragmentation: float | None = None
    details: Mapping[str, str | int | float] = field(default_factory=dict)
    hazards: tuple[str, ...] = ()


@runtime_checkable
class Cache(Protocol):
    """One cache: what it is asked to do happens at one of its places."""

    @property
    def scopes(self) -> frozenset[Kind]:
        """What `clear` takes; anything else is refused while planning."""
        ...

    @property
    def layer(self) -> int:
        """Where it sits: clears run in rising order."""
        ...

    def places(self, nodes: Mapping[str, Node]) -> tuple[Place, ...]:
        """Say where it is. Raises ConfigError for a node or group that does not exist."""
        ...

    def refusal(self, scope: Scope, conditions: Conditions) -> str:
        """Say, without asking any server, why this scope must not be cleared here; "" if it may."""
        ...

    def clear(self, place: Place, scope: Scope, conditions: Conditions) -> Change:
        """Remove what the scope selects, and prove that it is gone. Raises CachekitError."""
        ...

    def status(self, place: Place, conditions: Conditions) -> Status:
        """Tell its state; changes nothing. Raises CachekitError."""
        ...


@runtime_checkable
class Surveyable(Protocol):
    """A cache that can tell beforehand what a clear would touch."""

    def survey(self, place: Place, scope: Scope, conditions: Conditions) -> Survey:
        """Count what the scope selects; changes nothing. Raises CachekitError."""
        ...


@runtime_checkable
class Guarded(Surveyable, Protocol):
    """A cache whose settings limit what one clear may remove at one place; None is no limit."""

    @property
    def max_keys(self) -> int | None:
        """The number of entries."""
        ...

    @property
    def max_share(self) -> float | None:
        """The share of all entries, 0.0-1.0."""
        ...


@runtime_checkable
class Releasing(Cache, Surveyable, Protocol):
    """A cache that can hold the entries of each release apart from those of the others."""

    @property
    def per_release(self) -> bool:
        """Whether the settings make it do so: then a survey by RELEASE counts those of one."""
        ...

    def releases(self, place: Place, conditions: Conditions) -> Releases:
        """List what is there by release; changes nothing, not even ages. Raises CachekitError."""
        ...


@dataclass(frozen=True, kw_only=True)
class Filling:
    """What a cache is primed from: `kind` is one of its `prime_from`, `value` stands after it.

    For `file` and `path` a path, for `command` a command line, for `donor` the name of a cache or a
    release. A donor that is a cache comes with its adapter and its places.
    """

    kind: str
    value: str
    donor: "Cache | None" = None
    donor_places: tuple[Place, ...] = ()

    def __str__(self) -> str:
        return f"{self.kind}:{self.value}"


@runtime_checkable
class Primable(Protocol):
    """A cache that can be filled directly."""

    prime_from: ClassVar[frozenset[str]]
    """Kinds of Filling it takes: of file, command, donor, path."""

    sharded: ClassVar[bool]
    """Whether its places share the entries out among them, or each holds them all."""

    def prime(self, places: Sequence[Place], filling: Filling, conditions: Conditions) -> Change:
        """Fill all its places at once if `sharded`, else the one place. Raises CachekitError."""
        ...


@runtime_checkable
class Split(Protocol):
    """A cache of several parts that lie at layers of their own, or are told apart."""

    def parts(self) -> Mapping[str, Cache]:
        """Give each part as a cache, by name."""
        ...


@runtime_checkable
class Coupled(Protocol):
    """A cache whose clear makes entries of another one stale."""

    def implied(self, scope: Scope) -> Mapping[str, Scope]:
        """Name the caches to clear as well, later in order, and what of them."""
        ...


def on_nodes(
    on: Sequence[str], nodes: Mapping[str, Node], *, by_transport: bool = True
) -> tuple[Place, ...]:
    """Make a place of each node that is named, itself or by a group.

    Raises ConfigError; also for a node on which no command could run, if `by_transport`.
    """
    chosen: dict[str, Node] = {}
    for name in on:
        members = {key: node for key, node in nodes.items() if key == name or name in node.groups}
        if not members:
            raise ConfigError(f"on: no node or group is called {name}")
        chosen |= members
    if by_transport:
        _refuse_unreachable(*chosen.values())
    return tuple(Place(name=key, node=node) for key, node in chosen.items())


def at_servers(
    servers: Sequence[Address], via: str | None, nodes: Mapping[str, Node]
) -> tuple[Place, ...]:
    """Make a place of each server, dialled from here or via a node. Raises ConfigError."""
    if via is not None and via not in nodes:
        raise ConfigError(f"via: no node is called {via}")
    node = nodes[via] if via is not None else None
    if node is not None:
        _refuse_unreachable(node)
    return tuple(Place(name=str(each), node=node, addresses=(each,)) for each in servers)


def _refuse_unreachable(*nodes: Node) -> None:
    for node in nodes:
        if reason := why_unreachable(node):
            raise ConfigError(f"node {node.name}: {reason}")
