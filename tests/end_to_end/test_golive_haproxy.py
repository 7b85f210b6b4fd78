"""haproxy under live traffic: no visitor is lost, and nobody reaches a node that is out."""

import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Self

import pytest

from cachekit.caches.base import Conditions
from cachekit.deadline import Deadline
from cachekit.errors import CachekitError, ConfigError, RefusedError, UnexpectedReplyError
from cachekit.golive.base import Standing, Turn
from cachekit.golive.haproxy import Haproxy as Actor
from cachekit.model import Node, parse_address
from tests.servers.balanced import Balanced, Traffic
from tests.servers.haproxy import Haproxy
from tests.servers.nginx import StaticNginx
from tests.servers.origin import Page
from tests.servers.process import wait_until
from tests.shelves import conditions

pytestmark = [pytest.mark.server, pytest.mark.end_to_end]


def actor_for(*haproxies: Haproxy, **settings: Any) -> Actor:
    sockets = tuple(parse_address(f"unix:{each.socket_path}") for each in haproxies)
    return Actor(**{"sockets": sockets, "backend": ("pages",), **settings})


def soon(seconds: float = 60) -> Conditions:
    return conditions(deadline=Deadline(seconds))


@pytest.fixture
def balanced() -> Iterator[Balanced]:
    with Balanced(check_path="/up") as balanced:
        yield balanced


@pytest.fixture
def unchecked() -> Iterator[Balanced]:
    """Two nodes of which no health check asks anything: what is in flight is visitors'."""
    with Balanced() as balanced:
        yield balanced


class SlowVisit:
    """A visitor of one node whose page takes `seconds`; it is there once this is entered."""

    def __init__(self, balanced: Balanced, node: Node, seconds: float) -> None:
        self.status = 0
        self._haproxy, self._origin = balanced.haproxy, balanced.origins[node.name]
        self._others = [each.name for each in balanced.nodes if each != node]
        self._origin.page("/slow", delay=seconds)
        self._thread = threading.Thread(target=self._visit)

    def __enter__(self) -> Self:
        for name in self._others:
            self._haproxy.tell(f"set server pages/{name} state maint")
        self._thread.start()
        assert wait_until(lambda: self._origin.count("/slow") == 1, 30)
        for name in self._others:
            self._haproxy.tell(f"set server pages/{name} state ready")
        return self

    def __exit__(self, *exc: object) -> None:
        self._thread.join()

    def _visit(self) -> None:
        client = http.client.HTTPConnection(self._haproxy.host, self._haproxy.port, timeout=30.0)
        with closing(client):
            client.request("GET", "/slow")
            self.status = client.getresponse().status


