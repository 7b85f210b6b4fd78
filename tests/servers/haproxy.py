"""HAProxy in front of nodes, with the runtime socket that an operator has."""

import socket
from collections.abc import Mapping
from csv import DictReader
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from tests.servers.process import ServerProcess, free_port, host_port

CONFIGURATION = """\
global
  nbthread 2
  stats socket {socket} mode 600 level {level}
  {runtime}
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
  timeout queue 5s
  timeout check 10s
frontend visitors
  bind {bind}
  default_backend {backend}
backend {backend}
  balance roundrobin
  {lines}
"""


@dataclass(kw_only=True, eq=False)
class Haproxy(ServerProcess):
    """One frontend before one backend; `servers` maps their names to addresses.

    An address is `host:port`, or `unix@/path`. With `check_path` each server is asked for it ten
    times a second. `level` is what the runtime socket allows; `runtime_tcp` opens it on a port too.
    `lines` are more lines of the backend, `options` more words on the line of each server.
    """

    program: ClassVar[str] = "haproxy"

    servers: Mapping[str, str]
    backend: str = "pages"
    check_path: str = ""
    level: str = "admin"
    runtime_tcp: bool = False
    lines: tuple[str, ...] = ()
    options: str = ""
    runtime_port: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.runtime_tcp:
            self.runtime_port = self.runtime_port or free_port(self.host)

    @property
    def socket_path(self) -> Path:
        """The runtime socket."""
        return self.data_dir / "runtime.sock"

    @property
    def runtime_address(self) -> str:
        """`host:port` of the runtime socket, when `runtime_tcp` is set."""
        return host_port(self.host, self.runtime_port)

    def prepare(self) -> None:
        check = "check inter 100ms fastinter 100ms rise 2 fall 2" if self.check_path else ""
        asked = [f"option httpchk GET {self.check_path}"] if self.check_path else []
        servers = [
            f"server {name} {address} {check} {self.options}".rstrip()
            for name, address in self.servers.items()
        ]
        runtime = f"stats socket {self.runtime_address} level {self.level}"
        text = CONFIGURATION.format(
            socket=self.socket_path,
            level=self.level,
            runtime=runtime if self.runtime_tcp else "",
            bind=self.address,
            backend=self.backend,
            lines="\n  ".join([*asked, *self.lines, *servers]),
        )
        (self.data_dir / "haproxy.cfg").write_text(text)

    def argv(self) -> list[str]:
        return ["-db", "-f", str(self.data_dir / "haproxy.cfg")]

    def is_ready(self) -> bool:
        # The socket gets its name a moment after the port is open.
        return self.socket_path.exists() and super().is_ready()

    def tell(self, command: str) -> str:
        """Give one command to the runtime socket, and return what it says."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10.0)
            connection.connect(str(self.socket_path))
            connection.sendall(f"{command}\n".encode())
            return connection.makefile("rb").read().decode()

    def rows(self) -> dict[str, dict[str, str]]:
        """Tell the statistics of each server, by its name."""
        text = self.tell("show stat -1 4 -1").removeprefix("# ").strip()
        return {row["svname"]: row for row in DictReader(text.splitlines())}

    def state(self, server: str) -> str:
        """Tell what HAProxy says of a server: `UP`, `no check`, `MAINT`, `DRAIN`, `DOWN`, …."""
        return self.rows()[server]["status"]
