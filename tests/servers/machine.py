"""A machine of its own, as far as its servers can tell, inside this one: Linux namespaces.

Two of them have the same addresses and the same paths, as the nodes of a cluster have, and nothing
is reached but over ssh or by being there.
"""

import ctypes
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, TypeVar

from tests.servers.process import require_program
from tests.servers.sshd import SshClient, Sshd

_CLONE_NEWNET = 0x40000000
# Told once both are there; the machine lasts as long as the process.
_LIVE = "ip link set lo up && mount -t tmpfs none /srv && echo up && exec sleep 100000"

_T = TypeVar("_T")


@dataclass(kw_only=True, eq=False)
class Machine:
    """A loopback network and a `/srv` that nobody else sees; `name` is what ssh calls it."""

    name: str
    client: SshClient
    _process: subprocess.Popen[str] | None = field(default=None, init=False)
    _sshd: Sshd | None = field(default=None, init=False)

    @property
    def pid(self) -> int:
        """The process that keeps it up."""
        assert self._process is not None
        return self._process.pid

    @property
    def enter(self) -> tuple[str, ...]:
        """What stands before a command that is to run there."""
        return (require_program("nsenter"), "--target", str(self.pid), "--net", "--mount", "--")

    @property
    def srv(self) -> Path:
        """Its `/srv`, as this machine sees it."""
        return Path(f"/proc/{self.pid}/root") / "srv"

    def inside(self, act: Callable[[], _T]) -> _T:
        """Do something on its network: a namespace belongs to a thread, and so to its sockets."""
        with ThreadPoolExecutor(1, initializer=self._join) as thread:
            return thread.submit(act).result()

    def refuse_logins(self) -> None:
        """Let nobody in over ssh from now on."""
        assert self._sshd is not None
        (self._sshd.data_dir / "authorized_keys").write_text("")

    def _join(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        with Path(f"/proc/{self.pid}/ns/net").open() as network:
            if libc.setns(network.fileno(), _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "cannot join the network of the machine")

    def __enter__(self) -> Self:
        require_program("ip")
        unshare = [require_program("unshare"), "--net", "--mount", "--", "sh", "-c", _LIVE]
        self._process = subprocess.Popen(unshare, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "up\n", "no namespaces here"
        # A home of its own, too: what the .bashrc here does is no part of the other machine.
        lines = ("SetEnv HOME=/srv", "Subsystem sftp internal-sftp")
        sshd = _Sshd(client=self.client, name=self.name, enter=self.enter, directives=lines)
        self._sshd = sshd.start()
        return self

    def __exit__(self, *exc: object) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        if self._sshd is not None:
            self._sshd.stop()
        self._process.kill()
        self._process.wait(5.0)
        self._process.stdout.close()


@dataclass(kw_only=True, eq=False)
class _Sshd(Sshd):
    """The sshd of a machine, which each connection starts there: no network leads to it."""

    enter: tuple[str, ...]

    def start(self) -> Self:
        self._data_dir = Path(tempfile.mkdtemp(prefix="ck-"))
        sshd = [require_program(self.program), "-i", "-E", f"{self.data_dir}/log"]
        command = [*self.enter, *sshd, "-f", f"{self.data_dir}/sshd_config"]
        self.client_lines = (f"ProxyCommand {' '.join(command)}",)
        self.prepare()
        return self
