"""Varnish as a node: varnishd with a given or the plainest VCL, in front of an origin."""

import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import ClassVar, Self

from tests.servers.process import ServerProcess, free_port, host_port, require_program

BACKEND = """\
vcl 4.1;
backend default {{ .host = "{host}"; .port = "{port}"; }}
"""

# A request with X-Peek is answered from the cache or not at all, so that looking fills nothing, nor
# has it fetched anew what it finds stale.
PEEK = """
sub vcl_miss { if (req.http.x-peek) { return (synth(404, "Not cached")); } }
sub vcl_backend_fetch { if (bereq.http.x-peek) { return (abandon); } }
"""


def clearable(*more: str, admitted: str = "127.0.0.0") -> str:
    """Make a VCL that lets cachekit clear by HTTP, and visitors peek."""
    folder = files("cachekit.caches.varnish")
    includes = [f'include "{folder / name}.vcl";\n' for name in ("cachekit", *more)]
    return f'acl cachekit {{ "{admitted}"/8; }}\n' + "".join(includes) + PEEK


@dataclass(kw_only=True, eq=False)
class Varnish(ServerProcess):
    """A node: varnishd that caches what an origin (`host:port`) says.

    With the default VCL only `X-Varnish` and `Age` tell a hit. `vcl` is added after the backend of
    the origin, or replaces all when it begins with `vcl 4`.
    """

    program: ClassVar[str] = "varnishd"

    origin: str
    vcl: str = ""
    unix_socket: bool = False
    proxy_protocol: bool = False
    cli: bool = False
    """Open the management port, with the secret in `secret_file`."""
    cli_port: int = 0
    arguments: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cli:
            self.cli_port = self.cli_port or free_port(self.host)

    @property
    def socket_path(self) -> Path:
        """The unix socket, when `unix_socket` is set."""
        return self.data_dir / "varnish.sock"

    @property
    def secret_file(self) -> Path:
        """The secret of the management port."""
        return self.data_dir / "secret"

    @property
    def cli_address(self) -> str:
        """`host:port` of the management port."""
        return host_port(self.host, self.cli_port)

    @property
    def work_dir(self) -> Path:
        """The instance directory, for `varnishadm -n` and `varnishlog -n`."""
        return self.data_dir / "n"

    def prepare(self) -> None:
        text = self.vcl
        if not text.lstrip().startswith("vcl 4"):
            host, _, port = self.origin.rpartition(":")
            text = BACKEND.format(host=host.strip("[]"), port=port) + text
        (self.data_dir / "node.vcl").write_text(text)
        self.secret_file.write_text("test-secret\n")

    def argv(self) -> list[str]:
        protocol = "PROXY" if self.proxy_protocol else "HTTP"
        # -j none: the jail wants to change to other users, which a container may not allow.
        argv = ["-F", "-j", "none", "-n", str(self.work_dir), "-f", str(self.data_dir / "node.vcl")]
        argv += ["-a", f"{self.address},{protocol}"]
        if self.unix_socket:
            argv += ["-a", f"{self.socket_path},{protocol}"]
        if self.cli:
            argv += ["-T", self.cli_address, "-S", str(self.secret_file)]
        else:
            argv += ["-T", "none"]
        # One pool and a small log: many of these run side by side in the tests.
        argv += ["-s", "malloc,32m", "-p", "thread_pools=1", "-p", "thread_pool_min=20"]
        return [*argv, "-p", "vsl_space=4m", *self.arguments]

    def is_ready(self) -> bool:
        """Tell whether a worker answers.

        The parent opens the port before the child that serves it exists, so connecting proves
        nothing. Something that is no request is refused (400, or closed when PROXY is wanted)
        by the worker itself, so the origin never sees the question.
        """
        try:
            with socket.create_connection((self.host, self.port), timeout=1.0) as probe:
                probe.sendall(b"ready?\r\n\r\n")
                probe.settimeout(self.ready_seconds)
                probe.recv(1)
        except ConnectionResetError:
            return True
        except OSError:
            return False
        return True

    def adm(self, *command: str) -> str:
        """Run a command by the varnishadm of Varnish itself."""
        argv = [require_program("varnishadm"), "-n", str(self.work_dir), *command]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout

    def bans(self) -> list[str]:
        """List the expressions of bans that are not completed, newest first."""
        rows = [line.split(maxsplit=3) for line in self.adm("ban.list").splitlines()[1:]]
        return [row[3] for row in rows if len(row) == 4 and row[2] != "C"]


class Visitor:
    """A client of one Varnish, which sends targets, hosts and headers byte for byte."""

    def __init__(self, server: Varnish, host: str = "shop.example") -> None:
        self.host = host
        self._socket = socket.create_connection((server.host, server.port), timeout=20.0)
        self._file = self._socket.makefile("rb")

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def visit(
        self, target: str | bytes, headers: Mapping[str, str | bytes] | None = None, host: str = ""
    ) -> None:
        """Ask for a page, so that it is kept from then on."""
        assert self._ask(target, headers or {}, host) == 200

    def finds(
        self, target: str | bytes, headers: Mapping[str, str | bytes] | None = None, host: str = ""
    ) -> bool:
        """Tell whether a page is kept; asking changes nothing."""
        return self._ask(target, {**(headers or {}), "X-Peek": "1"}, host) == 200

    def _ask(self, target: str | bytes, headers: Mapping[str, str | bytes], host: str) -> int:
        lines = {"Host": host or self.host, **headers}
        request = b"GET %b HTTP/1.1\r\n" % _bytes(target) + b"".join(
            b"%b: %b\r\n" % (name.encode(), _bytes(value)) for name, value in lines.items()
        )
        self._socket.sendall(request + b"\r\n")
        status = int(self._file.readline().split()[1])
        length = 0
        while line := self._file.readline().rstrip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        self._file.read(length)
        return status


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
