"""What redis refuses, with what to do about it."""

from typing import Any

from cachekit.errors import RefusedError
from cachekit.model import shown

Command = tuple[str | int | bytes, ...]
"""One command with its arguments, as redis gets them."""

Reply = Any
"""Bytes, a number, None, a list of them, or hiredis.ReplyError."""

_ADVICE = (
    ("NOAUTH", "set `password_file:` or `password:`"),
    ("WRONGPASS", "check `username:` and the password"),
    ("invalid username-password", "check `username:` and the password"),
    ("without any password configured", "it asks for no password; remove it from the settings"),
    ("NOPERM", "let the ACL user do that, or give another user"),
    ("permission", "let the ACL user do that, or give another user"),
    ("READONLY", "it is a replica; name its primary in `servers:`"),
    ("LOADING", "it still reads its data; try again later"),
    ("MASTERDOWN", "it is a replica without its primary; name the primary in `servers:`"),
    ("CLUSTERDOWN", "some slots have no primary; mend the cluster first"),
    ("MOVED", "slots moved; try again once they have settled"),
    ("ASK ", "slots are on the move; try again once they have settled"),
    ("TRYAGAIN", "slots are on the move; try again once they have settled"),
    ("cluster support disabled", "it is no cluster; remove `cluster: true`"),
    ("OOM", "it is full and evicts nothing; give it more memory or prime less"),
    ("MISCONF", "it cannot save to its disk and takes no writes"),
    ("DB index", "check `db:`"),
    ("max number of clients", "it serves as many clients as its maxclients lets it"),
    ("DENIED", "it is in protected mode and serves its own machine only; use `via:`"),
    ("unknown command", "it is too old, or the command is renamed or switched off there"),
)


def refusal(place: str, said: str) -> RefusedError:
    """Make the error for what redis said no to."""
    advice = next((f"; {advice}" for part, advice in _ADVICE if part in said), "")
    return RefusedError(place, f"redis says: {shown(said)}{advice}")
