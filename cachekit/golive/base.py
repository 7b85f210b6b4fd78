"""The contract of a go-live actor: it takes nodes out of the rotation and puts them back in.

An actor is one frozen dataclass: its fields are its keys in `golive:`, its entry-point name (group
`cachekit.golive`) is its `type`, its methods are its actions. It is plain blocking code, and raises
CachekitErrors for what went wrong.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

from cachekit.caches.base import Conditions
from cachekit.model import Node


class Standing(StrEnum):
    """Whether visitors reach a node."""

    IN = "in"
    OUT = "out"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Turn:
    """Where a node stands, looked at after whatever was done, and what proves it."""

    standing: Standing
    evidence: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@runtime_checkable
class GoLive(Protocol):
    """What decides whether visitors reach a node: a load balancer, a readiness file, a command."""

    @property
    def starts_out(self) -> bool:
        """Whether its nodes are taken out at the start of a run that will put them in."""
        ...

    def refusal(self, nodes: Sequence[Node]) -> str:
        """Say, without asking anybody, why it cannot act for these nodes; "" if it can."""
        ...

    def take_out(self, node: Node, conditions: Conditions) -> Turn:
        """Let no more visitors reach the node, and wait for those who are there.

        The turn is what it saw afterwards. Raises CachekitError.
        """
        ...

    def put_in(self, node: Node, conditions: Conditions) -> Turn:
        """Let visitors reach the node; the turn is what it saw afterwards. Raises CachekitError."""
        ...

    def standing(self, node: Node, conditions: Conditions) -> Turn:
        """Tell where the node stands; changes nothing. Raises CachekitError."""
        ...


@runtime_checkable
class Placed(Protocol):
    """An actor that names nodes of its own, such as the machine of a load balancer."""

    def bound(self, nodes: Mapping[str, Node]) -> GoLive:
        """Give the same actor that knows these nodes. Raises ConfigError for one that is none."""
        ...
