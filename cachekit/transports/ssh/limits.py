"""How many may log in at once: few through one jump host, whose sshd turns away what is too much.

Only logging in is counted: a command that hangs on one node must not keep others out.
"""

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from cachekit.deadline import Deadline
from cachekit.errors import UnreachableError
from cachekit.model import shown
from cachekit.transports.ssh.client import config_arguments

THROUGH_ONE_JUMP_HOST = 8
IN_ALL = 32
_LOOK_SECONDS = 10.0

_lock = threading.Lock()
_slots: dict[str, threading.Semaphore] = {"": threading.Semaphore(IN_ALL)}
_jump_hosts: dict[tuple[str, ...], str] = {}


@contextmanager
def logging_in(node: str, destination: str, deadline: Deadline) -> Iterator[str]:
    """Wait for a turn to log in; tell the jump host, "" if there is none.

    Raises UnreachableError.
    """
    jump_host = _jump_host(node, destination, deadline)
    with _lock:
        slots = _slots.setdefault(jump_host, threading.Semaphore(THROUGH_ONE_JUMP_HOST))
    if not slots.acquire(timeout=deadline.remaining()):
        through = f" through {shown(jump_host)}" if jump_host else ""
        raise UnreachableError(node, f"its turn to log in{through} did not come in time")
    try:
        yield jump_host
    finally:
        slots.release()


def _jump_host(node: str, destination: str, deadline: Deadline) -> str:
    """Find the first host on the way, or the proxy command; "" if the way is direct."""
    asked = ("-G", *config_arguments(), "--", destination)
    with _lock:
        known = _jump_hosts.get(asked)
    if known is not None:
        return known
    try:
        done = subprocess.run(  # noqa: S603 - no shell; our own options
            ["ssh", *asked],  # noqa: S607 - the administrator's own
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=deadline.remaining(_LOOK_SECONDS),
        )
    except OSError as error:
        raise UnreachableError(
            node, f"ssh cannot be run here: {error.strerror}; install OpenSSH's client"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise UnreachableError(
            node, "`ssh -G` hangs; is there a `Match exec` in ssh's configuration?"
        ) from error
    settings = dict(
        line.partition(" ")[::2] for line in done.stdout.decode(errors="replace").splitlines()
    )
    found = settings.get("proxyjump", settings.get("proxycommand", "none")).split(",")[0]
    with _lock:
        return _jump_hosts.setdefault(asked, "" if found == "none" else found)