class TestTraffic:
    def test_no_visitor_is_lost_and_none_reaches_a_node_that_is_out(
        self, balanced: Balanced
    ) -> None:
        actor = actor_for(balanced.haproxy)
        for origin in balanced.origins.values():
            origin.page("/page", delay=0.02)
        with Traffic(balanced.haproxy) as traffic:
            for node in (*balanced.nodes, *balanced.nodes):
                origin = balanced.origins[node.name]
                assert actor.take_out(node, soon()).standing is Standing.OUT
                visits = origin.count("/page")
                seen = traffic.seen
                assert wait_until(lambda: traffic.seen > seen + 100, 30)  # noqa: B023
                assert origin.count("/page") == visits
                assert actor.put_in(node, soon()).standing is Standing.IN
                assert wait_until(lambda: origin.count("/page") > visits + 20, 30)  # noqa: B023
        assert traffic.failed == {}

    def test_a_node_that_is_not_well_gets_no_visitor_and_stays_out(
        self, balanced: Balanced
    ) -> None:
        actor, (node, _) = actor_for(balanced.haproxy, up_within=1.0), balanced.nodes
        origin = balanced.origins[node.name]
        with Traffic(balanced.haproxy) as traffic:
            actor.take_out(node, soon())
            origin.default = lambda _: Page(status=503)
            turn = actor.put_in(node, soon())
            seen = traffic.seen
            assert wait_until(lambda: traffic.seen > seen + 100, 30)
            assert turn.standing is Standing.OUT
            (warning,) = turn.warnings
            assert "health checks did not pass within 1.0 s" in warning
            assert "503" in warning
            origin.reset()
            assert actor.put_in(node, soon()).standing is Standing.IN
        assert traffic.failed == {}

    def test_a_slow_visitor_is_waited_for(self, unchecked: Balanced) -> None:
        node, _ = unchecked.nodes
        with SlowVisit(unchecked, node, 1.5) as visit:
            turn = actor_for(unchecked.haproxy).take_out(node, soon())
            assert unchecked.origins[node.name].in_flight == 0
        assert visit.status == 200
        assert turn.standing is Standing.OUT
        assert turn.warnings == ()

    def test_one_who_is_too_slow_is_told_of(self, unchecked: Balanced) -> None:
        node, _ = unchecked.nodes
        with SlowVisit(unchecked, node, 5.0) as visit:
            turn = actor_for(unchecked.haproxy, drain=0.3).take_out(node, soon())
            assert unchecked.origins[node.name].in_flight == 1
        assert visit.status == 200
        assert turn.standing is Standing.OUT
        (warning,) = turn.warnings
        assert warning == "after 300 ms, 1 sessions of visitors had not ended"

    def test_the_deadline_leaves_time_to_take_the_node_out(self, unchecked: Balanced) -> None:
        node, _ = unchecked.nodes
        with SlowVisit(unchecked, node, 6.0):
            turn = actor_for(unchecked.haproxy, drain=600.0).take_out(node, soon(4))
            assert unchecked.haproxy.state(node.name) == "MAINT"
        assert turn.standing is Standing.OUT
        assert turn.warnings

    def test_the_weight_stays_what_it_was(self, balanced: Balanced) -> None:
        actor, (node, _) = actor_for(balanced.haproxy), balanced.nodes
        balanced.haproxy.tell("set server pages/web1 weight 42")
        actor.take_out(node, soon())
        actor.put_in(node, soon())
        assert balanced.haproxy.rows()["web1"]["weight"] == "42"


class TestWhatIsNotKnown:
    @pytest.mark.parametrize("state", ["state drain", "weight 0"])
    def test_one_that_gets_no_new_visitors(self, unchecked: Balanced, state: str) -> None:
        unchecked.haproxy.tell(f"set server pages/web1 {state}")
        turn = actor_for(unchecked.haproxy).standing(unchecked.nodes[0], soon())
        assert turn.standing is Standing.UNKNOWN
        assert "those that are bound to it still reach it" in turn.warnings[0]

    def test_one_that_is_down(self, balanced: Balanced) -> None:
        balanced.origins["web1"].default = lambda _: Page(status=503)
        assert wait_until(lambda: balanced.haproxy.state("web1") == "DOWN", 30)
        turn = actor_for(balanced.haproxy).standing(balanced.nodes[0], soon())
        assert turn.standing is Standing.UNKNOWN
        assert "HAProxy lets it in once its checks pass" in turn.warnings[0]

    def test_load_balancers_that_disagree(self) -> None:
        with Balanced(2) as balanced:
            actor, (node, _) = actor_for(*balanced.haproxies), balanced.nodes
            balanced.haproxies[1].tell("set server pages/web1 state maint")
            turn = actor.standing(node, soon())
            assert turn.standing is Standing.UNKNOWN
            assert turn.warnings == ("the load balancers do not agree on it",)
            assert said_of(turn, balanced.haproxies[0]).startswith("no check")
            assert said_of(turn, balanced.haproxies[1]).startswith("MAINT")
            assert actor.take_out(node, soon()).standing is Standing.OUT
            assert actor.put_in(node, soon()).standing is Standing.IN


def said_of(turn: Turn, haproxy: Haproxy) -> str:
    (line,) = [each for each in turn.evidence if str(haproxy.socket_path) in each]
    return line.partition(" is ")[2]


