"""haproxy keeps the contract of a go-live actor: with checks and without, here and by ssh."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, ClassVar

import pytest

from cachekit.golive.base import GoLive
from cachekit.golive.haproxy import Haproxy
from cachekit.model import Node, parse_address
from cachekit.testing.golive import GoLiveContract, Rotation
from tests.servers.balanced import Balanced
from tests.servers.sshd import Sshd

pytestmark = pytest.mark.server


def haproxy_of(balanced: Balanced) -> Haproxy:
    sockets = tuple(parse_address(f"unix:{each.socket_path}") for each in balanced.haproxies)
    return Haproxy(sockets=sockets, backend=("pages",))


class HaproxyContract(GoLiveContract):
    balancers = 1
    options: ClassVar[dict[str, Any]] = {}

    @pytest.fixture
    def balanced(self) -> Iterator[Balanced]:
        with Balanced(self.balancers, **self.options) as balanced:
            yield balanced

    @pytest.fixture
    def actor(self, balanced: Balanced) -> GoLive:
        return haproxy_of(balanced)

    @pytest.fixture
    def rotation(self, balanced: Balanced, actor: GoLive) -> Rotation:
        return Rotation(
            actor=actor,
            nodes=balanced.nodes,
            reaches=balanced.reaches,
            stop=balanced.haproxies[-1].kill,
        )


class TestHaproxy(HaproxyContract):
    pass


class TestHaproxyThatChecks(HaproxyContract):
    options: ClassVar[dict[str, Any]] = {"check_path": "/up"}


class TestTwoHaproxies(HaproxyContract):
    balancers = 2


class TestHaproxyOnAPort(HaproxyContract):
    options: ClassVar[dict[str, Any]] = {"runtime_tcp": True}

    @pytest.fixture
    def actor(self, balanced: Balanced) -> GoLive:
        sockets = (parse_address(balanced.haproxy.runtime_address),)
        return replace(haproxy_of(balanced), sockets=sockets)


class TestHaproxyBySsh(HaproxyContract):
    @pytest.fixture
    def actor(self, balanced: Balanced, ssh_node: Callable[..., Sshd]) -> GoLive:
        machine = Node(name="lb1", address=parse_address("192.0.2.1"), ssh=ssh_node().name)
        return replace(haproxy_of(balanced), via=("lb1",)).bound({"lb1": machine})
