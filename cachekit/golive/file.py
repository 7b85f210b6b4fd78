"""The `file` actor: a readiness file on each node, which a load balancer or a probe looks for."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from cachekit.caches.base import Conditions
from cachekit.deadline import Deadline
from cachekit.errors import CommandError
from cachekit.golive.base import Standing, Turn
from cachekit.golive.on_node import run, said
from cachekit.golive.patience import patience
from cachekit.golive.words import filled, words_of
from cachekit.model import Node, shown
from cachekit.quantities import Seconds, format_seconds
from cachekit.transports import why_unreachable

# $1 is the file. Where its folder cannot be entered, nothing tells whether it is there.
_IN_FOLDER = 'cd -- "${1%/*}/" || exit 1\n'
# A rename puts it there whole, or not at all; a folder it would go into.
_WRITE = """\
[ ! -d "$1" ] || { echo "it is a folder"; exit 1; }
umask 022  # whoever looks for it may be somebody else
temp="$1.cachekit.$$"
rm -f -- "$temp" && set -C  # in a folder of many, through nobody's link
trap 'rm -f -- "$temp"' EXIT
cat >"$temp" && mv -f -- "$temp" "$1"
"""
_REMOVE = 'rm -f -- "$1"'
_LOOK = 'if [ -e "$1" ] || [ -L "$1" ]; then echo there; cat -- "$1"; else echo gone; fi'


@dataclass(frozen=True, kw_only=True)
class File:
    """A file on each node that is there while visitors may come.

    What looks for it (the health check of a load balancer, a readiness probe) does so now and then:
    `noticed_within` is waited for each time, so that visitors have left, or have come, when the
    next thing begins. `at_start` removes it at the start of a run that will put it there, or keeps
    it, as a roll over live nodes wants.
    """

    path: str
    noticed_within: Seconds = 10.0
    at_start: Literal["remove", "keep"] = "remove"

    def __post_init__(self) -> None:
        if not self.path.startswith("/") or self.path.endswith("/") or not self.path.isprintable():
            raise ValueError("path: expected the absolute path of a file, such as /run/shop/ready")

    @property
    def starts_out(self) -> bool:
        """Whether a run begins by removing it."""
        return self.at_start == "remove"

    def refusal(self, nodes: Sequence[Node]) -> str:
        """Refuse nodes on which no command can run, and one file for two nodes."""
        for node in nodes:
            if reason := why_unreachable(node):
                return f"node {node.name}: {reason}"
        places = Counter((node.ssh, self._path(node)) for node in nodes)
        if shared := [path for (_, path), count in places.items() if count > 1]:
            return f"path: {shown(shared[0])} is one file for several nodes; write {{node}} in it"
        return ""

    def take_out(self, node: Node, conditions: Conditions) -> Turn:
        """Remove the file, and wait until that is noticed.

        Also where it is gone already: a run before this one may have ended while it waited.
        """
        self._do(_REMOVE, node, conditions.deadline)
        return self._noticed(node, conditions)

    def put_in(self, node: Node, conditions: Conditions) -> Turn:
        """Write the file, and wait until that is noticed."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        release = f"release: {conditions.release}\n" if conditions.release else ""
        content = f"{release}since: {now}\nby: cachekit\n".encode()
        self._do(_WRITE, node, conditions.deadline, content)
        return self._noticed(node, conditions)

    def standing(self, node: Node, conditions: Conditions) -> Turn:
        """Look whether the file is there."""
        path = shown(self._path(node))
        state, *lines = self._do(_LOOK, node, conditions.deadline).split("\n")
        if state == "gone":
            return Turn(standing=Standing.OUT, evidence=(f"{path} is not there",))
        content = shown(", ".join(filter(None, lines))[:200])
        return Turn(standing=Standing.IN, evidence=(f"{path} is there: {content}",))

    def _noticed(self, node: Node, conditions: Conditions) -> Turn:
        waited = patience(self.noticed_within, conditions.deadline)
        time.sleep(waited)
        turn = self.standing(node, conditions)
        if waited == self.noticed_within:
            return turn
        short = (
            f"waited {format_seconds(waited)} only, less than noticed_within"
            f" {format_seconds(self.noticed_within)}: the deadline is too short"
        )
        return Turn(standing=Standing.UNKNOWN, evidence=turn.evidence, warnings=(short,))

    def _do(self, script: str, node: Node, deadline: Deadline, stdin: bytes = b"") -> str:
        argv = ["sh", "-c", _IN_FOLDER + script, "cachekit", self._path(node)]
        completed = run(node, argv, deadline, stdin=stdin)
        if completed.status:
            raise CommandError(node.name, f"{shown(argv[-1])}: {said(completed)}")
        return completed.stdout.decode(errors="replace")

    def _path(self, node: Node) -> str:
        return filled(self.path, words_of(node))
