"""Asking by `replay()` in the plainest way: a list of requests goes in, the responses come out."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from cachekit.model import Node, Site, parse_address
from cachekit.replay import Manner, Request, Response, Route, Terms, replay, route_to

SITE = Site("http://shop.example")
SECURE_SITE = Site("https://shop.example")

# For what must succeed, however busy the machine is; and for what must be waited for in vain.
PATIENT = Terms(max_body=1 << 20)
IMPATIENT = replace(PATIENT, connect_timeout=1.0, first_byte_timeout=1.5, timeout=3.0)


class Queue:
    """Admits all requests in order, as soon as there is room."""

    def __init__(self, requests: Iterable[Request]) -> None:
        self.waiting = deque(requests)
        self.must_cut = False

    def admit(self, room: int) -> list[Request]:
        return [self.waiting.popleft() for _ in range(min(room, len(self.waiting)))]

    def wait(self) -> float | None:
        return 0.0 if self.waiting else None

    def cut(self) -> bool:
        return self.must_cut


def node_at(address: str, *, ports: Mapping[str, int] | None = None, **settings: Any) -> Node:
    """Make a node that listens at an address, written as in the settings."""
    settings = {"name": address, "ports": dict(ports or {})} | settings
    return Node(address=parse_address(address), **settings)


def route_at(address: str, *, site: Site = SITE, **settings: Any) -> Route:
    """Make the route to a node that listens at an address."""
    return route_to(node_at(address, **settings), site)


def manner_at(address: str, headers: Sequence[str] = (), *, site: Site = SITE) -> Manner:
    """Make the manner of asking a node that listens at an address."""
    return Manner(route_at(address, site=site), headers)


def ask_all(
    requests: Iterable[Request], terms: Terms = PATIENT, max_in_flight: int = 64
) -> list[Response]:
    """Run all requests and give the responses in the order in which they came."""
    return list(replay(Queue(requests), terms=terms, max_in_flight=max_in_flight))


def ask(url: bytes, manner: Manner, terms: Terms = PATIENT) -> Response:
    """Run one request."""
    (response,) = ask_all([Request(url, manner)], terms)
    return response
