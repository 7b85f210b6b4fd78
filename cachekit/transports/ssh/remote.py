"""What runs on the node: a constant command that says it is there, then takes what to do on stdin.

The login shell of the account, whichever it is, sees the constant command only. What is to be run
follows once the node has said that it is ready: until then it is certain that nothing ran.
"""

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

READY = b"cachekit-ready-on-node\n"
# Nothing in it means anything to sh, fish or csh between single quotes. `read` takes single bytes
# from a pipe, so that what follows the line is left to the command.
BOOTSTRAP = (
    "exec sh -c"
    f" 'echo {READY.decode().strip()}; IFS= read -r cachekit_line && eval \"$cachekit_line\"'"
)

# Arguments end in `_`, or `$(…)` would take the newlines at their ends. A node without `timeout`
# runs the command without a limit of its own.
_PROGRAM = (
    "set -- {arguments};"
    ' for cachekit_line do shift; set -- "$@" "${{cachekit_line%_}}"; done;'
    ' command -v "$1" >/dev/null 2>&1 || {{ echo {nonce}:absent:{nonce}; exit; }};'
    " if timeout -k 1 1 true </dev/null >/dev/null 2>&1;"
    ' then timeout -k 1 {seconds} "$@"; else "$@"; fi;'
    ' echo "{nonce}:$?:{nonce}"\n'
)
_PRINTABLE = re.compile(rb"[ -~]*")
# No `-`, which could begin an option of `printf`.
_PLAIN = re.compile(rb"[A-Za-z0-9 ./_=]")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command wrote, and its exit status; None where the node cannot run it."""

    stdout: bytes
    status: int | None


def program(argv: Sequence[str], seconds: int, nonce: str) -> bytes:
    """Write the line that runs a command, ended after some seconds, and tells its status."""
    arguments = " ".join(map(_quoted, argv))
    return _PROGRAM.format(arguments=arguments, seconds=seconds, nonce=nonce).encode()


def end_mark(nonce: str) -> bytes:
    """Give the bytes that end an answer."""
    return b":%b\n" % nonce.encode()


def answer(received: bytes, nonce: str) -> Answer | None:
    """Read an answer; None if its end is missing."""
    stdout, _, rest = received.partition(nonce.encode() + b":")
    if end_mark(nonce) not in rest:
        return None
    status = rest.partition(b":")[0]
    return Answer(stdout, None if status == b"absent" else int(status))


def _quoted(argument: str) -> str:
    raw = os.fsencode(argument)
    if _PRINTABLE.fullmatch(raw):
        return shlex.quote(f"{argument}_")
    escaped = "".join(chr(byte) if _PLAIN.match(bytes([byte])) else f"\\{byte:03o}" for byte in raw)
    return f"\"$(printf '{escaped}_')\""
