"""Nodes leave the rotation and come back: by all actors, on record, and only on evidence."""

from collections.abc import Sequence
from dataclasses import replace

from cachekit.caches.base import Conditions
from cachekit.deploy.journal import RunJournal
from cachekit.errors import NodeError
from cachekit.golive.base import GoLive, Standing, Turn
from cachekit.model import Node


class Turns:
    """Turns nodes, and has each turn on record before and after it is made."""

    def __init__(self, journal: RunJournal) -> None:
        self._journal = journal

    def take_out(
        self, node: Node, actors: Sequence[GoLive], conditions: Conditions
    ) -> tuple[str, ...]:
        """Take a node out by all actors; give the evidence. Raises CachekitError."""
        self._journal.turned(node.name, "going out")
        evidence = _turned(node, [a.take_out(node, conditions) for a in actors], Standing.OUT)
        self._journal.turned(node.name, "out")
        return evidence

    def put_in(
        self, node: Node, actors: Sequence[GoLive], conditions: Conditions
    ) -> tuple[str, ...]:
        """Put a node in by all actors; give the evidence. Raises CachekitError."""
        self._journal.turned(node.name, "going in")
        evidence = _turned(node, [a.put_in(node, conditions) for a in actors], Standing.IN)
        self._journal.turned(node.name, "in")
        return evidence

    def passed(self, node: Node) -> None:
        """Record that a node passed, and is to be put in whatever happens."""
        self._journal.turned(node.name, "passed")

    def failed(self, node: Node, reason: str) -> None:
        """Record that a node failed, and stays out."""
        self._journal.turned(node.name, "failed", reason)


def standing(node: Node, actors: Sequence[GoLive], conditions: Conditions) -> Turn:
    """Tell where a node stands: in only if all actors say so, out if any does."""
    turns = [actor.standing(node, conditions) for actor in actors]
    for wanted in (Standing.OUT, Standing.UNKNOWN):
        for turn in turns:
            if turn.standing is wanted:
                return turn
    evidence = tuple(text for turn in turns for text in turn.evidence)
    return replace(turns[0], evidence=evidence)


def _turned(node: Node, turns: Sequence[Turn], wanted: Standing) -> tuple[str, ...]:
    for turn in turns:
        if turn.standing is not wanted:
            said = "; ".join((*turn.evidence, *turn.warnings)) or "nothing tells"
            raise NodeError(node.name, f"is {turn.standing}, wanted {wanted}: {said}")
    return tuple(text for turn in turns for text in (*turn.evidence, *turn.warnings))
