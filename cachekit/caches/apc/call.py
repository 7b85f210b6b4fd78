"""Asking the pools of a node: one `php -n` there, which gets the hook and the job on its stdin."""

import base64
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from cachekit.caches.apc.reply import Reply, parse_reply
from cachekit.caches.base import Place
from cachekit.deadline import Deadline
from cachekit.errors import CommandError, UnexpectedReplyError
from cachekit.model import shown

_NOT_FOUND = (126, 127)
_HOOK = files("cachekit.caches.apc") / "hook"
# The parts of the two halves; pools execute the gate, which then takes in the rest.
_NODE = ("request", "script", "sockets", "target", "compiler", "master", "main")
_POOL = ("opcode", "records", "user", "main")


@dataclass(frozen=True, slots=True)
class Step:
    """What each master is to do: `do` names it; for `ask` its body goes to a pool as it is."""

    do: str
    body: bytes = b""


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
        }
        stdin = program(job, steps)
        completed = place.transport.run([*self.php, "-n"], stdin=stdin, deadline=deadline)
        php = shown(" ".join(self.php))
        if completed.status in _NOT_FOUND:
            raise CommandError(
                place.name, f"{php} does not run there; install it, or correct `php`"
            )
        try:
            return parse_reply(place.name, nonce, completed.stdout)
        except UnexpectedReplyError as error:
            said = shown((completed.stderr or completed.stdout).decode(errors="replace")[-500:])
            message = f"{php} -n ended with {completed.status}: {said.strip() or 'silence'}"
            raise UnexpectedReplyError(place.name, message) from error


def ask_pool(operation: str, **arguments: Any) -> Step:
    """Make the step that has a pool do something."""
    return Step("ask", json.dumps({"op": operation, **arguments}).encode())


def encoded(text: str) -> str:
    """Write any text, bytes that are no UTF-8 among it, as base64."""
    return base64.b64encode(text.encode("utf-8", "surrogateescape")).decode()


def program(job: dict[str, Any], steps: Sequence[Step]) -> bytes:
    """Write what `php -n` reads: the hook of both halves, and what it is to do."""
    written = [_half("node", _NODE), b"\nNode::main("]
    written += [*_literal(json.dumps(job).encode()), b", ["]
    for step in steps:
        written += [b"['do' => ", *_literal(step.do.encode()), b", 'body' => "]
        written += [*_literal(step.body), b"], "]
    gate, pool = (_HOOK / "pool" / "gate.php").read_bytes(), _half("pool", _POOL)
    written += [b"], ", *_literal(gate), b", ", *_literal(pool), b");\n"]
    return b"".join(written)


@cache
def _half(name: str, parts: tuple[str, ...]) -> bytes:
    """Join the parts of a half to one script."""
    sources = [_HOOK / "both.php", *(_HOOK / name / f"{part}.php" for part in parts)]
    return b"<?php\n" + b"".join(each.read_bytes().removeprefix(b"<?php\n") for each in sources)


def _literal(content: bytes) -> tuple[bytes, ...]:
    """Write bytes as PHP, where nothing else is special between single quotes."""
    return b"'", content.replace(b"\\", b"\\\\").replace(b"'", b"\\'"), b"'"
