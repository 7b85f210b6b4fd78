"""The `command` actor: commands of your own take a node out and put it in."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from cachekit.caches.base import Conditions
from cachekit.errors import CommandError
from cachekit.golive.base import Standing, Turn
from cachekit.golive.on_node import run, said
from cachekit.golive.patience import not_asked, patience, proven
from cachekit.golive.words import filled, words_of
from cachekit.model import Node
from cachekit.quantities import OneOrMore, Seconds
from cachekit.transports import Completed, why_unreachable

_ASKED = {0: Standing.IN, 1: Standing.OUT}


@dataclass(frozen=True, kw_only=True)
class Command:
    """Commands that put a node in (`enable`) and take it out (`disable`), and wait until it is so.

    Each is a command line or a list of words, in which `{node}`, `{address}`, `{host}` and
    `{release}` are filled in word by word; no shell reads it. Status 0 is the word of whatever is
    behind it that this has been done. `ask` ends with 0 where the node is in, with 1 where it is
    out; it then is the proof, and is repeated for `within` until it agrees.
    """

    starts_out: ClassVar[bool] = False

    enable: OneOrMore[str] = field(repr=False)
    disable: OneOrMore[str] = field(repr=False)
    ask: OneOrMore[str] = field(default=(), repr=False)
    where: Literal["here", "node"] = "here"
    within: Seconds = 30.0

    def __post_init__(self) -> None:
        for key in ("enable", "disable", "ask"):
            written = getattr(self, key)
            if not _split(key, written) and (written or key != "ask"):
                raise ValueError(f"{key}: expected a command")

    def refusal(self, nodes: Sequence[Node]) -> str:
        """Refuse nodes on which no command can run, where they are to run there."""
        for node in nodes if self.where == "node" else ():
            if reason := why_unreachable(node):
                return f"node {node.name}: {reason}"
        return ""

    def take_out(self, node: Node, conditions: Conditions) -> Turn:
        """Run `disable`."""
        return self._turned("disable", Standing.OUT, node, conditions)

    def put_in(self, node: Node, conditions: Conditions) -> Turn:
        """Run `enable`."""
        return self._turned("enable", Standing.IN, node, conditions)

    def standing(self, node: Node, conditions: Conditions) -> Turn:
        """Run `ask`."""
        if not self.ask:
            return not_asked()
        completed = self._run("ask", node, conditions)
        told = f"`ask` ended with status {completed.status}: {said(completed)}"
        if standing := _ASKED.get(completed.status):
            return Turn(standing=standing, evidence=(told,))
        neither = f"{told}; expected 0 for a node that is in, 1 for one that is out"
        return Turn(standing=Standing.UNKNOWN, warnings=(neither,))

    def _turned(self, key: str, wanted: Standing, node: Node, conditions: Conditions) -> Turn:
        completed = self._run(key, node, conditions, wanted)
        told = f"`{key}` ended with status {completed.status}: {said(completed)}"
        if completed.status:
            raise CommandError(node.name, told)
        ask = (lambda: self.standing(node, conditions)) if self.ask else None
        return proven(told, ask, wanted, patience(self.within, conditions.deadline))

    def _run(
        self, key: str, node: Node, conditions: Conditions, wanted: Standing | None = None
    ) -> Completed:
        words = words_of(node, conditions.release)
        facts = {"NODE": node.name, "RELEASE": conditions.release, "STANDING": wanted or ""}
        environment = [f"CACHEKIT_{name}={value}" for name, value in facts.items()]
        argv = [filled(word, words) for word in _split(key, getattr(self, key))]
        here = self.where == "here"
        return run(node, ["env", *environment, *argv], conditions.deadline, here=here)


def _split(key: str, written: Sequence[str]) -> list[str]:
    """Give the words; a single text is a whole command line. Raises ValueError."""
    try:
        return shlex.split(written[0]) if len(written) == 1 else list(written)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from error
