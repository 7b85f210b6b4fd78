"""Sitemaps by the replay, like any target: through a node, or from the public site.

Before go-live the public name may mean the old site, so a node is what is asked by default.
"""

import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import BinaryIO

from cachekit.errors import SourceError
from cachekit.model import Site, shown, shown_url
from cachekit.replay import Batch, Manner, Request, Response, Route, Terms, replay
from cachekit.sources.base import MAX_FETCHED_BYTES, new_body
from cachekit.warming.retries import backoff, pause_asked_for, worth_retrying
from cachekit.warming.stop import Stop

_MAX_HOPS = 5
_LOOK_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True)
class Fetch:
    """Gets the body of a URL by the first of its ways that gives it.

    `routes` are named as an error names them: `through node web1`. All are tried before one is
    asked again. Each answer has its deadline, and none is asked for once the run is to stop.
    """

    routes: Mapping[str, Route]
    site: Site
    terms: Terms
    headers: Sequence[str]
    retries: int
    stop: Stop

    def __call__(self, url: str) -> BinaryIO:
        """Give the body as a file at position 0. Raises SourceError."""
        asked = url.encode("utf-8", "surrogateescape")
        try:
            return self._by_any_way(asked)
        except OSError as error:
            raise SourceError(
                shown_url(asked),
                f"cannot be kept in {tempfile.gettempdir()}: {error.strerror};"
                " set TMPDIR to a folder with room",
            ) from error

    def _by_any_way(self, url: bytes) -> BinaryIO:
        left = {way: Manner(route, self.headers) for way, route in self.routes.items()}
        failures: dict[str, _NoBodyError] = {}
        for attempt in range(self.retries + 1):
            if attempt:
                self._pause(attempt, [failures[way].response for way in left])
            for way, manner in left.items():
                self._refuse_late(url)
                try:
                    return self._followed(url, manner)
                except _NoBodyError as failure:
                    failures[way] = failure
            left = {w: m for w, m in left.items() if worth_retrying(failures[w].response)}
            if not left:
                break
        self._refuse_late(url)
        why = "; ".join(f"{way}: {failure}" for way, failure in failures.items())
        raise SourceError(shown_url(url), why)

    def _followed(self, url: bytes, manner: Manner) -> BinaryIO:
        terms = replace(self.terms, max_body=MAX_FETCHED_BYTES)
        for _ in range(_MAX_HOPS):
            body = _Body()
            batch = Batch([Request(url, manner, body.take)], self.stop.cut)
            (response,) = replay(batch, terms=terms, max_in_flight=1)
            if response.fault is None and response.status == 200:
                return body.whole()
            body.discard()
            if not response.redirect_url or not self.site.owns(response.redirect_url):
                raise _NoBodyError(_why(response), response)
            url = response.redirect_url
        raise _NoBodyError(f"redirected more than {_MAX_HOPS} times", response)

    def _pause(self, attempt: int, overloaded: Sequence[Response]) -> None:
        # Any way may give it, so the shortest wait that was asked for is enough.
        seconds = max(backoff(attempt - 1), min(map(pause_asked_for, overloaded)))
        until = time.monotonic() + seconds
        while (now := time.monotonic()) < until and not self.stop.reached(now):
            time.sleep(min(_LOOK_SECONDS, until - now))

    def _refuse_late(self, url: bytes) -> None:
        if self.stop.reached(time.monotonic()):
            raise SourceError(shown_url(url), f"not fetched: {self.stop.reason}")


class _NoBodyError(Exception):
    """One way does not give the body."""

    def __init__(self, why: str, response: Response) -> None:
        super().__init__(why)
        self.response = response


class _Body:
    """Takes a body into a file; what fails there is raised later, as libcurl would swallow it."""

    def __init__(self) -> None:
        self.file = new_body()
        self._error: OSError | None = None

    def take(self, chunk: bytes) -> int:
        try:
            return self.file.write(chunk)
        except OSError as error:
            self._error = error
            return 0

    def whole(self) -> BinaryIO:
        """Give the file at position 0."""
        try:
            self.file.seek(0)
        except OSError:
            self.discard()
            raise
        return self.file

    def discard(self) -> None:
        """Raise what went wrong here, if that is why there is no whole body."""
        with suppress(OSError):  # the last of it may find no room either
            self.file.close()
        if self._error is not None:
            raise self._error


def _why(response: Response) -> str:
    if response.fault is not None:
        return f"{response.fault}: {shown(response.detail)}"
    if response.redirect_url:
        return f"redirects to another site, {shown_url(response.redirect_url)}; not followed"
    return f"answered status {response.status}"