class TestFaults:
    def refused(self, actor: Actor, node: Node, seconds: float = 30) -> str:
        """Let both acts fail alike, and give what they say."""
        said = []
        for act in (actor.take_out, actor.put_in):
            with pytest.raises(CachekitError) as caught:
                act(node, soon(seconds))
            said.append(str(caught.value))
        assert said[0] == said[1]
        return said[0]

    def test_a_server_of_another_name(self, balanced: Balanced) -> None:
        said = self.refused(actor_for(balanced.haproxy, server="web-{node}"), balanced.nodes[0])
        assert "the backend pages has no server web-web1; did you mean 'web1'?" in said
        assert str(balanced.haproxy.socket_path) in said

    def test_a_backend_of_another_name(self, balanced: Balanced) -> None:
        said = self.refused(actor_for(balanced.haproxy, backend=("page",)), balanced.nodes[0])
        assert "has no servers in a backend page; did you mean 'pages'?" in said

    @pytest.mark.parametrize("level", ["user", "operator"])
    def test_a_socket_that_only_shows(self, level: str) -> None:
        with Balanced(level=level) as balanced:
            actor, (node, _) = actor_for(balanced.haproxy), balanced.nodes
            said = self.refused(actor, node)
            assert f"is of level {level}; say `level admin` on its line `stats socket`" in said
            assert actor.standing(node, soon()).standing is Standing.IN

    def test_nothing_is_changed_where_one_of_them_cannot_be_asked(self) -> None:
        with Balanced(2) as balanced:
            actor, (node, _) = actor_for(*balanced.haproxies), balanced.nodes
            balanced.haproxies[1].kill()
            assert str(balanced.haproxies[1].socket_path) in self.refused(actor, node)
            assert balanced.haproxy.state("web1") == "no check"

    def test_a_haproxy_that_hangs(self, balanced: Balanced) -> None:
        balanced.haproxy.pause()
        try:
            said = self.refused(actor_for(balanced.haproxy), balanced.nodes[0], seconds=1)
        finally:
            balanced.haproxy.resume()
        assert f"{balanced.haproxy.socket_path}: the runtime socket does not answer in time" in said

    def test_no_socket_there(self, balanced: Balanced) -> None:
        sockets = (parse_address("unix:/nonexistent/haproxy.sock"),)
        said = self.refused(actor_for(sockets=sockets), balanced.nodes[0])
        assert (
            said
            == "unix:/nonexistent/haproxy.sock: No such file or directory; is it running there?"
        )

    def test_something_else_listens_there(self, balanced: Balanced) -> None:
        with StaticNginx() as nginx:
            actor = actor_for(sockets=(parse_address(nginx.address),))
            with pytest.raises(UnexpectedReplyError, match="no HAProxy answers there"):
                actor.standing(balanced.nodes[0], soon())

    def test_a_reply_that_was_cut_off(self, balanced: Balanced, tmp_path: Path) -> None:
        path = tmp_path / "cut"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            whole = balanced.haproxy.tell("show stat -1 4 -1").encode()
            thread = threading.Thread(target=_answer_once, args=(listener, whole[:-40]))
            thread.start()
            actor = actor_for(sockets=(parse_address(f"unix:{path}"),))
            with pytest.raises(UnexpectedReplyError, match="the reply was cut off"):
                actor.standing(balanced.nodes[0], soon())
            thread.join()

    def test_nothing_can_be_said_between_the_lines(self, balanced: Balanced) -> None:
        name = "web1 state ready; set server pages/web2"
        node = Node(name=name, address=parse_address("127.0.0.1"))
        actor = actor_for(balanced.haproxy)
        assert "letters, digits and . : _ - only" in actor.refusal([node])
        with pytest.raises(RefusedError):
            actor.take_out(node, soon())
        assert balanced.haproxy.state("web2").startswith("UP")

    def test_a_machine_that_does_not_exist(self) -> None:
        actor = Actor(sockets=(parse_address("unix:/run/h"),), backend=("pages",), via=("lb1",))
        with pytest.raises(ConfigError, match="via: no node is called lb1"):
            actor.bound({})


def _answer_once(listener: socket.socket, said: bytes) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(said)
