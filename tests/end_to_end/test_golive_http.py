"""http: checked certificates, whole deadlines, and no secret that is shown."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cachekit.caches.base import Conditions
from cachekit.deadline import Deadline
from cachekit.errors import CachekitError, RefusedError, UnexpectedReplyError, UnreachableError
from cachekit.golive.base import Standing
from cachekit.golive.http import Http
from cachekit.golive.requests import Answer, Order, Question
from cachekit.model import Node, parse_address
from tests.servers.lying import LyingServer
from tests.servers.origin import Origin, Page
from tests.servers.tls import Authority
from tests.shelves import conditions

pytestmark = [pytest.mark.server, pytest.mark.end_to_end]

HERE = Node(name="web/1 &", address=parse_address("127.0.0.1:8080"))


def soon(seconds: float = 60) -> Conditions:
    return conditions(deadline=Deadline(seconds), release="r42")


def http(url: str, **keys: Any) -> Http:
    order = Order(url=url)
    return Http(**{"enable": order, "disable": order, "within": 0.1, **keys})


@pytest.fixture
def secure(authority: Authority) -> Iterator[Origin]:
    with Origin(tls=authority.certificate("localhost")) as origin:
        yield origin


class TestRequests:
    def test_what_is_sent(self, origin: Origin) -> None:
        enable = Order(
            url=f"{origin.url}/lb/{{node}}/{{release}}?at={{address}}",
            method="PATCH",
            headers={"Authorization": "Bearer s3cret", "X-Node": "{node}"},
            body='{"name": "{node}", "host": "{host}", "weights": {"a": {}}}',
        )
        turn = http(origin.url, enable=enable).put_in(HERE, soon())
        (request,) = origin.requests
        assert request.method == "PATCH"
        assert request.target == b"/lb/web%2F1%20%26/r42?at=127.0.0.1:8080"
        assert request.headers["authorization"] == "Bearer s3cret"
        assert request.headers["x-node"] == "web/1 &"
        assert request.body == (b'{"name": "web/1 &", "host": "127.0.0.1", "weights": {"a": {}}}')
        assert turn.standing is Standing.IN
        assert turn.evidence == (f"PATCH {origin.url}/lb/web%2F1%20%26/r42 answered 200",)

    @pytest.mark.parametrize(
        ("expect", "fits"),
        [
            (Answer(), False),
            (Answer(status=(404, 503)), True),
            (Answer(status=(503,), matches="state: (in|up)"), True),
            (Answer(status=(503,), matches="^{node} is out"), False),
            (Answer(status=(503,), matches="^{node} is in"), True),
        ],
    )
    def test_what_the_answer_must_be(self, origin: Origin, expect: Answer, fits: bool) -> None:
        origin.default = lambda _: Page("web/1 & is in, state: in", status=503)
        actor = http(origin.url, enable=Order(url=f"{origin.url}/lb", expect=expect))
        if fits:
            assert actor.put_in(HERE, soon()).standing is Standing.IN
        else:
            expected = f"POST {origin.url}/lb: answered 503, which is not what `expect` says"
            with pytest.raises(UnexpectedReplyError, match=expected):
                actor.put_in(HERE, soon())

    def test_no_redirect_is_followed(self, origin: Origin) -> None:
        origin.page("/lb", status=307, headers={"Location": "/elsewhere"})
        with pytest.raises(UnexpectedReplyError, match="answered 307"):
            http(f"{origin.url}/lb").put_in(HERE, soon())
        assert origin.targets() == [b"/lb"]

    def test_proxies_of_the_environment_are_not_asked(
        self, origin: Origin, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with LyingServer() as proxy:
            monkeypatch.setenv("HTTP_PROXY", proxy.url)
            monkeypatch.setenv("ALL_PROXY", proxy.url)
            assert http(origin.url).put_in(HERE, soon()).standing is Standing.IN
            assert proxy.connections == 0


class TestAsk:
    def standing(self, origin: Origin, body: str) -> tuple[Standing, str]:
        origin.default = lambda _: Page(body)
        ask = Question(url=origin.url, in_when=Answer(matches="in"), out_when=Answer(matches="out"))
        turn = http(origin.url, ask=ask).standing(HERE, soon())
        return turn.standing, " ".join((*turn.evidence, *turn.warnings))

    def test_its_answer(self, origin: Origin) -> None:
        assert self.standing(origin, "in")[0] is Standing.IN
        assert self.standing(origin, "out")[0] is Standing.OUT

    def test_an_answer_that_is_none(self, origin: Origin) -> None:
        assert self.standing(origin, "in and out") == (
            Standing.UNKNOWN,
            f"GET {origin.url} answered 200; both `in_when` and `out_when` fit",
        )
        assert self.standing(origin, "hello") == (
            Standing.UNKNOWN,
            f"GET {origin.url} answered 200; neither `in_when` nor `out_when` fits",
        )

    def test_it_is_repeated_until_it_agrees(self, origin: Origin) -> None:
        origin.answer_with("/ask", lambda _: Page(status=200 if origin.count("/ask") > 2 else 503))
        ask = Question(url=f"{origin.url}/ask", in_when=Answer(), out_when=Answer(status=(503,)))
        turn = http(origin.url, ask=ask, within=30.0).put_in(HERE, soon())
        assert turn.standing is Standing.IN
        assert origin.count("/ask") == 3


class TestCertificates:
    def test_one_of_a_known_authority(self, secure: Origin, authority: Authority) -> None:
        url = f"https://localhost:{secure.port}/lb"
        turn = http(url, ca_file=authority.ca_file).put_in(HERE, soon())
        assert turn.standing is Standing.IN

    def test_one_of_an_authority_that_nobody_knows(self, secure: Origin) -> None:
        with pytest.raises(UnreachableError, match="CERTIFICATE_VERIFY_FAILED"):
            http(f"https://localhost:{secure.port}/lb").put_in(HERE, soon())
        assert secure.requests == []

    def test_one_for_another_name(self, secure: Origin, authority: Authority) -> None:
        actor = http(f"https://127.0.0.1:{secure.port}/lb", ca_file=authority.ca_file)
        with pytest.raises(UnreachableError, match="CERTIFICATE_VERIFY_FAILED"):
            actor.put_in(HERE, soon())

    def test_a_file_of_authorities_that_is_none(self, secure: Origin, tmp_path: Path) -> None:
        actor = http(f"https://localhost:{secure.port}/lb", ca_file=tmp_path / "missing.pem")
        with pytest.raises(UnreachableError, match=r"ca_file: .*missing\.pem: No such file"):
            actor.put_in(HERE, soon())


class TestFaults:
    @pytest.mark.parametrize("how", ["accept_silent", "slow_drip", "slow_header"])
    def test_no_answer_within_the_deadline(self, lying_server: LyingServer, how: str) -> None:
        url = f"{lying_server.url}/{how}"
        with pytest.raises(UnreachableError, match=f"POST {url}: no answer in time"):
            http(url).put_in(HERE, soon(1))

    @pytest.mark.parametrize("how", ["close_without_answer", "garbage", "truncated"])
    def test_an_answer_that_is_no_http(self, lying_server: LyingServer, how: str) -> None:
        url = f"{lying_server.url}/{how}"
        with pytest.raises(UnreachableError, match=f"POST {url}: "):
            http(url).put_in(HERE, soon())

    def test_a_bomb_is_not_swallowed(self, lying_server: LyingServer) -> None:
        turn = http(f"{lying_server.url}/gzip_bomb").put_in(HERE, soon())
        assert turn.standing is Standing.IN

    def test_a_name_that_no_header_can_hold(self, origin: Origin) -> None:
        order = Order(url=origin.url, headers={"X-Node": "{node}"})
        node = Node(name="wéb1", address=HERE.address)
        with pytest.raises(RefusedError, match=f"wéb1: POST {origin.url}: headers: expected"):
            http(origin.url, enable=order).put_in(node, soon())
        assert origin.requests == []

    def test_nobody_listens(self, lying_server: LyingServer) -> None:
        url = f"http://127.0.0.1:{lying_server.refused_port()}"
        with pytest.raises(UnreachableError, match=f"POST {url}: All connection attempts failed"):
            http(url).put_in(HERE, soon())

    def test_no_secret_is_shown(self, lying_server: LyingServer, origin: Origin) -> None:
        said = []
        for base in (
            f"{lying_server.url}/garbage",
            "http://127.0.0.1:1",
            origin.url,
            "http://[::1",
        ):
            url = base.replace("//", "//admin:s3cret@").replace("//admin:s3cret@[", "//[")
            order = Order(
                url=f"{url}?key=s3cret",
                headers={"Authorization": "s3cret"},
                body="s3cret",
                expect=Answer(status=(418,)),
            )
            actor = http(origin.url, enable=order)
            with pytest.raises(CachekitError) as caught:
                actor.put_in(HERE, soon())
            said += [str(caught.value), repr(actor)]
        assert "s3cret" not in " ".join(said)
