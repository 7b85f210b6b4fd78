"""sshd as web nodes run it, and the side of a client that may log in there.

::

    client = SshClient(tmp_path)
    monkeypatch.setenv(*client.setting)
    with Sshd(client=client, name="web1", host="127.0.0.2") as sshd:
        Ssh("web1", sshd.name).run(["uptime"], deadline=Deadline(20))
"""

import contextlib
import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from tests.servers.process import ServerProcess, host_port, require_program, wait_until


class SshClient:
    """What an administrator has in `~/.ssh`: a key, the known hosts, and a configuration.

    Every Sshd that is started for it gets a `Host` block of its own, so that its name is enough.
    """

    def __init__(self, folder: Path) -> None:
        self.config = folder / "ssh_config"
        self.known_hosts = folder / "known_hosts"
        self.key = make_key(folder / "id_ed25519")
        self.config.touch()
        self.known_hosts.touch()

    @property
    def setting(self) -> tuple[str, str]:
        """The environment variable that makes cachekit use this configuration."""
        return "CACHEKIT_SSH_CONFIG", str(self.config)

    @property
    def public_key(self) -> str:
        """The line for an `authorized_keys`."""
        return self.key.with_suffix(".pub").read_text()

    def add(self, name: str, host: str, port: int, *lines: str) -> None:
        """Name a host in the configuration; `lines` are more keywords for it."""
        block = [
            f"Host {name}",
            f"HostName {host}",
            f"Port {port}",
            "User root",
            f"IdentityFile {self.key}",
            "IdentitiesOnly yes",
            "IdentityAgent none",
            f"UserKnownHostsFile {self.known_hosts}",
            "GlobalKnownHostsFile none",
            *lines,
        ]
        with self.config.open("a") as config:
            config.write("\n  ".join(block) + "\n")

    def trust(self, host: str, port: int, public_key: str) -> None:
        """Take a host's key for known."""
        with self.known_hosts.open("a") as known_hosts:
            known_hosts.write(f"[{host}]:{port} {public_key}")


def make_key(path: Path) -> Path:
    """Make a key without a passphrase; the public half lies beside it, as `.pub`."""
    argv = [require_program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
    subprocess.run(argv, check=True)
    return path


@dataclass(kw_only=True, eq=False)
class Sshd(ServerProcess):
    """One sshd on its own loopback address, with a host key of its own.

    `name` is what `ssh` calls it, in `Node.ssh` and on the command line.
    """

    program: ClassVar[str] = "sshd"

    client: SshClient
    name: str = "web1"
    known: bool = True
    """Whether the client knows the host's key."""
    authorized: bool = True
    """Whether the client's key may log in."""
    key_options: str = ""
    """What stands before the client's key, such as `command="…"`."""
    directives: tuple[str, ...] = ()
    """More lines for the configuration; they come first, and so win."""
    client_lines: tuple[str, ...] = ()
    """More lines for the client's `Host` block, such as `ProxyJump bastion`."""

    def argv(self) -> list[str]:
        return ["-D", "-e", "-f", str(self.data_dir / "sshd_config")]

    def prepare(self) -> None:
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        host_key = make_key(self.data_dir / "host_key")
        authorized_keys = self.data_dir / "authorized_keys"
        options = f"{self.key_options} " if self.key_options else ""
        authorized_keys.write_text(options + self.client.public_key if self.authorized else "")
        lines = [
            *self.directives,
            f"ListenAddress {host_port(self.host, self.port)}",
            f"HostKey {host_key}",
            f"AuthorizedKeysFile {authorized_keys}",
            "PidFile none",
            "StrictModes no",
            "UsePAM no",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "PrintMotd no",
            "LogLevel VERBOSE",
        ]
        (self.data_dir / "sshd_config").write_text("\n".join(lines) + "\n")
        self.client.add(self.name, self.host, self.port, *self.client_lines)
        if self.known:
            self.client.trust(self.host, self.port, host_key.with_suffix(".pub").read_text())

    def sessions(self) -> list[int]:
        """The processes that serve connections, and after them what runs in them."""
        return _descendants(self.pid)

    def kill_sessions(self) -> None:
        """Cut all connections, as a crash of the node would; new ones are accepted."""
        for pid in self.sessions():
            _kill(pid)
        wait_until(lambda: not self.sessions())

    def stop(self) -> None:
        """End the server and its sessions, which have process groups of their own."""
        if self._process is not None:
            self.kill_sessions()
        super().stop()


def processes_with(text: str) -> list[bytes]:
    """Find the processes whose command line contains a text, on the whole machine."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = path.read_bytes()
            if text.encode() in line:
                found.append(line)
    return found


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _descendants(pid: int) -> list[int]:
    """Parents come first: a shell that outlived what it ran would still tell of its end."""
    parents = _parents()
    found: list[int] = []
    fresh = {pid}
    while fresh:
        fresh = {child for child, parent in parents.items() if parent in fresh}
        found += fresh
    return found


def _parents() -> dict[int, int]:
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            # `pid (name) state parent …`, where a name may contain anything.
            fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
            parents[int(folder.name)] = int(fields[1])
    return parents
