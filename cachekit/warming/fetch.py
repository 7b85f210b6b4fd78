"""Sitemaps through a node by its address, like any target.

Before go-live the public name may mean the old site.
"""

from collections.abc import Callable, Sequence
from typing import BinaryIO

from cachekit.errors import SourceError
from cachekit.model import Node, Site, shown, shown_url
from cachekit.replay import Batch, Manner, Request, Response, Terms, replay, route_to
from cachekit.sources.base import MAX_FETCHED_BYTES, new_body
from cachekit.warming.stop import Stop

_MAX_HOPS = 5


class _NoBodyError(Exception):
    """One node does not give the body; the next is asked."""


def through(
    nodes: Sequence[Node], site: Site, terms: Terms, headers: Sequence[str], stop: Stop
) -> Callable[[str], BinaryIO]:
    """Make a fetch that asks the nodes in turn until one answers; it raises SourceError."""

    def fetch(url: str) -> BinaryIO:
        failures = []
        for node in nodes:
            try:
                return _fetch(url, Manner(route_to(node, site), headers), site, terms, stop)
            except _NoBodyError as error:
                failures.append(f"through node {node.name}: {error}")
        raise SourceError(shown(url), "; ".join(failures) or "no node to fetch it through")

    return fetch


def _fetch(url: str, manner: Manner, site: Site, terms: Terms, stop: Stop) -> BinaryIO:
    asked = url.encode("utf-8", "surrogateescape")
    for _ in range(_MAX_HOPS):
        body = new_body()
        request = Request(asked, manner, _capped(body))
        (response,) = replay(Batch([request], stop.cut), terms=terms, max_in_flight=1)
        if response.fault is None and response.status == 200:
            body.seek(0)
            return body
        body.close()
        if not response.redirect_url or not site.owns(response.redirect_url):
            raise _NoBodyError(_why(response))
        asked = response.redirect_url
    raise _NoBodyError(f"redirected more than {_MAX_HOPS} times")


def _capped(body: BinaryIO) -> Callable[[bytes], int]:
    left = MAX_FETCHED_BYTES

    def keep(chunk: bytes) -> int:
        nonlocal left
        left -= len(chunk)
        return body.write(chunk) if left >= 0 else 0

    return keep


def _why(response: Response) -> str:
    if response.fault is not None:
        return f"{response.fault}: {shown(response.detail)}"
    if response.redirect_url:
        return f"redirects to another site, {shown_url(response.redirect_url)}; not followed"
    return f"answered status {response.status}"
