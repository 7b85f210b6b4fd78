"""The system's `ssh`: how it is called, and one process of it."""

import contextlib
import os
import selectors
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cachekit.deadline import Deadline
from cachekit.errors import UnreachableError

CONFIG_VARIABLE = "CACHEKIT_SSH_CONFIG"
_CONNECT_SECONDS = 10.0
_EXIT_SECONDS = 1.0
_CHUNK_BYTES = 256 * 1024

# Nobody is there to answer a question, and what an administrator forwards by hand is not for us.
# LogLevel: its messages are the cause of a failure. The rest of the configuration is honoured.
_OPTIONS = (
    "BatchMode=yes",
    "StrictHostKeyChecking=yes",
    "ServerAliveInterval=5",
    "ServerAliveCountMax=3",
    "LogLevel=INFO",
    "RemoteCommand=none",
)
CLEAR_FORWARDINGS = ("-o", "ClearAllForwardings=yes")


def config_arguments() -> list[str]:
    """Choose the configuration: ssh's own, or the file that the environment names."""
    config = os.environ.get(CONFIG_VARIABLE)
    return ["-F", config] if config else []


def arguments(deadline: Deadline) -> list[str]:
    """Give the options of every connection."""
    seconds = max(1, int(deadline.remaining(_CONNECT_SECONDS)))
    options = (*_OPTIONS, f"ConnectTimeout={seconds}")
    return [*config_arguments(), "-T", "-a", "-x", *(f"-o{option}" for option in options)]


class Client:
    """One `ssh` process. Its stderr goes to a file: a master may hold it open for long."""

    def __init__(
        self,
        node: str,
        argv: Sequence[str],
        *,
        stdin: int = subprocess.DEVNULL,
        stdout: int = subprocess.DEVNULL,
    ) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `end`
        try:
            self.process = subprocess.Popen(  # noqa: S603 - no shell; our own options
                ["ssh", *argv],  # noqa: S607 - the administrator's own
                stdin=stdin,
                stdout=stdout,
                stderr=self._log,
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            self._log.close()
            raise UnreachableError(
                node, f"ssh cannot be run here: {error.strerror}; install OpenSSH's client"
            ) from error
        self._received = b""

    def converse(self, sent: bytes, mark: bytes, deadline: Deadline) -> bytes:
        """Send all, then read to the mark, or to the end where none comes.

        Raises DeadlineError. With something sent, stdin is closed after it.
        """
        assert self.process.stdin is not None and self.process.stdout is not None  # noqa: S101, PT018
        stdin, stdout = self.process.stdin, self.process.stdout
        view, received = memoryview(sent), bytearray()
        os.set_blocking(stdin.fileno(), False)
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            if sent:
                selector.register(stdin, selectors.EVENT_WRITE)
            while True:
                for key, _ in selector.select(deadline.remaining()):
                    if key.fileobj is stdin:
                        view = _written(stdin.fileno(), view)
                        if not view:
                            selector.unregister(stdin)
                            stdin.close()
                        continue
                    chunk = os.read(stdout.fileno(), _CHUNK_BYTES)
                    seen = max(0, len(received) - len(mark))
                    received += chunk
                    if not chunk or received.find(mark, seen) >= 0:
                        return bytes(received)

    def said(self, start: int = 0) -> bytes:
        """Read what is on its stderr so far."""
        # The position in the file is shared with the process, so it is not moved.
        return os.pread(self._log.fileno(), 1 << 30, start)

    def status(self, seconds: float = _EXIT_SECONDS) -> int | None:
        """Wait a moment for its exit status."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def end(self, *, with_proxies: bool = False) -> None:
        """End it at once: a hung connection would not notice a polite signal."""
        if self.process.poll() is None:
            kill = os.killpg if with_proxies else os.kill
            with contextlib.suppress(ProcessLookupError):
                kill(self.process.pid, signal.SIGKILL)
            self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self._log):
            if stream is not None:
                stream.close()


def _written(descriptor: int, view: memoryview) -> memoryview:
    """Write what fits, and give the rest; nothing is left where nobody reads any more."""
    try:
        return view[os.write(descriptor, view[:_CHUNK_BYTES]) :]
    except BlockingIOError:
        return view
    except BrokenPipeError:
        return view[:0]


def control_arguments(path: Path | None, *, master: str = "auto") -> list[str]:
    """Share one connection through a control socket; without one, do not."""
    if path is None:
        return ["-oControlMaster=no", "-oControlPath=none"]
    return [f"-oControlMaster={master}", f"-oControlPath={path}", "-oControlPersist=60"]
