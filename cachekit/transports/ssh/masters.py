"""One connection for each destination, shared by its calls, and closed when cachekit ends."""

import atexit
import hashlib
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cachekit.deadline import Deadline, DeadlineError
from cachekit.transports.ssh.client import config_arguments

_CLOSE_SECONDS = 3.0
# ssh listens on a name with 17 more bytes at first, and renames it.
_LONGEST_NAME = "0" * (16 + 17)

_lock = threading.Lock()
_opening: dict[Path, threading.Semaphore] = {}
_folder: Path | None = None
_failed = False


def control_path(destination: str) -> Path | None:
    """Name the control socket of a destination; None where no sockets can be made."""
    folder = socket_folder()
    if folder is None:
        return None
    key = "\0".join([*config_arguments(), destination])
    return folder / hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()[:16]


def socket_folder() -> Path | None:
    """Give the folder of this process that only its user may enter; None where it cannot be."""
    global _folder, _failed  # noqa: PLW0603 - one for the process, as `atexit` is
    with _lock:
        # Something that tidies up may have removed it.
        if (_folder is None or not _folder.is_dir()) and not _failed:
            _folder = _made()
            _failed = _folder is None
            if _folder is not None:
                atexit.register(close_masters)
        return _folder


@contextmanager
def opening(control: Path, deadline: Deadline) -> Iterator[None]:
    """Let one thread at a time open the connection of a control socket. Raises DeadlineError."""
    with _lock:
        turn = _opening.setdefault(control, threading.Semaphore())
    if not turn.acquire(timeout=deadline.remaining()):
        raise DeadlineError(f"not done within {deadline.seconds:g} s")
    try:
        yield
    finally:
        turn.release()


def close_masters() -> None:
    """Close the shared connections; what runs through them is cut."""
    global _folder
    with _lock:
        folder, _folder = _folder, None
    atexit.unregister(close_masters)
    if folder is None:
        return
    closing = [_told_to_exit(path) for path in folder.iterdir() if path.is_socket()]
    end = time.monotonic() + _CLOSE_SECONDS
    for process in closing:
        try:
            process.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    shutil.rmtree(folder, ignore_errors=True)


def _told_to_exit(path: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - no shell; our own options
        ["ssh", "-F", "/dev/null", "-o", f"ControlPath={path}", "-O", "exit", "--", "master"],  # noqa: S607
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _made() -> Path | None:
    for parent in (None, "/tmp"):  # noqa: S108 - short where TMPDIR is too long for a socket
        folder = None
        with suppress(OSError):
            folder = Path(tempfile.mkdtemp(prefix="ck-ssh-", dir=parent))
            with socket.socket(socket.AF_UNIX) as probe:
                probe.bind(str(folder / _LONGEST_NAME))
            (folder / _LONGEST_NAME).unlink()
            return folder
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
    return None
