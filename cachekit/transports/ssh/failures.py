"""What ssh's words mean: what to do about a failure, and whether it passes by itself."""

import re
from dataclasses import dataclass

from cachekit.model import Address, shown


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no connection, for people; and whether another try may do."""

    reason: str
    passes: bool = False


_FORBIDDEN = "sshd may forbid it: AllowTcpForwarding, AllowStreamLocalForwarding, PermitOpen"
# The first that fits counts.
_REMEDIES = (
    (
        r"IDENTIFICATION HAS CHANGED",
        "its key is not the known one: find out why, trust nothing yet",
    ),
    (
        r"No .* host key is known|Host key verification failed",
        "log in by hand once and compare the fingerprint, or add its key to known_hosts",
    ),
    (r"Permission denied \(", "does `ssh {to}` log in from here without asking for anything?"),
    (r"Too many authentication failures", "name the key in ssh's configuration, IdentitiesOnly"),
    (r"Could not resolve hostname", "correct `ssh:`, or ssh's configuration"),
    (r"Connection refused", "is sshd running there, and the port right?"),
    (r"timed out|No route to host|Network is unreachable", "is it up, and the network?"),
    (r"open failed|stdio forwarding failed", f"{_FORBIDDEN}, on the jump host"),
    (
        r"[Bb]ad configuration|[Bb]ad (?:number|yes/no)|[Mm]issing arg",
        "correct ssh's configuration",
    ),
    (r"Can't open user config file", "correct CACHEKIT_SSH_CONFIG"),
)
# sshd drops connections while too many log in (MaxStartups), and a shared connection may be about
# to end. Such words count only before a login, when nothing can have run.
_PASSING = re.compile(
    r"(?:kex|ssh)_exchange_identification: (?:read: )?Connection (?:closed|reset)"
    r"|^Connection (?:closed|reset) by \S+ port \d+$"
    r"|^mux_client_\w+: .*(?:master failed|packet|exchange failed)"
    r"|^(?:Control master terminated unexpectedly|Failed to connect to new control master)",
    re.MULTILINE,
)
_REFUSED = re.compile(r"open failed: connect failed: (?!open failed)([^\n]+)")


def failure_of(said: bytes, destination: str) -> Failure:
    """Find the cause in what ssh wrote to stderr when it could not log in."""
    lines = _lines(said)
    for pattern, remedy in _REMEDIES:
        for line in lines:
            if re.search(pattern, line):
                return Failure(f"{_cause(line)}; {remedy.format(to=shown(destination))}")
    passes = bool(_PASSING.search("\n".join(lines)))
    return Failure(f"{last_words(said)}; try `ssh {shown(destination)}`", passes)


def last_words(said: bytes) -> str:
    """Tell what came last, where what the command itself wrote may stand before it."""
    lines = _lines(said)
    return _cause(lines[-1]) if lines else "ssh: silence"


def dial_failure(said: bytes, status: int | None, address: Address, destination: str) -> str | None:
    """Find the cause why a way through ssh has ended; None if the other side just closed it."""
    text = "\n".join(_lines(said))
    if found := _REFUSED.search(text):
        return f"{address}: {shown(found[1])}; is it running there?"
    if "open failed" in text or "Session open refused by peer" in text:
        # For a unix socket, and through a master, sshd's answer is the same for all causes.
        return f"{address}: not opened there; is it running, and open to that account? {_FORBIDDEN}"
    if not status:
        return None
    if status < 0:
        return f"{address}: ssh was ended by signal {-status}"
    return f"{address}: {failure_of(said, destination).reason}"


def _lines(said: bytes) -> list[str]:
    lines = said.decode(errors="replace").replace("\r", "").splitlines()
    return [line.strip() for line in lines if line.strip()]


def _cause(line: str) -> str:
    return "ssh: " + shown(line.strip("@ ").removeprefix("ssh: ").rstrip("."))
