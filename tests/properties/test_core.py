"""Pace, schedule, verdicts, counts and the bytes of URLs, for any input."""

import heapq
import itertools
import math
import random
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cachekit.events import FILL, VERIFY
from cachekit.model import Expect, Site, UrlRefusedError, Verdict, parse_address, shown, shown_url
from cachekit.quantities import format_seconds, format_share, parse_bytes, parse_seconds
from cachekit.replay import Fault, Manner, Request
from cachekit.settings import VerdictRule
from cachekit.warming.judge import Judge, decoded_text
from cachekit.warming.lane import Lane, Target
from cachekit.warming.latencies import Latencies
from cachekit.warming.pace import Auto, Rate
from cachekit.warming.retries import Retries
from cachekit.warming.schedule import Schedule
from cachekit.warming.stop import Stop
from cachekit.warming.tally import Tally
from cachekit.warming.verdicts import Classifier, reasons_not_hit
from tests.asking import PATIENT, ask_all, manner_at
from tests.pieces import Clock, done_of, lane_of, response_of, target_of
from tests.servers.origin import Origin

SITE = Site("http://shop.example")
QUICKLY = settings(max_examples=60, deadline=None)
# One server for all examples, and no example leaves anything in it.
WITH_A_SERVER = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


# ---- pace


@QUICKLY
@given(
    rate=st.floats(0.1, 10_000),
    pauses=st.lists(st.floats(0, 3) | st.just(0.0), min_size=1, max_size=200),
)
def test_a_rate_is_never_exceeded_in_any_span(rate: float, pauses: list[float]) -> None:
    pace, now, starts = Rate(rate), 1000.0, []
    for pause in pauses:
        now += pause
        if pace.delay(now) == 0:
            pace.started(now)
            starts.append(now)
    for first, later in itertools.pairwise(starts):
        assert later - first >= (1 / rate) * (1 - 1e-9) - 1e-9
    for pause in (0.0, pace.delay(now)):
        assert pause <= 1 / rate * (1 + 1e-9)


@QUICKLY
@given(
    most=st.integers(1, 400),
    events=st.lists(st.none() | st.floats(0, 100, allow_subnormal=False), max_size=600),
)
def test_auto_stays_within_its_bounds(most: int, events: list[float | None]) -> None:
    auto = Auto(most)
    for event in events:
        if event is None:
            auto.dropped()
        else:
            auto.answered(event)
        assert 1 <= auto.limit <= most


# ---- schedule


class Run:
    """A pass under a clock of its own, with answers as hypothesis likes them."""

    def __init__(self, lanes: list[Lane], *, rate: float | None, seed: int) -> None:
        self.clock, self.random = Clock(), random.Random(seed)
        self.lanes = lanes
        self.stop = Stop(None, self.clock)
        self.schedule = Schedule(lanes, self.stop, rate=rate, clock=self.clock)
        self.retries = Retries(2)
        self.starts: list[tuple[float, Target]] = []
        self.finished: Counter[bytes] = Counter()
        self.flying: list[tuple[float, int, Target]] = []

    def go(self, room: int) -> None:
        """Run to the end, or fail when nothing would ever happen again."""
        for _ in range(20_000):
            for target in self.schedule.admit(room - len(self.flying)):
                self.starts.append((self.clock.now, target))
                lands = self.clock.now + self.random.expovariate(2)
                heapq.heappush(self.flying, (lands, len(self.starts), target))
            assert len(self.flying) <= room
            for lane in self.lanes:
                assert 0 <= lane.in_flight <= max(lane.concurrency.limit, self.most(lane))
            if not self.step(room):
                return
        pytest.fail("the pass does not end")

    def most(self, lane: Lane) -> int:
        """Give how many may still fly after the limit was lowered: those that did before."""
        return sum(target.way.lane is lane for _, _, target in self.flying)

    def step(self, room: int) -> bool:
        wait = self.schedule.wait()
        if wait is None and not self.flying:
            return False
        wakes = self.clock.now + wait if wait is not None and len(self.flying) < room else math.inf
        if self.flying and self.flying[0][0] <= wakes:
            self.clock.now, _, target = heapq.heappop(self.flying)
            self.land(target)
        else:
            assert wakes < math.inf, "nothing flies, nothing starts, and it is not the end"
            self.clock.now = math.nextafter(wakes, math.inf)
        return True

    def land(self, target: Target) -> None:
        self.schedule.landed(target.way.lane)
        status = self.random.choice([200, 200, 200, 404, 429, 500, 503, 0])
        response = response_of(target, status, fault=None if status else Fault.CONNECT)
        if status == 503:
            response.retry_after = self.random.choice([0.0, 1.0, 400.0])
        lane = target.way.lane
        if status == 200:
            lane.concurrency.answered(self.random.random())
        lane.note(error=status in (0, 500))
        if not self.retries.after(response, target, self.clock.now):
            self.finished[target.url] += 1


