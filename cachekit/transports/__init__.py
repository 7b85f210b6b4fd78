"""How a node is reached: over SSH, on this machine, or not at all."""

from cachekit.errors import UnreachableError
from cachekit.model import Node
from cachekit.transports.base import Completed, Transport
from cachekit.transports.local import Local

__all__ = ["Completed", "Local", "Transport", "transport_to", "why_unreachable"]


def transport_to(node: Node | None) -> Transport:
    """Choose the way to a node; None is this machine. Raises UnreachableError."""
    if node is None or node.is_here:
        return Local(node.name if node else "")
    if node.ssh is not None:
        from cachekit.transports.ssh import Ssh

        return Ssh(node.name, node.ssh)
    raise UnreachableError(node.name, why_unreachable(node))


def why_unreachable(node: Node) -> str:
    """Say why no command can run on a node; "" where one can."""
    if node.is_here or node.ssh is not None:
        return ""
    return f"{node.address} is another machine; give it `ssh: user@host`, or `local: true`"
