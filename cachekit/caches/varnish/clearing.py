"""Bans through the management port, and what its answers come to."""

import json
from collections.abc import Sequence

from cachekit.caches.base import Change
from cachekit.caches.varnish.cli import OK, UNKNOWN_COMMAND, Cli, Reply
from cachekit.caches.varnish.marks import set_by
from cachekit.caches.varnish.state import ban_list
from cachekit.errors import CacheError, RefusedError, UnexpectedReplyError

_BAD_BAN = (100, 104, 105, 106)


def put_bans(cli: Cli, bans: Sequence[str]) -> Change:
    """Put up bans; from the moment a ban is acknowledged, no older object is served against it."""
    taken = 0
    for ban, reply in zip(bans, cli.ask_all(map(command, bans)), strict=True):
        if reply.status != OK:
            raise _refused(cli.place, ban, reply, f"; {taken} of {len(bans)} bans were taken")
        taken += 1
    listed = ban_list(cli)
    evidence = f"Varnish took {taken:,} {'ban' if taken == 1 else 'bans'} (200)"
    return Change(
        evidence=(evidence, f"{listed} in its list still to be worked off"),
        warnings=tuple(listed.warnings),
    )


def marks_of(cli: Cli) -> frozenset[str] | None:
    """Name the headers that the VCL in use puts on objects; None where it cannot be read."""
    vcl = _active_vcl(cli)
    return set_by(vcl) if vcl else None


def _active_vcl(cli: Cli) -> str:
    """Read the VCL in use, with all that it includes; "" where that cannot be told."""
    listed = cli.ask("vcl.list -j")
    try:
        rows = json.loads(listed.text) if listed.status == OK else []
    except ValueError:  # before 6.6, and where a name is no ASCII
        return ""
    active = [row["name"] for row in rows if isinstance(row, dict) and row["status"] == "active"]
    shown = cli.ask(f"vcl.show -v {active[0]}") if active else None
    return shown.text if shown is not None and shown.status == OK else ""


def command(ban: str) -> str:
    """Write a ban as a command, whose words have their backslashes decoded.

    Nothing is quoted: Varnish 7.0 to 7.4 refuses two quoted words in a row, and a space in quotes
    splits a word all the same.
    """
    return "ban " + ban.replace("\\", "\\\\")


def _refused(place: str, ban: str, reply: Reply, counted: str) -> CacheError:
    if reply.status == UNKNOWN_COMMAND and "child not running" in reply.text:
        return RefusedError(
            place,
            "its child process does not run, so it serves and keeps nothing; start it (`varnishadm"
            " start`) or take the node out",
        )
    if reply.status in _BAD_BAN:
        return RefusedError(place, f"Varnish does not take `{ban[:200]}`: {reply}{counted}")
    return UnexpectedReplyError(place, f"`ban` says {reply}{counted}")
