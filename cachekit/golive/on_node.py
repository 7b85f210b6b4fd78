"""Running a command for an actor, and telling how it went without showing its words."""

from collections.abc import Sequence

from cachekit.deadline import Deadline, DeadlineError
from cachekit.errors import CommandError
from cachekit.model import Node, shown
from cachekit.transports import Completed, Local, transport_to

_SHOWN_CHARACTERS = 500


def run(
    node: Node, argv: Sequence[str], deadline: Deadline, *, stdin: bytes = b"", here: bool = False
) -> Completed:
    """Run a command on the node, or here for it. Raises NodeError."""
    transport = Local(node.name) if here else transport_to(node)
    try:
        return transport.run(argv, stdin=stdin, deadline=deadline)
    except DeadlineError as error:
        raise CommandError(node.name, str(error)) from error


def said(completed: Completed) -> str:
    """Give the end of what a command wrote, fit to be shown."""
    text = (completed.stdout + completed.stderr).decode(errors="replace").strip()
    return shown(text[-_SHOWN_CHARACTERS:]) or "it printed nothing"
