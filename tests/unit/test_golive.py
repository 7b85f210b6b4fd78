"""Go-live actors without anybody to ask: words, waiting, what settings may say, refusals."""

import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachekit.config.pieces import decode
from cachekit.deadline import Deadline, DeadlineError
from cachekit.golive.base import GoLive, Placed, Standing, Turn
from cachekit.golive.command import Command
from cachekit.golive.file import File
from cachekit.golive.haproxy import Haproxy
from cachekit.golive.http import Http
from cachekit.golive.patience import holds_within, patience, proven
from cachekit.golive.requests import Answer, Order
from cachekit.golive.words import filled, wanted_in, words_of
from cachekit.model import Node, parse_address
from tests.unit.conftest import Load

DOCUMENT = Path(__file__).parents[2] / "docs" / "golive.md"

WEB1 = Node(name="web1", address=parse_address("10.0.0.11:8080"), ssh="deploy@web1")
WEB2 = Node(name="web2", address=parse_address("[::1]:80"))
FAR = Node(name="far", address=parse_address("192.0.2.1"))
SOCKET = Node(name="sock", address=parse_address("unix:/run/web.sock"))
WORDS = {"node": "web1", "address": "10.0.0.11:8080", "host": "10.0.0.11", "release": "r42"}

HAPROXY = {"sockets": "unix:/run/haproxy.sock", "backend": "web"}
COMMAND = {"enable": "lb on {node}", "disable": "lb off {node}"}
ORDER = {"url": "https://lb.example/{node}"}


class TestWords:
    def test_what_they_stand_for(self) -> None:
        assert words_of(WEB1, "r42") == WORDS
        assert words_of(WEB2)["host"] == "[::1]"
        assert words_of(SOCKET)["host"] == ""

    def test_other_braces_stay(self) -> None:
        text = "{node} {nodes} {} {{release}} {address"
        assert filled(text, WORDS) == "web1 {nodes} {} {r42} {address"
        assert wanted_in(text) == {"node", "release"}

    @given(st.text(), st.text())
    def test_what_is_filled_in_is_not_read_again(self, before: str, value: str) -> None:
        words = {**WORDS, "node": value}
        text = before.replace("{", "") + "{node}"
        assert filled(text, words) == before.replace("{", "") + value


class TestPatience:
    @given(st.floats(0, 1000), st.floats(1, 1000))
    def test_some_of_the_deadline_is_left(self, seconds: float, whole: float) -> None:
        deadline = Deadline(whole, clock=lambda: 0.0)
        assert patience(seconds, deadline) == min(seconds, 0.8 * whole)

    def test_none_of_a_deadline_that_has_passed(self) -> None:
        with pytest.raises(DeadlineError):
            patience(1.0, Deadline(0))

    def test_it_looks_at_once_and_at_the_end(self) -> None:
        looks: list[float] = []

        def look() -> bool:
            looks.append(time.monotonic())
            return False

        assert holds_within(lambda: True, 0.0)
        began = time.monotonic()
        assert not holds_within(look, 0.2)
        assert looks[-1] >= began + 0.2
        assert len(looks) > 2

    def test_without_a_question_the_word_is_the_proof(self) -> None:
        turn = proven("so it was told", None, Standing.OUT, 0.0)
        assert turn == Turn(standing=Standing.OUT, evidence=("so it was told",))

    def test_the_last_answer_counts(self) -> None:
        said = iter([Standing.UNKNOWN, Standing.OUT, Standing.IN])
        turn = proven("told", lambda: Turn(standing=next(said)), Standing.IN, 30.0)
        assert turn == Turn(standing=Standing.IN, evidence=("told",))