LIMITS = st.fixed_dictionaries(
    {
        "concurrency": st.integers(1, 8) | st.just("auto"),
        "rate": st.none() | st.floats(0.5, 50),
        "node_rate": st.none() | st.floats(0.5, 50),
        "room": st.integers(1, 20),
    }
)


@QUICKLY
@given(
    counts=st.lists(st.integers(0, 40), min_size=1, max_size=5),
    limits=LIMITS,
    seed=st.integers(0, 2**32),
)
def test_every_target_is_asked_to_its_end_once_and_never_above_a_limit(
    counts: list[int], limits: dict[str, Any], seed: int
) -> None:
    rate, node_rate = limits["rate"], limits["node_rate"]
    lanes = [
        lane_of(
            f"web{number}",
            count,
            concurrency=Auto(50) if limits["concurrency"] == "auto" else limits["concurrency"],
            rate=node_rate,
        )
        for number, count in enumerate(counts)
    ]
    run = Run(lanes, rate=rate, seed=seed)
    run.go(limits["room"])
    assert len(run.finished) == sum(counts)
    assert set(run.finished.values()) <= {1}
    assert not run.schedule.has_left()
    tries = Counter(target.url for _, target in run.starts)
    assert all(count <= 3 for count in tries.values())
    first_starts = list(dict.fromkeys(target.url for _, target in run.starts))
    for lane in lanes:
        own = [url for url in first_starts if f"/{lane.node}/".encode() in url]
        assert own == sorted(own, key=lambda url: int(url.rpartition(b"/")[2]))
    keeps_rate([now for now, _ in run.starts], rate)
    for lane in lanes:
        keeps_rate([now for now, t in run.starts if t.way.lane is lane], node_rate)


def keeps_rate(times: list[float], rate: float | None) -> None:
    if rate is not None:
        for first, later in itertools.pairwise(times):
            assert later - first >= 1 / rate - 1e-6


@QUICKLY
@given(
    counts=st.lists(st.integers(0, 60), min_size=1, max_size=4),
    limit=st.fractions(0, 1),
    room=st.integers(1, 20),
    seed=st.integers(0, 2**32),
)
def test_abandoned_nodes_end_the_pass_and_lose_nothing_of_the_others(
    counts: list[int], limit: Fraction, room: int, seed: int
) -> None:
    lanes = [
        lane_of(f"web{number}", count, max_error_rate=limit) for number, count in enumerate(counts)
    ]
    run = Run(lanes, rate=None, seed=seed)
    run.go(room)
    assert set(run.finished.values()) <= {1}
    for lane, count in zip(lanes, counts, strict=True):
        done = sum(f"/{lane.node}/".encode() in url for url in run.finished)
        assert done == count or (lane.abandoned and done < count)


# ---- verdicts and judgement

HEADS = st.binary(max_size=400) | st.builds(
    lambda names, values: (
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"%b: %b\r\n" % pair for pair in zip(names, values))  # noqa: B905
    ),
    st.lists(
        st.sampled_from(
            b"Cache-Status X-Cache X-Varnish CF-Cache-Status Age Vary Cache-Control Expires Date"
            b" Set-Cookie Pragma Surrogate-Control X-LiteSpeed-Cache X-Own Content-Type"
            b" Content-Encoding".split()
        ),
        max_size=6,
    ),
    st.lists(
        st.binary(max_size=30)
        | st.from_regex(
            rb"(hit|HIT|fwd=[a-z-]+|[0-9]+|max-age=[0-9]*|no-store|[;,\" =\\*]|gzip|br|zstd|"
            rb"charset=[a-z0-9_-]+|Thu, 01 Jan [0-9]{1,6} [0-9]+:00:00 [+-]?[0-9]*)*",
            fullmatch=True,
        ),
        min_size=6,
        max_size=6,
    ),
)


