"""A socket that leads through an `ssh` process."""

import socket
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from cachekit.errors import UnreachableError
from cachekit.transports.ssh.client import Client

Explain = Callable[[], UnreachableError | None]
"""Says why the way is broken; None if it is not, so that the other side has closed it."""


class DialledSocket(socket.socket):
    """A connection from the node's point of view; its process is ended when it is closed.

    Whether anybody listens there shows in the first answer only. Where the way ends before it, or
    breaks, reading and writing raise UnreachableError with ssh's own cause.
    """

    def __init__(self, connection: socket.socket, client: Client, explain: Explain) -> None:
        super().__init__(fileno=connection.detach())
        self.pid = client.pid
        self._client = client
        self._explain = explain
        self._end = weakref.finalize(self, client.end)

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """Receive data; b"" where the other side has closed it."""
        with self._explained():
            data = super().recv(bufsize, flags)
            if not data and bufsize:
                self._check()
        return data

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0, /) -> int:
        """Receive data into a buffer; 0 where the other side has closed it."""
        with self._explained():
            size = super().recv_into(buffer, nbytes, flags)
            if not size:
                self._check()
        return size

    def send(self, data: Any, flags: int = 0, /) -> int:
        """Send some of the data."""
        with self._explained():
            return super().send(data, flags)

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        """Send all of the data."""
        with self._explained():
            super().sendall(data, flags)

    def close(self) -> None:
        """Close the connection and end its process."""
        super().close()
        self._end.detach()
        self._client.end()

    def detach(self) -> int:
        """Hand the descriptor over, as to TLS; ssh ends when that is closed, or this is."""
        if self._end.detach():
            threading.Thread(target=self._client.reap, daemon=True).start()
        return super().detach()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (TimeoutError, BlockingIOError):
            raise
        except OSError as error:
            self._check(error)
            raise

    def _check(self, error: OSError | None = None) -> None:
        cause = self._explain() if self._end.alive else None
        if cause is not None:
            raise cause from error
