"""The runtime socket of one HAProxy: its commands, and what it says of its servers.

See the management guide of HAProxy, §9: a connection takes one line, and is closed after the reply.
"""

import csv
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from cachekit.caches.base import Place
from cachekit.deadline import Deadline
from cachekit.errors import RefusedError, UnexpectedReplyError, UnreachableError
from cachekit.golive.base import Standing
from cachekit.model import shown
from cachekit.near_misses import did_you_mean

_IO_SECONDS = 10.0
_RECEIVE_BYTES = 64 * 1024
_MAX_REPLY = 64 * 1024**2
_SHOWN_CHARACTERS = 200
# All proxies, servers only, all of these.
_SHOW = "show stat -1 4 -1"
_LEVEL = (
    "the runtime socket does not let servers be set, it is of level {level}; say `level admin` on"
    " its line `stats socket` in HAProxy's configuration"
)


@dataclass(frozen=True, slots=True)
class Server:
    """One server of a backend as HAProxy sees it now.

    `status` is its own word: `UP`, `UP 1/3` on the way down, `no check`, `MAINT`, `DRAIN`, `DOWN`.
    `sessions` are requests that are with it or wait for it. `check` is empty where no check runs.
    """

    status: str
    sessions: int
    weight: int
    check: str
    is_healthy: bool

    def __str__(self) -> str:
        check = f", check {self.check}" if self.check else ""
        return f"{self.status}, weight {self.weight}, sessions {self.sessions}{check}"

    @property
    def is_kept_out(self) -> bool:
        """Whether it is in maintenance: nobody is sent to it, whatever else happens."""
        return self.status.startswith("MAINT")

    @property
    def passes(self) -> bool:
        """Whether its health checks, if any run, have all passed since they began."""
        return not self.check or (self.is_healthy and not self.status.startswith("DOWN"))

    @property
    def standing(self) -> Standing:
        """What this means for visitors; `doubt` says why it is not known."""
        if self.is_kept_out:
            return Standing.OUT
        return Standing.UNKNOWN if self.doubt else Standing.IN

    @property
    def doubt(self) -> str:
        """Why it is neither in nor kept out; "" if it is one of them."""
        if self.is_kept_out:
            return ""
        if self.status.startswith("DRAIN") or not self.weight:
            return "gets no new visitors, but those that are bound to it still reach it"
        if not self.status.startswith(("UP", "no check")):
            return "gets no visitors now, but HAProxy lets it in once its checks pass"
        return ""


@dataclass(frozen=True, slots=True)
class RuntimeSocket:
    """Where one HAProxy takes commands. Errors name the place."""

    place: Place
    deadline: Deadline

    def check_level(self) -> None:
        """Refuse a socket that only shows. Raises RefusedError."""
        level = self.ask("show cli level").strip()
        if level in ("user", "operator"):
            raise RefusedError(self.place.name, _LEVEL.format(level=level))

    def servers(self, backend: str) -> dict[str, Server]:
        """Look at the servers of a backend. Raises RefusedError if there is no such backend."""
        said = self.ask(_SHOW)
        if not said.startswith("# pxname,svname,"):
            raise UnexpectedReplyError(
                self.place.name, f"no HAProxy answers there, but something that says {_cut(said)}"
            )
        if not said.endswith("\n\n"):
            raise UnexpectedReplyError(self.place.name, "the reply was cut off; is it restarting?")
        rows = list(csv.DictReader(said.removeprefix("# ").split("\n"), restval=""))
        found = {row["svname"]: _server(row) for row in rows if row["pxname"] == backend}
        if not found:
            known = sorted({row["pxname"] for row in rows})
            raise RefusedError(
                self.place.name, f"has no servers in a backend {backend}{_near(backend, known)}"
            )
        return found

    def server(self, backend: str, name: str) -> Server:
        """Look at one server. Raises RefusedError if there is none of that name."""
        servers = self.servers(backend)
        if name not in servers:
            near = _near(name, list(servers))
            raise RefusedError(self.place.name, f"the backend {backend} has no server {name}{near}")
        return servers[name]

    def set_state(self, backend: str, name: str, state: str) -> None:
        """Set the state of a server: `ready`, `drain` or `maint`. HAProxy says nothing to it."""
        said = self.ask(f"set server {backend}/{name} state {state}").strip()
        if said:
            raise RefusedError(
                self.place.name, f"set server {backend}/{name} state {state}: {_cut(said)}"
            )

    def ask(self, command: str) -> str:
        """Give one command, and return all that is said to it."""
        with self._translated():
            connection = self.place.transport.dial(self.place.addresses[0], deadline=self.deadline)
            with closing(connection):
                connection.sendall(f"{command}\n".encode("ascii"))
                reply = bytearray()
                while len(reply) < _MAX_REPLY:
                    connection.settimeout(self.deadline.remaining(_IO_SECONDS))
                    if not (block := connection.recv(_RECEIVE_BYTES)):
                        return reply.decode("utf-8", "replace")
                    reply += block
        raise UnexpectedReplyError(self.place.name, "the reply does not end")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError as error:
            raise UnreachableError(
                "",
                f"{self.place.name}: the runtime socket does not answer in time; is HAProxy"
                " stopped, or is it something else that listens there?",
            ) from error
        except OSError as error:
            raise UnreachableError(
                "", f"{self.place.name}: the connection to the runtime socket broke: {error}"
            ) from error


def _server(row: dict[str, str]) -> Server:
    code = row["check_code"].removeprefix("0")  # there is none while a check runs
    check = " ".join(filter(None, (row["check_status"], code, row["last_chk"])))
    return Server(
        status=shown(row["status"]),
        sessions=_number(row["scur"]) + _number(row["qcur"]),
        weight=_number(row["weight"]),
        check=shown(check.removeprefix("* ")),  # the star is of a check that runs just now
        is_healthy=_number(row["check_health"])
        == _number(row["check_rise"]) + _number(row["check_fall"]) - 1,
    )


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def _near(word: str, known: list[str]) -> str:
    listed = ", ".join(known) or "none"
    return did_you_mean(word, known) or f"; there are: {shown(listed)[:_SHOWN_CHARACTERS]}"


def _cut(said: str) -> str:
    return repr(said[:_SHOWN_CHARACTERS]) if said else "nothing"
