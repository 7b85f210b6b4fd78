"""http keeps the contract of a go-live actor: the page of a real HAProxy that sets its servers."""

from collections.abc import Iterator

import pytest

from cachekit.golive.http import Http
from cachekit.golive.requests import Answer, Order, Question
from cachekit.testing.golive import GoLiveContract, Rotation
from tests.servers.balanced import Balanced

pytestmark = pytest.mark.server

PAGE = ("stats enable", "stats uri /lb", "stats admin if TRUE", "stats auth admin:s3cret")
HEADERS = {
    "Authorization": "Basic YWRtaW46czNjcmV0",
    "Content-Type": "application/x-www-form-urlencoded",
}


class HttpContract(GoLiveContract):
    asks = True

    @pytest.fixture
    def rotation(self) -> Iterator[Rotation]:
        with Balanced(lines=PAGE) as balanced:
            url = f"http://{balanced.haproxy.address}/lb"
            enable, disable = (
                Order(
                    url=url,
                    headers=HEADERS,
                    body=f"s={{node}}&action={action}&b=pages",
                    expect=Answer(status=(303,)),
                )
                for action in ("ready", "maint")
            )
            ask = Question(
                url=f"{url};csv",
                headers=HEADERS,
                in_when=Answer(matches="(?m)^pages,{node},.*,(UP|no check),"),
                out_when=Answer(matches="(?m)^pages,{node},.*,MAINT,"),
            )
            yield Rotation(
                actor=Http(enable=enable, disable=disable, ask=ask if self.asks else None),
                nodes=balanced.nodes,
                reaches=balanced.reaches,
                stop=balanced.haproxy.kill,
                asks=self.asks,
            )


class TestHttp(HttpContract):
    pass


class TestHttpWithoutAQuestion(HttpContract):
    asks = False
