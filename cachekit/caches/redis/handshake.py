"""Signing in to a redis over a socket that is there already, by redis-py.

Apart from the rest because redis-py takes long to import: only who connects pays for it.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from redis.connection import Connection
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    InvalidResponse,
    RedisError,
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError

from cachekit.caches.redis.replies import refusal
from cachekit.errors import UnexpectedReplyError, UnreachableError

_REFUSALS = (AuthenticationError, AuthorizationError, ResponseError)
_TOO_MANY = "max number of clients"


class SignedIn(Connection):
    """A redis-py connection over a socket that a transport has made; it never dials again."""

    def __init__(self, dialled: socket.socket, db: int, username: str, password: str) -> None:
        signing = {"username": username or None, "password": password or None}
        super().__init__(db=db, protocol=2, **signing)  # type: ignore[no-untyped-call]
        self._dialled = dialled

    def _connect(self) -> socket.socket:
        return self._dialled


def sign_in(dialled: socket.socket, place: str, db: int, username: str, password: str) -> SignedIn:
    """Authenticate and choose the database. Raises CacheError, UnreachableError."""
    connection = SignedIn(dialled, db, username, password)
    with _translated(place):
        connection.connect()  # type: ignore[no-untyped-call]
    return connection


@contextmanager
def _translated(place: str) -> Iterator[None]:
    try:
        yield
    except _REFUSALS as error:
        raise refusal(place, str(error)) from error
    except InvalidResponse as error:
        raise UnexpectedReplyError(place, f"no redis answers there: {error}") from error
    except RedisTimeoutError as error:
        raise UnreachableError(
            place, "no answer in time; is it stopped, or its network down?"
        ) from error
    except RedisError as error:
        if _TOO_MANY in str(error):  # no class of its own
            raise refusal(place, str(error)) from error
        raise UnreachableError(
            place, f"the connection broke: {error}; does it ask for TLS, or for `cert_file:`?"
        ) from error
