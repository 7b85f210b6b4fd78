"""Requests as settings write them, what their answers must be, and how they are sent."""

import asyncio
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from cachekit.deadline import Deadline, DeadlineError
from cachekit.errors import RefusedError, UnreachableError
from cachekit.golive.words import filled, wanted_in
from cachekit.model import shown, shown_url
from cachekit.quantities import OneOrMore

_MAX_BODY = 1024**2
_QUOTED = ("node", "release")
_BYTES = "surrogateescape"  # a release may come from a command line that is no UTF-8
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.6.2


class Reply(NamedTuple):
    """A status, and the beginning of the body."""

    status: int
    body: str


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a reply must be: one of these statuses, 200-299 if there are none, and a text in it.

    `matches` is a regular expression that is searched in the first 1 MB of the body.
    """

    status: OneOrMore[int] = ()
    matches: str = ""

    def __post_init__(self) -> None:
        try:
            re.compile(self.matches)
        except re.error as error:
            raise ValueError(f"matches: {error}") from error

    def fits(self, reply: Reply, words: Mapping[str, str]) -> bool:
        """Tell whether a reply is one; the words stand for themselves in the expression."""
        wanted = reply.status in self.status if self.status else 200 <= reply.status < 300
        pattern = filled(self.matches, {word: re.escape(text) for word, text in words.items()})
        return wanted and re.search(pattern, reply.body) is not None


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request. Headers and body are never shown, nor is the query of the URL."""

    url: str = field(repr=False)
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if not re.match(r"https?://[^/?#]", self.url):
            raise ValueError("url: expected an http or https URL")
        if not re.fullmatch(r"[A-Z]+", self.method):
            raise ValueError("method: expected one in capitals, such as POST")
        for name, value in self.headers.items():
            if not _TOKEN.fullmatch(name) or not (value.isprintable() and value.isascii()):
                raise ValueError("headers: expected names without spaces, and values in plain text")

    @property
    def words(self) -> frozenset[str]:
        """The words that are filled in."""
        return wanted_in("".join((self.url, self.body, *self.headers.values())))

    def __str__(self) -> str:
        url = re.split(r"[?#]", self.url, maxsplit=1)[0]
        return f"{self.method} {shown_url(url.encode(errors=_BYTES))}"

    def for_node(self, words: Mapping[str, str]) -> "Request":
        """Fill in the words of a node. Raises RefusedError for one that a header cannot hold."""
        quoted = {word: quote(words[word], safe="", errors=_BYTES) for word in _QUOTED}
        try:
            return Request(
                url=filled(self.url, {**words, **quoted}),
                method=self.method,
                headers={name: filled(value, words) for name, value in self.headers.items()},
                body=filled(self.body, words),
            )
        except ValueError as error:
            raise RefusedError(shown(words["node"]), f"{self}: {error}") from error


@dataclass(frozen=True, kw_only=True)
class Order(Request):
    """A request that changes something."""

    expect: Answer = field(default_factory=Answer)


@dataclass(frozen=True, kw_only=True)
class Question(Request):
    """A request that changes nothing, and the answers to it."""

    method: str = "GET"
    in_when: Answer
    out_when: Answer


def send(request: Request, ca_file: Path | None, deadline: Deadline) -> Reply:
    """Send a request and read its reply, all within the deadline. Raises UnreachableError."""
    import httpx  # no command but those that go live wants it

    try:
        return asyncio.run(_sent(request, ca_file, deadline.remaining()))
    except (TimeoutError, httpx.TimeoutException) as error:
        cause = str(error) if isinstance(error, DeadlineError) else "no answer in time"
        raise UnreachableError("", f"{request}: {cause}") from error
    except (httpx.NetworkError, httpx.RemoteProtocolError) as error:
        raise UnreachableError("", f"{request}: {shown(str(error))}") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        # What these say may quote a header or the query.
        raise UnreachableError("", f"{request} failed: {type(error).__name__}") from None
    except OSError as error:
        cause = f"ca_file: {ca_file}: {error.strerror or error}"
        raise UnreachableError("", f"{request}: {cause}") from error


async def _sent(request: Request, ca_file: Path | None, seconds: float) -> Reply:
    import certifi
    import httpx

    content = request.body.encode(errors=_BYTES)
    trusted = ssl.create_default_context(cafile=str(ca_file or certifi.where()))
    # httpx has timeouts for each read alone: a server that sends byte by byte would never end.
    async with (
        asyncio.timeout(seconds),
        httpx.AsyncClient(verify=trusted, trust_env=False, timeout=seconds) as client,
        client.stream(
            request.method, request.url, headers=dict(request.headers), content=content
        ) as response,
    ):
        body = b""
        async for block in response.aiter_bytes():
            body += block
            if len(body) >= _MAX_BODY:
                break
        return Reply(response.status_code, body[:_MAX_BODY].decode("utf-8", "replace"))
