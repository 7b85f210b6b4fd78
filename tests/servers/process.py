"""Starting, awaiting and ending one server program; every other real server builds on it."""

import http.client
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import pytest

if TYPE_CHECKING:
    from tests.servers.machine import Machine

# Debian keeps daemons in sbin, which is not on the PATH of an ordinary user.
SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])

# Below the range from which Linux takes the local ports of outgoing connections (32768 up), so
# that a port found free is not taken by some client in the instant before its server binds it.
FIRST_PORT, LAST_PORT = 10_000, 32_000


class ServerFailedError(Exception):
    """A server ended, or was not ready in time; the message ends with the tail of its log."""


def free_port(host: str = "127.0.0.1") -> int:
    """Find a TCP port that nothing uses on the host."""
    return free_port_on([host])


def free_port_on(hosts: list[str]) -> int:
    """Find one TCP port that nothing uses on any of the hosts."""
    for _ in range(200):
        # Not from `random`: pytest-randomly seeds it alike before each test and in each worker.
        port = FIRST_PORT + secrets.randbelow(LAST_PORT - FIRST_PORT)
        if all(_is_free(host, port) for host in hosts):
            return port
    raise ServerFailedError(f"no free port found on {hosts}")


def _is_free(host: str, port: int) -> bool:
    with socket.socket(family_of(host)) as probe:
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def family_of(host: str) -> socket.AddressFamily:
    """Choose the address family that a literal address belongs to."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def host_port(host: str, port: int) -> str:
    """Write host and port the way URLs and server configurations want them."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def require_program(name: str) -> str:
    """Return the path of a program; without it skip the test, or fail it when CI is set."""
    found = shutil.which(name, path=SEARCH_PATH)
    if found is not None:
        return found
    if os.environ.get("CI"):
        pytest.fail(f"{name} is not installed, and CI must not skip what needs it")
    pytest.skip(f"{name} is not installed")


def wait_until(
    condition: Callable[[], bool], seconds: float = 5.0, poll_seconds: float = 0.01
) -> bool:
    """Poll until the condition holds; say whether it did before the deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(poll_seconds)
    return True


@dataclass(kw_only=True, eq=False)
class ServerProcess:
    """One server program on one loopback address, in its own process group and data directory.

    Subclasses say their `program` and `argv()`, and may `prepare()` files in `data_dir`. A server
    can be stopped and started again: it keeps its port and gets a new, empty data directory.
    """

    program: ClassVar[str]
    running: ClassVar[set["ServerProcess"]] = set()

    host: str = "127.0.0.1"
    port: int = 0
    ready_seconds: float = 15.0
    machine: "Machine | None" = None
    """The machine it runs on; None is this one."""
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False, repr=False)
    _data_dir: Path | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self.port = self.port or free_port(self.host)

    def argv(self) -> list[str]:
        """Return the arguments after the program's name."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Write what the server needs into its data directory."""

    def is_ready(self) -> bool:
        """Tell whether the server accepts connections."""
        try:
            with socket.create_connection((self.host, self.port), timeout=1.0):
                return True
        except OSError:
            return False

    @property
    def address(self) -> str:
        """`host:port`, as a node's address is written."""
        return host_port(self.host, self.port)

    @property
    def data_dir(self) -> Path:
        """The directory of this start: configuration, log, and what the server stores."""
        if self._data_dir is None:
            raise ServerFailedError(f"{self.program} is not started")
        return self._data_dir

    @property
    def pid(self) -> int:
        """The server's process id while it runs."""
        if self._process is None:
            raise ServerFailedError(f"{self.program} is not started")
        return self._process.pid

    def start(self) -> Self:
        """Start the server and return once it is ready."""
        program = require_program(self.program)
        # A short name: socket paths below it must stay within 107 bytes.
        self._data_dir = Path(tempfile.mkdtemp(prefix="ck-"))
        try:
            self.prepare()
            self._spawn(program)
            self._await_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def _spawn(self, program: str) -> None:
        with (self.data_dir / "server.log").open("wb") as log:
            self._process = subprocess.Popen(
                [*(self.machine.enter if self.machine else ()), program, *self.argv()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.working_directory(),
                # Its own group, so that stop() can end the workers of a master that was killed.
                start_new_session=True,
            )
        self.running.add(self)

    def working_directory(self) -> Path:
        """Return where the program runs."""
        return self.data_dir

    def _await_ready(self) -> None:
        process, machine = self._process, self.machine
        is_ready = self.is_ready if machine is None else lambda: machine.inside(self.is_ready)
        ready = wait_until(
            lambda: process is None or process.poll() is not None or is_ready(),
            self.ready_seconds,
        )
        # Asked again after the probe: some other program may have answered on that port.
        if process is None or process.poll() is not None:
            raise ServerFailedError(f"{self.program} ended while starting\n{self.log_tail()}")
        if not ready:
            raise ServerFailedError(
                f"{self.program} was not ready after {self.ready_seconds} s\n{self.log_tail()}"
            )

    def ask(self, target: str) -> bytes:
        """Return the body of a GET, for the server's own counters.

        Not by urllib, which would go through a proxy that a test put into the environment.
        """
        client = http.client.HTTPConnection(self.host, self.port, timeout=10.0)
        try:
            client.request("GET", target)
            return client.getresponse().read()
        finally:
            client.close()

    def log_tail(self, lines: int = 30) -> str:
        """Return the last lines that the server wrote."""
        text = (self.data_dir / "server.log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def stop(self) -> None:
        """End the server, by force after five seconds, and remove its data directory."""
        if self._process is not None:
            self._end(self._process)
            self._process = None
        self.running.discard(self)
        if self._data_dir is not None:
            shutil.rmtree(self._data_dir, ignore_errors=True)
            self._data_dir = None

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        try:
            process.wait(5.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5.0)
        # The group is ours alone (start_new_session); it is empty unless a worker was left over.
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return

    def kill(self) -> None:
        """End the server at once, as a crash would; stop() still has to be called after it."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(5.0)
            # The workers hold the listening socket a moment longer than their master.
            wait_until(lambda: not ServerProcess.is_ready(self))

    def pause(self) -> None:
        """Freeze the server: it keeps its connections and answers nothing."""
        os.killpg(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server go on."""
        os.killpg(self.pid, signal.SIGCONT)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()
