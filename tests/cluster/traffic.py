"""Visitors of the shop, at a steady rate for as long as a test lasts, and what they were given."""

import http.client
import itertools
import random
import re
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from tests.cluster import application

_MADE_OF = re.compile(r"\b(?:template|data|menu|asset):(\w+)")
_STYLE = re.compile(r'href="(/assets/[^"]+)"')
_STYLE_EVERY = 10
_CARTS = 0.02


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one visitor was given. `started` in epoch seconds; `status` 0 is no answer at all.

    `releases` are all that the page is made of, by its header and in its body.
    """

    started: float
    seconds: float
    url: str
    status: int = 0
    node: str = ""
    is_hit: bool = False
    releases: frozenset[str] = frozenset()
    body: str = ""

    @property
    def is_page(self) -> bool:
        """Whether it depends on the release that is live; an asset has its release in its URL."""
        return not self.url.startswith("/assets/")


class Traffic:
    """Visitors that come until the `with` ends, at most `at_once` of them waiting at a time.

    Pages are asked as they are in shops: the n-th most popular one 1/n as often as the first. Every
    tenth visitor follows the link to the style sheet, some look at their cart. The same seed asks
    for the same pages.
    """

    def __init__(
        self,
        address: str,
        pages: Sequence[str],
        *,
        rate: float = 60.0,
        seed: int = 1,
        at_once: int = 8,
    ) -> None:
        self.answers: list[Answer] = []
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self._urls = _asked(pages, seed)
        self._rate = rate
        self._over = threading.Event()
        self._turn = threading.Lock()
        self._threads = [threading.Thread(target=self._visit) for _ in range(at_once)]

    def __enter__(self) -> Self:
        self._numbers = itertools.count()
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        self.answers.sort(key=lambda answer: answer.started)

    def go_on(self, answers: int = 30) -> None:
        """Wait until so many more visitors have been there."""
        wanted = len(self.answers) + answers
        while len(self.answers) < wanted:
            time.sleep(0.02)

    def _visit(self) -> None:
        client = http.client.HTTPConnection(self._host, self._port, timeout=20.0)
        while True:
            with self._turn:
                url, number = next(self._urls), next(self._numbers)
            due = self._began + number / self._rate
            if self._over.wait(max(0.0, due - time.monotonic())):
                break
            answer = _ask(client, url)
            self.answers.append(answer)
            style = _STYLE.search(answer.body)
            if style and number % _STYLE_EVERY == 0:
                self.answers.append(_ask(client, style[1]))
        client.close()


def _asked(pages: Sequence[str], seed: int) -> Iterator[str]:
    chance = random.Random(seed)
    weights = [1 / rank for rank in range(1, len(pages) + 1)]
    shares = list(itertools.accumulate(weights))
    while True:
        (url,) = chance.choices(pages, cum_weights=shares)
        yield url if chance.random() >= _CARTS else application.CART


def _ask(client: http.client.HTTPConnection, url: str) -> Answer:
    started = time.time()
    began = time.perf_counter()
    try:
        client.request("GET", url, headers={"Host": "shop.example"})
        answer = client.getresponse()
        body = answer.read().decode()
    except (OSError, http.client.HTTPException):
        client.close()
        return Answer(started=started, seconds=time.perf_counter() - began, url=url)
    header = answer.getheader("X-Release")
    return Answer(
        started=started,
        seconds=time.perf_counter() - began,
        url=url,
        status=answer.status,
        node=answer.getheader("X-Node", ""),
        is_hit=answer.getheader("X-Cache") == "HIT",
        releases=frozenset(_MADE_OF.findall(body)) | ({header} if header else set()),
        body=body,
    )


def served_by(answers: Iterable[Answer], node: str, since: float = 0.0) -> list[Answer]:
    """Choose what one node gave to those who came since then."""
    return [answer for answer in answers if answer.node == node and answer.started > since]


def firsts(answers: Iterable[Answer]) -> list[Answer]:
    """Choose the first answer for each URL."""
    found: dict[str, Answer] = {}
    for answer in answers:
        found.setdefault(answer.url, answer)
    return list(found.values())


def made_of(answers: Iterable[Answer]) -> set[str]:
    """Tell of which releases pages were made, assets left out."""
    return set().union(*(answer.releases for answer in answers if answer.is_page))


def faults(answers: Iterable[Answer]) -> list[Answer]:
    """Choose what no visitor should be given."""
    return [answer for answer in answers if answer.status != 200]
