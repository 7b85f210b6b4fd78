"""The `http` actor: requests to the interface of a load balancer."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from cachekit.caches.base import Conditions
from cachekit.errors import UnexpectedReplyError
from cachekit.golive.base import Standing, Turn
from cachekit.golive.patience import not_asked, patience, proven
from cachekit.golive.requests import Order, Question, send
from cachekit.golive.words import words_of
from cachekit.model import Node
from cachekit.quantities import Seconds

_BOTH = "both `in_when` and `out_when` fit"
_NEITHER = "neither `in_when` nor `out_when` fits"


@dataclass(frozen=True, kw_only=True)
class Http:
    """Requests that put a node in (`enable`) and take it out (`disable`), and wait until it is so.

    In URL, headers and body, `{node}`, `{address}`, `{host}` and `{release}` are filled in. A reply
    that is as `expect` says is the word of the load balancer that this has been done. `ask` tells
    by its reply whether a node is in; it then is the proof, and is repeated for `within` until it
    agrees. Certificates are checked, by `ca_file` if there is one.
    """

    starts_out: ClassVar[bool] = False

    enable: Order
    disable: Order
    ask: Question | None = None
    ca_file: Path | None = None
    within: Seconds = 30.0

    def refusal(self, nodes: Sequence[Node]) -> str:
        """Refuse nodes of a unix socket, where a request wants their address."""
        requests = filter(None, (self.enable, self.disable, self.ask))
        wanted = {word for request in requests for word in request.words} & {"address", "host"}
        for node in nodes if wanted else ():
            if node.address.unix_path:
                return f"node {node.name}: {node.address} has no host for {{{min(wanted)}}}"
        return ""

    def take_out(self, node: Node, conditions: Conditions) -> Turn:
        """Send `disable`."""
        return self._turned(self.disable, Standing.OUT, node, conditions)

    def put_in(self, node: Node, conditions: Conditions) -> Turn:
        """Send `enable`."""
        return self._turned(self.enable, Standing.IN, node, conditions)

    def standing(self, node: Node, conditions: Conditions) -> Turn:
        """Send `ask`."""
        if self.ask is None:
            return not_asked()
        words = words_of(node, conditions.release)
        request = self.ask.for_node(words)
        reply = send(request, self.ca_file, conditions.deadline)
        told = f"{request} answered {reply.status}"
        is_in, is_out = (each.fits(reply, words) for each in (self.ask.in_when, self.ask.out_when))
        if is_in is is_out:
            what = _BOTH if is_in else _NEITHER
            return Turn(standing=Standing.UNKNOWN, warnings=(f"{told}; {what}",))
        standing = Standing.IN if is_in else Standing.OUT
        return Turn(standing=standing, evidence=(f"{told}: {standing}",))

    def _turned(self, order: Order, wanted: Standing, node: Node, conditions: Conditions) -> Turn:
        words = words_of(node, conditions.release)
        request = order.for_node(words)
        reply = send(request, self.ca_file, conditions.deadline)
        told = f"answered {reply.status}"
        if not order.expect.fits(reply, words):
            raise UnexpectedReplyError(str(request), f"{told}, which is not what `expect` says")
        ask = (lambda: self.standing(node, conditions)) if self.ask else None
        return proven(f"{request} {told}", ask, wanted, patience(self.within, conditions.deadline))
