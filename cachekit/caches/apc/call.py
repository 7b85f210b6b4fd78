"""Asking the pools of a node: one `php -n` there, which gets the hook and the job on its stdin."""

import base64
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from cachekit.caches.apc.reply import Reply, parse_reply
from cachekit.caches.base import Place
from cachekit.deadline import Deadline
from cachekit.errors import CommandError, UnexpectedReplyError
from cachekit.model import shown

_NOT_FOUND = (126, 127)

Step = dict[str, str]
"""What each master is to do: `do` names it; for `ask` its `body` goes to a pool as it is."""


@dataclass(frozen=True, slots=True)
class Hook:
    """How the pools of a node are reached: by which `php`, at which sockets, through `tmp`."""

    php: tuple[str, ...]
    sockets: tuple[str, ...]
    tmp: str | None

    def ask(self, place: Place, steps: Sequence[Step], deadline: Deadline) -> Reply:
        """Do the steps at each master. Raises NodeError and UnexpectedReplyError."""
        nonce = secrets.token_hex(16)
        seconds = deadline.remaining()
        job = {
            "nonce": nonce,
            # The hook stops by itself a little earlier, to tidy up and to tell how far it came.
            "seconds": max(seconds - 2.0, seconds * 0.8),
            "sockets": self.sockets,
            "tmp": self.tmp,
            "steps": steps,
        }
        completed = place.transport.run([*self.php, "-n"], stdin=_program(job), deadline=deadline)
        if completed.status in _NOT_FOUND:
            php = shown(" ".join(self.php))
            raise CommandError(
                place.name, f"{php} does not run there; install it, or correct `php`"
            )
        try:
            return parse_reply(place.name, nonce, completed.stdout)
        except UnexpectedReplyError as error:
            said = shown((completed.stderr or completed.stdout).decode(errors="replace")[-500:])
            php = shown(" ".join(self.php))
            message = f"{php} -n ended with {completed.status}: {said.strip() or 'silence'}"
            raise UnexpectedReplyError(place.name, message) from error


def ask_pool(operation: str, **arguments: Any) -> Step:
    """Make the step that has a pool do something."""
    return {"do": "ask", "body": json.dumps({"op": operation, **arguments})}


def encoded(text: str) -> str:
    """Write any text, bytes that are no UTF-8 among it, as base64."""
    return base64.b64encode(text.encode("utf-8", "surrogateescape")).decode()


def _program(job: dict[str, Any]) -> bytes:
    """Put the job, and the hook as a text that it can write to a file, before the hook itself."""
    source = (files("cachekit.caches.apc") / "hook.php").read_bytes()
    told = json.dumps(job).replace("\\", "\\\\").replace("'", "\\'").encode()
    return (
        b"<?php $cachekit_job = json_decode('%b', true);"
        b" $cachekit_source = base64_decode('%b'); ?>%b"
    ) % (told, base64.b64encode(source), source)
