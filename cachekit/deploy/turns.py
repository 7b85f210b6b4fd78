"""Nodes leave the rotation and come back: by all actors, on record, and only on evidence."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from cachekit.caches.base import Conditions
from cachekit.deadline import DeadlineError
from cachekit.deploy.journal import RunJournal
from cachekit.errors import CachekitError, NodeError
from cachekit.golive.base import GoLive, Standing, Turn
from cachekit.model import Node

_log = logging.getLogger(__name__)
_Ask = Callable[[Node, Conditions], Turn]


@dataclass(frozen=True)
class Turns:
    """Turns nodes for one step, and has each turn on record before and after it is made."""

    journal: RunJournal
    step_id: str
    actors: Sequence[GoLive]

    def take_out(self, node: Node, conditions: Conditions) -> tuple[str, ...]:
        """Take a node out by all actors; give the evidence. Raises CachekitError."""
        asks = [actor.take_out for actor in self.actors]
        return self._turned(node, asks, conditions, Standing.OUT)

    def put_in(self, node: Node, conditions: Conditions) -> tuple[str, ...]:
        """Put a node in by all actors; give the evidence. Raises CachekitError."""
        asks = [actor.put_in for actor in self.actors]
        return self._turned(node, asks, conditions, Standing.IN)

    def passed(self, node: Node) -> None:
        """Record that a node passed, and is to be put in whatever happens."""
        self._on_record(node, "passed")

    def left_out(self, node: Node, reason: str) -> None:
        """Record that a node is not done with, and stays out until a resumed run goes on."""
        self._on_record(node, "out", reason)

    def failed(self, node: Node, reason: str) -> None:
        """Record that a node failed, and stays out."""
        self._on_record(node, "failed", reason)

    def was_out(self, node: Node, reason: str) -> None:
        """Record that somebody else took a node out, and so it stays."""
        self._on_record(node, "was out", reason)

    def _turned(
        self, node: Node, asks: Sequence[_Ask], conditions: Conditions, wanted: Standing
    ) -> tuple[str, ...]:
        self._on_record(node, f"going {wanted}")
        try:
            evidence = _proven(node, [_asked(node, ask, conditions) for ask in asks], wanted)
        except CachekitError as error:
            self._on_record(node, f"going {wanted}", str(error))
            raise
        self._on_record(node, wanted.value)
        return evidence

    def _on_record(self, node: Node, turn: str, reason: str = "") -> None:
        self.journal.turned(self.step_id, node.name, turn, reason)


def standing(node: Node, actors: Sequence[GoLive], conditions: Conditions) -> Turn:
    """Tell where a node stands: in only if all actors say so, out if any does.

    Raises CachekitError.
    """
    turns = [_asked(node, a.standing, conditions) for a in actors]
    for wanted in (Standing.OUT, Standing.UNKNOWN):
        for turn in turns:
            if turn.standing is wanted:
                return turn
    evidence = tuple(text for turn in turns for text in turn.evidence)
    return replace(turns[0], evidence=evidence)


def _asked(node: Node, ask: _Ask, conditions: Conditions) -> Turn:
    """Ask an actor; whatever goes wrong is a CachekitError: nodes depend on what is done then."""
    try:
        return ask(node, conditions)
    except CachekitError:
        raise
    except DeadlineError as error:
        raise NodeError(node.name, str(error)) from error
    except Exception as error:
        _log.error("node %s", node.name, exc_info=error)
        raise NodeError(node.name, f"a bug: {error!r}; please tell its author") from error


def _proven(node: Node, turns: Sequence[Turn], wanted: Standing) -> tuple[str, ...]:
    for turn in turns:
        if turn.standing is not wanted:
            said = "; ".join((*turn.evidence, *turn.warnings)) or "nothing tells"
            raise NodeError(node.name, f"is {turn.standing}, wanted {wanted}: {said}")
    return tuple(text for turn in turns for text in (*turn.evidence, *turn.warnings))
