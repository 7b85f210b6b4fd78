"""What ssh's words mean: what to do about a failure, and whether it passes by itself."""

import re
from dataclasses import dataclass

from cachekit.model import shown


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no connection, for people; and whether it is worth another try."""

    reason: str
    passing: bool = False


# In the order in which they count: a jump host that is refused ends in the words of the last two.
_REMEDIES = (
    (r"IDENTIFICATION HAS CHANGED", "its host key is another than the known one: find out why"),
    (
        r"No .* host key is known|Host key verification failed",
        "log in by hand once and compare the fingerprint, or add its key to known_hosts",
    ),
    (r"Permission denied \(", "does `ssh {to}` log in from here without asking for anything?"),
    (r"Too many authentication failures", "name the key in ssh's configuration, IdentitiesOnly"),
    (r"Could not resolve hostname", "correct `ssh:`, or ssh's configuration"),
    (r"Connection refused", "is sshd running there, and the port right?"),
    (r"timed out|No route to host|Network is unreachable", "is the node up, and its network?"),
    (r"open failed", "does the way to it end before it, or forbid it?"),
    (r"[Bb]ad configuration option|no argument after keyword", "correct ssh's configuration"),
)
# sshd drops connections while too many log in (MaxStartups). These come before any login.
_PASSING = re.compile(
    r"(?:kex|ssh)_exchange_identification: (?:read: )?Connection (?:closed|reset)"
    r"|^Connection (?:closed|reset) by \S+ port \d+$",
    re.MULTILINE,
)


def failure_of(said: bytes, destination: str) -> Failure:
    """Find the cause in what ssh wrote to stderr."""
    text = said.decode(errors="replace").replace("\r", "")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for pattern, remedy in _REMEDIES:
        for line in lines:
            if re.search(pattern, line):
                return Failure(f"{_cause(line)}; {remedy.format(to=shown(destination))}")
    last = _cause(lines[-1]) if lines else "it said nothing"
    return Failure(f"{last}; try `ssh {shown(destination)}`", bool(_PASSING.search(text)))


def _cause(line: str) -> str:
    return "ssh: " + shown(line.strip("@ ").removeprefix("ssh: ").rstrip("."))
