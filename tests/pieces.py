"""Lanes, ways, targets and responses for tests of the core, made in one line each."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

from cachekit.events import FILL, Asked, TargetDone
from cachekit.model import PLAIN, Expect, Traits, Verdict
from cachekit.replay import Fault, Manner, Request, Response, Route
from cachekit.warming.lane import NOTHING_SPECIAL, Lane, Target, Way
from cachekit.warming.pace import Concurrency, Fixed

ROUTE = Route()


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def way_of(
    lane: Lane,
    *,
    traits: Traits = PLAIN,
    expect: Expect = NOTHING_SPECIAL,
    headers: Sequence[str] = (),
    personal: bool = False,
) -> Way:
    """Make a way on a lane."""
    asked = Asked(
        FILL,
        lane.node,
        counts_for_hit=traits.cacheable and not personal,
        required=traits.required,
    )
    manner = Manner(ROUTE, headers)
    return Way(lane, manner, asked, traits=traits, expect=expect, personal=personal)


def lane_of(
    name: str = "web1",
    targets: int = 0,
    *,
    concurrency: Concurrency | int = 4,
    rate: float | None = None,
    max_error_rate: Fraction = Fraction(1),
) -> Lane:
    """Make a lane that has so many targets, named after it."""
    pace = Fixed(concurrency) if isinstance(concurrency, int) else concurrency
    lane = Lane(name, pace, rate=rate, max_error_rate=max_error_rate)
    way = way_of(lane)
    urls = [f"http://shop.example/{name}/{number}".encode() for number in range(targets)]
    lane.feed([(Target(url, way, number) for number, url in enumerate(urls))])
    return lane


def target_of(url: bytes = b"http://shop.example/page", **way: Any) -> Target:
    """Make a target on a lane of its own."""
    return Target(url, way_of(lane_of(), **way), 0)


def response_of(
    request: Request,
    status: int = 200,
    headers: Iterable[str] = (),
    *,
    fault: Fault | None = None,
    seconds: float = 0.01,
    redirect_url: bytes = b"",
    retry_after: float = 0.0,
) -> Response:
    """Make a response to a request."""
    response = Response(request, status, head_of(*headers, status=status), seconds)
    response.fault, response.redirect_url, response.retry_after = fault, redirect_url, retry_after
    response.detail = "because" if fault else ""
    return response


def head_of(*headers: str, status: int = 200) -> bytes:
    """Make a header block."""
    lines = [f"HTTP/1.1 {status} X", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1")


ASKED = ("pass_name", "node", "variant", "counts_for_hit", "required")


def done_of(**facts: Any) -> TargetDone:
    """Make a finished target: a miss of the fill pass unless said otherwise."""
    usual: dict[str, Any] = {
        "ordinal": 0,
        "url": b"http://shop.example/page",
        "ok": True,
        "verdict": Verdict.MISS,
        "status": 200,
        "seconds": 0.01,
        "retries": 0,
        "reasons": (),
        "detail": "",
    }
    asked: dict[str, Any] = {"pass_name": FILL, "node": "web1"}
    asked |= {name: facts.pop(name) for name in ASKED if name in facts}
    return TargetDone(**({"asked": Asked(**asked)} | usual | facts))
