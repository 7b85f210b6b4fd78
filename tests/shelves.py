"""Caches in memory, and a state for tests of plan and execution."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from cachekit.caches.base import Change, Conditions, Filling, Place, Status, Survey, on_nodes
from cachekit.deadline import Deadline
from cachekit.model import Node, parse_address
from cachekit.scope import Kind, Scope
from cachekit.settings import Settings

CLEARED = Change(found=1, removed=1, left=0)


def node(name: str, address: str = "127.0.0.1", *groups: str, ssh: str | None = None) -> Node:
    return Node(name=name, address=parse_address(address), groups=groups, ssh=ssh)


NODES = {
    "web1": node("web1", "127.0.0.1", "web"),
    "web2": node("web2", "127.0.0.2", "web"),
    "edge1": node("edge1", "127.0.0.3", "edge"),
}


def conditions(tmp_path: Path = Path("/nonexistent"), **facts: object) -> Conditions:
    facts = {"deadline": Deadline(20), "state_dir": tmp_path, **facts}
    return Conditions(**facts)  # type: ignore[arg-type]


def settings(caches: Mapping[str, object], **facts: object) -> Settings:
    return Settings(site="https://shop.example", nodes=NODES, caches=caches, **facts)  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """A cache that does what a test says, and notes what it was asked."""

    scopes: ClassVar[frozenset[Kind]] = frozenset({Kind.EVERYTHING, Kind.KEY, Kind.PREFIX})

    on: tuple[str, ...] = ("web",)
    layer: int = 30
    does: Callable[[Place, Scope, Conditions], Change] = lambda *_: CLEARED
    refuses: str = ""
    asked: list[tuple[str, str]] = field(default_factory=list, compare=False)

    def places(self, nodes: Mapping[str, Node]) -> tuple[Place, ...]:
        return on_nodes(self.on, nodes)

    def refusal(self, scope: Scope, conditions: Conditions) -> str:
        return self.refuses

    def clear(self, place: Place, scope: Scope, conditions: Conditions) -> Change:
        self.asked.append((place.name, str(scope)))
        return self.does(place, scope, conditions)

    def status(self, place: Place, conditions: Conditions) -> Status:
        return Status(items=1)


@dataclass(frozen=True, kw_only=True)
class GuardedShelf(Shelf):
    max_keys: int | None = None
    max_share: float | None = None
    found: int | None = 10

    def survey(self, place: Place, scope: Scope, conditions: Conditions) -> Survey:
        return Survey(found=self.found, total=100)


@dataclass(frozen=True, kw_only=True)
class PrimableShelf(Shelf):
    prime_from: ClassVar[frozenset[str]] = frozenset({"file", "donor"})

    sharded: bool = False

    def prime(self, places: Sequence[Place], filling: Filling, conditions: Conditions) -> Change:
        self.asked.append((", ".join(place.name for place in places), str(filling)))
        return Change(found=1, stored=1, left=0)


@dataclass(frozen=True, kw_only=True)
class CoupledShelf(Shelf):
    other: str = ""

    def implied(self, scope: Scope) -> Mapping[str, Scope]:
        return {self.other: Scope(Kind.PREFIX, ("/srv/",))}


@dataclass(frozen=True, kw_only=True)
class TwoPartShelf(Shelf):
    def parts(self) -> Mapping[str, Shelf]:
        return {"first": Shelf(layer=20, on=self.on), "second": Shelf(layer=35, on=self.on)}


class Gate:
    """Holds steps until as many as wanted have arrived."""

    def __init__(self, parties: int) -> None:
        self._barrier = threading.Barrier(parties, timeout=10)

    def __call__(self, *_: object) -> Change:
        self._barrier.wait()
        return CLEARED
