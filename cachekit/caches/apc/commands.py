"""The user's own commands, run on the node."""

import shlex
from collections.abc import Sequence

from cachekit.caches.base import Place
from cachekit.deadline import Deadline
from cachekit.errors import CommandError
from cachekit.model import shown

_SHOWN_CHARACTERS = 500


def argv_of(written: Sequence[str]) -> list[str]:
    """Give the arguments; a single one is taken for a whole command line. Raises ValueError."""
    return shlex.split(written[0]) if len(written) == 1 else list(written)


def run(place: Place, argv: Sequence[str], deadline: Deadline) -> str:
    """Run a command on the node, and say how it went. Raises NodeError."""
    completed = place.transport.run(argv, deadline=deadline)
    said = (completed.stdout + completed.stderr).decode(errors="replace").strip()
    tail = shown(said[-_SHOWN_CHARACTERS:]) or "it printed nothing"
    command = shown(shlex.join(argv))
    if completed.status:
        raise CommandError(place.name, f"{command} ended with status {completed.status}: {tail}")
    return f"{command} ended well: {tail}"