@settings(max_examples=120, deadline=None)
@given(head=HEADS, status=st.integers(0, 999), elapsed=st.floats(0, 1e6))
def test_verdicts_survive_any_bytes(head: bytes, status: int, elapsed: float) -> None:
    rules = [VerdictRule(header="X-Own", matches="[0-9]", verdict=Verdict.HIT, reason="own")]
    signal = Classifier(rules).signal(head)
    reasons = list(reasons_not_hit(head, status, signal, elapsed=elapsed))
    assert isinstance(signal.verdict, Verdict)
    assert all(isinstance(reason, str) and reason for reason in reasons)
    shown(signal.shown)


@settings(max_examples=100, deadline=None)
@given(
    head=HEADS,
    status=st.integers(200, 599),
    body=st.binary(max_size=300),
    verifying=st.booleans(),
    fault=st.none() | st.sampled_from(Fault),
    personal=st.booleans(),
)
def test_whatever_came_is_judged_and_what_is_no_proof_has_a_reason(
    head: bytes, status: int, body: bytes, verifying: bool, fault: Fault | None, personal: bool
) -> None:
    judge = Judge(
        VERIFY if verifying else FILL,
        SITE,
        Classifier(),
        elapsed=lambda: 5.0,
        cold={},
        last_pass=verifying,
    )
    target = target_of(expect=Expect(contains=("x",), matches="[a-z]"), personal=personal)
    target.body = body
    response = response_of(target, status, fault=fault)
    response.head = head
    done = judge.done(target, response)
    assert done.ok or done.reasons
    assert done.ok or done.verdict in (Verdict.ERROR, Verdict.UNKNOWN)
    if verifying and done.verdict is not Verdict.HIT:
        assert done.reasons
    done.result()


@settings(max_examples=100, deadline=None)
@given(head=HEADS, body=st.binary(max_size=300))
def test_decoding_gives_text_or_says_that_it_cannot(head: bytes, body: bytes) -> None:
    try:
        assert isinstance(decoded_text(body, head), str)
    except ValueError:
        return


# ---- counts

DONE = st.fixed_dictionaries(
    {
        "pass_name": st.sampled_from([FILL, VERIFY]),
        "node": st.sampled_from(["web1", "web2", "web3"]),
        "ok": st.booleans(),
        "verdict": st.sampled_from(Verdict),
        "seconds": st.floats(0, 100),
        "retries": st.integers(0, 5),
        "counts_for_hit": st.booleans(),
        "required": st.booleans(),
        "reasons": st.lists(st.sampled_from(["gone", "tls", "set-cookie"]), unique=True).map(tuple),
        "url": st.binary(max_size=10),
    }
)


@settings(max_examples=40, deadline=None)
@given(facts=st.lists(DONE, max_size=60))
def test_counts_add_up(facts: list[dict[str, Any]]) -> None:
    counts = Tally({"web1": "", "web2": "", "web3": ""}, 100, max_listed=10)
    for number, one in enumerate(facts):
        counts.add([done_of(ordinal=number, **one)])
    nodes, total = counts.node_results(), counts.total()
    for which in (FILL, VERIFY):
        parts = [getattr(node, which) for node in nodes]
        whole = getattr(total, which)
        for count in ("asked", "ok", "retries", "hits", "counted"):
            assert getattr(whole, count) == sum(getattr(part, count) for part in parts)
        assert (
            whole.asked
            == sum(whole.verdicts.values())
            == sum(f["pass_name"] == which for f in facts)
        )
        assert whole.latency.count == whole.ok <= whole.asked
        assert whole.hits <= whole.counted <= whole.asked
        assert sum(whole.verdicts.values()) == whole.asked
    failed = sum(not one["ok"] for one in facts)
    assert len(counts.failures) + counts.failures_cut == failed
    assert sum(r.count for r in counts.reasons()) == sum(len(one["reasons"]) for one in facts)
    assert total.targets == 300


