"""The system's `ssh`: how it is called, and one process of it."""

import contextlib
import os
import selectors
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cachekit.deadline import LOOK_SECONDS, Deadline
from cachekit.errors import UnreachableError

CONFIG_VARIABLE = "CACHEKIT_SSH_CONFIG"
_CONNECT_SECONDS = 10.0
_EXIT_SECONDS = 1.0
_CHUNK_BYTES = 256 * 1024

# Nobody is there to answer a question, and no node needs our agent or our screen (-a, -x).
# LogLevel: its messages are the cause of a failure. The rest of the configuration is honoured.
_OPTIONS = (
    "BatchMode=yes",
    "StrictHostKeyChecking=yes",
    "ServerAliveInterval=5",
    "ServerAliveCountMax=3",
    "LogLevel=INFO",
    "RemoteCommand=none",
    "ExitOnForwardFailure=no",
)


def config_arguments() -> list[str]:
    """Choose the configuration: ssh's own, or the file that the environment names."""
    config = os.environ.get(CONFIG_VARIABLE)
    return ["-F", config] if config else []


def arguments(deadline: Deadline) -> list[str]:
    """Give the options of every connection."""
    seconds = max(1, int(deadline.remaining(_CONNECT_SECONDS)))
    options = (*_OPTIONS, f"ConnectTimeout={seconds}")
    return [*config_arguments(), "-T", "-a", "-x", *(f"-o{option}" for option in options)]


def control_arguments(control: Path | None) -> list[str]:
    """Share one connection through a control socket, and open it if need be; or do neither."""
    if control is None:
        return ["-oControlMaster=no", "-oControlPath=none"]
    # With ControlPersist the connection is handed over to a process of its own as soon as it is
    # there, so that ending the first one cuts nobody else off.
    return ["-oControlMaster=auto", f"-oControlPath={control}", "-oControlPersist=60"]


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
            self._process = subprocess.Popen(  # noqa: S603 - no shell; our own options
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

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def converse(self, sent: bytes, mark: bytes, deadline: Deadline) -> bytes:
        """Send all, and read to the mark, or to the end where none comes.

        After something was sent, stdin is closed. Raises DeadlineError.
        """
        received = bytearray()
        with selectors.DefaultSelector() as selector:
            stdin, stdout = self._process.stdin, self._process.stdout
            assert stdin is not None and stdout is not None  # noqa: S101, PT018 - both are pipes
            selector.register(stdout, selectors.EVENT_READ)
            if sent:
                os.set_blocking(stdin.fileno(), False)
                selector.register(stdin, selectors.EVENT_WRITE)
            rest, chunk = memoryview(sent), b"-"
            while chunk and mark not in received[-len(chunk) - len(mark) :]:
                for key, _ in selector.select(deadline.remaining(LOOK_SECONDS)):
                    if key.fileobj is stdout:
                        chunk = os.read(stdout.fileno(), _CHUNK_BYTES)
                        received += chunk
                    elif not (rest := _written(stdin.fileno(), rest)):
                        selector.unregister(stdin)
                        stdin.close()
        return bytes(received)

    def said(self, start: int = 0) -> bytes:
        """Read what is on its stderr so far."""
        # The position in the file is shared with the process, so it is not moved.
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), size, start)

    def status(self, seconds: float = _EXIT_SECONDS) -> int | None:
        """Wait a moment for its exit status."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(seconds)
        return None

    def reap(self) -> None:
        """Wait for its end, however long that takes."""
        self._process.wait()
        self.end()

    def end(self, *, with_proxies: bool = False) -> None:
        """End it at once: a hung connection does not notice a polite signal."""
        if self._process.poll() is None:
            kill = os.killpg if with_proxies else os.kill
            with contextlib.suppress(ProcessLookupError):
                kill(self._process.pid, signal.SIGKILL)
            self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            if stream is not None:
                stream.close()


def _written(descriptor: int, rest: memoryview) -> memoryview:
    """Write what fits, and give what is left: nothing, where nobody reads any more."""
    try:
        return rest[os.write(descriptor, rest[:_CHUNK_BYTES]) :]
    except BlockingIOError:
        return rest
    except BrokenPipeError:
        return rest[:0]