class TestSettings:
    @pytest.mark.parametrize(
        ("kind", "written", "message"),
        [
            (Haproxy, {**HAPROXY, "sockets": "lb1"}, "sockets: expected unix:/path, or host:port"),
            (Haproxy, {**HAPROXY, "sockets": []}, "expected at least one of each"),
            (
                Haproxy,
                {**HAPROXY, "backend": "web;shutdown"},
                "backend: expected a name of HAProxy",
            ),
            (Haproxy, {**HAPROXY, "backend": "a b"}, "backend: expected a name of HAProxy"),
            (Haproxy, {**HAPROXY, "drain": "soon"}, "expected a duration"),
            (File, {"path": "run/ready"}, "path: expected the absolute path of a file"),
            (File, {"path": "/run/"}, "path: expected the absolute path of a file"),
            (File, {"path": "/run/a\nb"}, "path: expected the absolute path of a file"),
            (File, {"path": "/run/a", "at_start": "stay"}, "expected remove or keep"),
            (Command, {**COMMAND, "enable": "lb 'on"}, "enable: No closing quotation"),
            (Command, {**COMMAND, "disable": " "}, "disable: expected a command"),
            (Command, {**COMMAND, "enable": []}, "enable: expected a command"),
            (Command, {**COMMAND, "ask": ""}, "ask: expected a command"),
            (Order, {"url": "lb.example"}, "url: expected an http or https URL"),
            (Order, {**ORDER, "method": "put"}, "method: expected one in capitals"),
            (Order, {**ORDER, "headers": {"X Y": "1"}}, "headers: expected names without spaces"),
            (Order, {**ORDER, "headers": {"X": "1\r\nY: 2"}}, "headers: expected names without"),
            (Answer, {"matches": "("}, "matches: missing )"),
        ],
    )
    def test_what_cannot_work(self, kind: Any, written: dict[str, Any], message: str) -> None:
        _, faults = decode(kind, written)
        assert message in " ".join(fault.message for fault in faults)

    def test_a_whole_http_actor(self) -> None:
        written = {
            "enable": {**ORDER, "method": "PUT", "expect": {"status": 204}},
            "disable": ORDER,
            "ask": {**ORDER, "in_when": {"status": [200]}, "out_when": {"status": 404}},
        }
        actor, faults = decode(Http, written)
        assert faults == []
        assert actor.enable.expect == Answer(status=(204,))
        assert actor.ask.method == "GET"
        assert actor.ask.out_when == Answer(status=(404,))

    @pytest.mark.parametrize(
        ("written", "starts_out"),
        [({}, True), ({"at_start": "remove"}, True), ({"at_start": "keep"}, False)],
    )
    def test_a_file_starts_out_unless_it_is_kept(
        self, written: dict[str, str], starts_out: bool
    ) -> None:
        assert decode(File, {"path": "/run/ready", **written})[0].starts_out is starts_out


def actor(kind: Any, **written: Any) -> GoLive:
    value, faults = decode(kind, written)
    assert faults == []
    assert isinstance(value, GoLive)
    return value


class TestDocument:
    def test_its_example_works_as_shown(self, load: Load) -> None:
        (example,) = re.findall(r"```yaml\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL)
        settings = load(example, LB_TOKEN="s3cret")
        assert {name: type(each) for name, each in settings.golive.items()} == {
            "lb": Haproxy,
            "ready": File,
            "pool": Command,
            "cloud": Http,
        }
        web = [settings.nodes[name] for name in ("web1", "web2")]
        assert [each.refusal(web) for each in settings.golive.values()] == [""] * 4
        assert "s3cret" not in repr(settings.golive)


class TestRefusals:
    @pytest.mark.parametrize(
        "able",
        [
            actor(Haproxy, **HAPROXY),
            actor(File, path="/run/ready"),
            actor(Command, **COMMAND),
            actor(Command, **COMMAND, where="node"),
            actor(Http, enable=ORDER, disable=ORDER),
        ],
    )
    def test_none_for_nodes_that_it_can_act_for(self, able: GoLive) -> None:
        assert able.refusal([WEB1, WEB2]) == ""

    @pytest.mark.parametrize(
        ("refused", "nodes", "why"),
        [
            (
                actor(Haproxy, **HAPROXY, server="web"),
                [WEB1, WEB2],
                "server: web stands for several",
            ),
            (actor(Haproxy, **HAPROXY, server="{address}"), [SOCKET], "letters, digits and"),
            (actor(Haproxy, **HAPROXY, server="{nod}"), [WEB1], "'{nod}' for the node web1"),
            (actor(File, path="/run/ready"), [WEB2, FAR], "node far: 192.0.2.1 is another machine"),
            (actor(File, path="/run/ready"), [WEB2, SOCKET], "/run/ready is one file for several"),
            (actor(Command, **COMMAND, where="node"), [FAR], "node far: 192.0.2.1 is another"),
            (
                actor(Http, enable={"url": "http://{host}/on"}, disable=ORDER),
                [WEB1, SOCKET],
                "node sock: unix:/run/web.sock has no host for {host}",
            ),
        ],
    )
    def test_what_it_says(self, refused: GoLive, nodes: list[Node], why: str) -> None:
        assert why in refused.refusal(nodes)

    def test_nodes_of_their_own_files(self) -> None:
        assert actor(File, path="/run/{node}/ready").refusal([WEB2, SOCKET]) == ""

    def test_an_actor_that_names_nodes_is_told_of_them(self) -> None:
        unbound = actor(Haproxy, **HAPROXY, via=["web1", "web2"])
        assert isinstance(unbound, Placed)
        bound = unbound.bound({"web1": WEB1, "web2": WEB2})
        assert isinstance(bound, Haproxy)
        assert isinstance(bound, Placed)
        assert bound.bound({}) == bound
        assert bound.via == ("web1", "web2")
        assert bound.refusal([FAR]) == ""