@settings(max_examples=30, deadline=None)
@given(times=st.lists(st.floats(0, 3000), min_size=1, max_size=300), cut=st.integers(0, 300))
def test_percentiles_do_not_depend_on_how_times_are_split(times: list[float], cut: int) -> None:
    whole, left, right = Latencies(), Latencies(), Latencies()
    for place, seconds in enumerate(times):
        whole.add([seconds])
        (left if place < cut else right).add([seconds])
    left.merge(right)
    assert left.result() == whole.result()
    found = whole.result()
    assert found.p50 is not None
    assert found.p95 is not None
    assert found.longest is not None
    assert found.p50 <= found.p95 <= found.longest
    assert found.longest == pytest.approx(max(times), rel=0.002, abs=1.1e-4)


# ---- the bytes of URLs

URL_BYTES = st.lists(
    st.integers(0x21, 0x7E).filter(lambda byte: byte != ord("#")).map(lambda byte: bytes([byte]))
    | st.sampled_from(
        b"/./ /../ // %2f %2F %c3%A4 % ? ?? && \\ [] {} | ^ ` \" ' <> ; = ~ : @ * + , !".split()
    )
    | st.characters(min_codepoint=0xA0, exclude_categories=["Cs"]).map(str.encode),
    max_size=25,
).map(lambda parts: b"/" + b"".join(parts))


@pytest.fixture(scope="module")
def server() -> Iterator[Origin]:
    with Origin() as origin:
        yield origin


@pytest.mark.server
@WITH_A_SERVER
@given(paths=st.lists(URL_BYTES, min_size=1, max_size=20))
def test_a_url_reaches_the_node_byte_for_byte(server: Origin, paths: list[bytes]) -> None:
    server.reset()
    site = Site("http://shop.example")
    manner = manner_at(server.address)
    urls = [site.absolute(b"http://shop.example" + path) for path in paths]
    found = ask_all([Request(url, manner) for url in urls], PATIENT, max_in_flight=1)
    assert [response.detail for response in found] == [""] * len(paths)
    assert server.targets() == paths
    assert {request.host for request in server.requests} == {"shop.example"}


@pytest.mark.server
def test_each_byte_of_a_url_reaches_the_node(server: Origin) -> None:
    server.reset()
    bytes_of_urls = [bytes([b]) for b in range(0x21, 0x100) if b not in (0x23, 0x7F)]
    paths = [path for byte in bytes_of_urls for path in (b"/a" + byte + b"b", b"/?a" + byte)]
    manner = Manner(manner_at(server.address).route)
    found = ask_all([Request(b"http://shop.example" + path, manner) for path in paths], PATIENT, 1)
    assert [response.fault for response in found] == [None] * len(paths)
    assert server.targets() == paths


@QUICKLY
@given(url=st.binary(max_size=60) | URL_BYTES.map(lambda path: b"http://shop.example" + path))
def test_a_site_takes_or_refuses_any_bytes_and_changes_none(url: bytes) -> None:
    try:
        absolute = SITE.absolute(url)
    except UrlRefusedError:
        return
    assert absolute.endswith(url.partition(b"#")[0])
    assert SITE.owns(absolute)
    assert not set(absolute) & {*range(0x21), 0x7F}


@QUICKLY
@given(url=st.binary(max_size=60), word=st.from_regex(r"[a-z0-9]{5}", fullmatch=True))
def test_what_is_shown_is_harmless_and_holds_no_password(url: bytes, word: str) -> None:
    assert shown_url(url).isprintable()
    secret = f"secret{word}"
    assert secret not in shown_url(b"https://user:" + secret.encode() + b"@shop.example" + url)


@QUICKLY
@given(text=st.text(max_size=20))
def test_addresses_are_read_or_refused(text: str) -> None:
    try:
        address = parse_address(text)
    except ValueError:
        return
    assert parse_address(str(address)) == address


@QUICKLY
@given(seconds=st.floats(0, 1e7), share=st.fractions(0, 1))
def test_quantities_for_people(seconds: float, share: Fraction) -> None:
    assert format_seconds(seconds).split()[-1] in {"ms", "s", "min"}
    assert (format_share(share) == "100%") == (share == 1)


@QUICKLY
@given(written=st.text(max_size=12) | st.from_regex(r"\A[0-9]{1,15}(\.[0-9]{1,3})?(ms|s|k|GiB)\Z"))
def test_quantities_are_read_or_refused(written: str) -> None:
    for parse in (parse_seconds, parse_bytes):
        try:
            assert parse(written) >= 0
        except ValueError:
            continue
