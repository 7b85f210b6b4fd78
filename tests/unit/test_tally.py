"""Counting what was done."""

import math
import random

import pytest

from cachekit.events import FILL, VERIFY
from cachekit.model import Verdict
from cachekit.warming import latencies as latencies_module
from cachekit.warming import tally
from cachekit.warming.latencies import Latencies
from cachekit.warming.tally import Tally
from tests.pieces import done_of

HIT, MISS, ERROR = Verdict.HIT, Verdict.MISS, Verdict.ERROR


def nearest_rank(values: list[float], percent: float) -> float:
    return sorted(values)[max(0, math.ceil(percent / 100 * len(values)) - 1)]


@pytest.mark.parametrize("count", [1, 10, 1000, 50_000])
def test_percentiles_are_close_to_the_exact_ones(count: int) -> None:
    scattered = random.Random(count)
    values = [scattered.lognormvariate(-3, 1.5) for _ in range(count)]
    latencies = Latencies()
    for seconds in values:
        latencies.add([seconds])
    found = latencies.result()
    assert found.count == count
    percentiles: dict[int, float | None] = {
        50: found.p50,
        95: found.p95,
        99: found.p99,
        100: found.longest,
    }
    for percent, value in percentiles.items():
        assert value == pytest.approx(nearest_rank(values, percent), rel=0.011, abs=1.1e-4)
    for point, seconds in found.curve[1:]:
        ranks = (nearest_rank(values, point - 50 / count), nearest_rank(values, point))
        near = [pytest.approx(value, rel=0.011, abs=1.1e-4) for value in ranks]
        assert seconds in near


@pytest.mark.parametrize(
    ("count", "steps"),
    [
        (1, [0, 100]),
        (2, [0, 30, 50, 100]),
        (100, [0, 30, 50, 70, 80, 90, 93, 95, 97, 98, 99, 100]),
        (250, [0, 30, 50, 70, 80, 90, 93, 95, 97, 98, 99, 99.3, 99.5, 100]),
    ],
)
def test_a_curve_has_as_many_steps_as_its_answers_tell_apart(
    count: int, steps: list[float]
) -> None:
    latencies = Latencies()
    latencies.add([0.01 * (number + 1) for number in range(count)])
    curve = latencies.result().curve
    assert [percent for percent, _ in curve] == steps
    assert [seconds for _, seconds in curve] == sorted(seconds for _, seconds in curve)
    assert curve[0][1] == pytest.approx(0.01, rel=0.01)
    assert curve[-1][1] == pytest.approx(0.01 * count, rel=0.01)


def test_memory_is_bounded_however_times_scatter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latencies_module, "_FOLD_AT", 10_000)
    latencies, other = Latencies(), Latencies()
    for ticks in range(0, 3_000_000, 50):
        latencies.add([ticks / 20_000])
        other.add([(ticks + 7) / 20_000])
        assert len(latencies.counts()) <= 10_001
    latencies.merge(other)
    assert len(latencies.counts()) <= 10_001
    found = latencies.result()
    assert found.count == 120_000
    assert found.p50 == pytest.approx(75, rel=0.01)


def test_extreme_times_are_counted() -> None:
    latencies = Latencies()
    latencies.add([0.0, 1e6])
    assert latencies.result().count == 2
    assert latencies.result().longest == pytest.approx(3600, rel=0.001)


def test_targets_that_are_alike_are_counted_at_their_nodes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tally, "_COUNT_AT", 4)
    counts = Tally({"web1": "", "web2": ""}, 10, max_listed=10)
    asked = {name: done_of(node=name).asked for name in ("web1", "web2")}
    for round_ in range(3):
        counts.add([done_of(asked=asked[name], seconds=round_ + 1) for name in asked] * 2)
        counts.add([done_of(asked=asked["web2"], verdict=HIT)])
    one, two = counts.node_results()
    assert (one.asked, two.asked, counts.total().asked) == (6, 9, 15)
    assert (dict(one.fill.verdicts), dict(two.fill.verdicts)) == (
        {"miss": 6},
        {"hit": 3, "miss": 6},
    )
    assert (one.fill.hits, two.fill.hits) == (0, 3)
    assert one.fill.latency.count == 6
    assert one.fill.latency.p50 == pytest.approx(2, rel=0.001)


def test_no_times_have_no_percentiles() -> None:
    found = Latencies().result()
    assert (found.count, found.p50, found.longest) == (0, None, None)


def test_counts_of_nodes_add_up_to_the_run() -> None:
    counts = Tally({"web1": "10.0.0.1", "web2": "10.0.0.2"}, 4, max_listed=10)
    for node in ("web1", "web2"):
        for number in range(3):
            counts.add([done_of(node=node, ordinal=number, seconds=0.5)])
    counts.add([done_of(node="web1", ordinal=3, ok=False, verdict=ERROR, reasons=("status-500",))])
    for number in range(3):
        verdict = HIT if number else MISS
        reasons = () if number else ("set-cookie", "gone")
        done = done_of(
            pass_name=VERIFY,
            node="web1",
            ordinal=number,
            verdict=verdict,
            reasons=reasons,
            seconds=0.001,
        )
        counts.add([done])
    counts.add([done_of(pass_name=VERIFY, node="web2", ok=False, verdict=ERROR, reasons=("tls",))])
    counts.add(
        [done_of(pass_name=VERIFY, node="web2", ordinal=1, verdict=HIT, counts_for_hit=False)]
    )
    counts.retried(done_of(node="web1").asked, 2)
    one, two = counts.node_results()
    total = counts.total()
    assert (one.name, one.address, one.targets, one.asked, one.ok) == ("web1", "10.0.0.1", 4, 4, 3)
    assert (two.asked, two.ok, two.targets) == (3, 2, 4)
    assert (total.targets, total.asked, total.ok) == (8, 7, 5)
    assert one.fill.retries == total.fill.retries == 2
    assert dict(total.fill.verdicts) == {"error": 1, "miss": 6}
    assert (one.verify.hits, one.verify.counted) == (2, 3)
    assert (total.verify.hits, total.verify.counted, total.verify.asked) == (2, 4, 5)
    assert total.fill.latency.count == 6
    assert total.fill.latency.p50 == pytest.approx(0.5, rel=0.002)
    assert total.verify.latency.p50 == pytest.approx(0.001, rel=0.05)
    assert [(r.code, r.failure, r.count) for r in counts.reasons()] == [
        ("status-500", True, 1),
        ("tls", True, 1),
        ("set-cookie", False, 1),
        ("gone", False, 1),
    ]


def test_failures_are_listed_up_to_a_number_and_the_rest_counted() -> None:
    counts = Tally({"web1": ""}, 9, max_listed=2)
    for number in range(5):
        url = b"http://u:secret@shop.example/%d\x1b" % number
        counts.add([done_of(ok=False, url=url, reasons=("status-500",), detail="x\x07")])
    assert [failure.url for failure in counts.failures] == [
        f"http://***@shop.example/{number}\\x1b" for number in range(2)
    ]
    assert counts.failures[0].detail == "x\\x07"
    assert counts.failures_cut == 3
    (reason,) = counts.reasons()
    assert (reason.count, len(reason.examples)) == (5, 3)
    assert "secret" not in str(counts.reasons()) + str(counts.slowest()) + str(counts.failures)


def test_reasons_of_failures_come_first_then_the_most_frequent() -> None:
    counts = Tally({"web1": ""}, 9, max_listed=9)
    for code, failure, times in (("gone", False, 5), ("tls", True, 1), ("connect", True, 3)):
        for _ in range(times):
            counts.add([done_of(ok=not failure, reasons=(code,))])
    assert [reason.code for reason in counts.reasons()] == ["connect", "tls", "gone"]


def test_the_slowest_are_the_slowest() -> None:
    counts = Tally({"web1": ""}, 100, max_listed=0)
    times = list(range(100))
    random.Random(2).shuffle(times)
    for number in times:
        counts.add([done_of(seconds=number / 100, ordinal=number)])
    assert [slow.seconds for slow in counts.slowest()] == [0.99, 0.98, 0.97, 0.96, 0.95]


def test_only_what_reports_may_name_is_notable() -> None:
    counts = Tally({"web1": ""}, 100, max_listed=9)
    for _ in range(5):
        assert counts.is_notable(done_of(seconds=1.0)), "one of the slowest so far"
        counts.add([done_of(seconds=1.0)])
    assert not counts.is_notable(done_of())
    assert counts.is_notable(done_of(required=True))
    assert counts.is_notable(done_of(reasons=("gone",)))
    assert counts.is_notable(done_of(seconds=2.0))


def test_required_targets() -> None:
    counts = Tally({"web1": ""}, 9, max_listed=9)
    counts.add([done_of(required=True)])
    bad, missed = ("status-503", "marker"), ("set-cookie", "max-age-0")
    counts.add([done_of(required=True, ok=False, reasons=bad, url=b"http://shop.example/bad")])
    counts.add([done_of(required=True, pass_name=VERIFY, verdict=MISS, reasons=missed)])
    counts.add([done_of(required=True, pass_name=VERIFY, verdict=MISS, counts_for_hit=False)])
    counts.add([done_of(required=True, pass_name=VERIFY, verdict=HIT)])
    failed = "http://shop.example/bad on web1 (status-503)"
    no_hit = "http://shop.example/page on web1 (no hit: set-cookie)"
    assert counts.required.problems(2, hits=False) == [failed]
    assert counts.required.problems(5, hits=True) == [failed, no_hit, "3 not asked"]


def test_passes_are_kept_apart() -> None:
    counts = Tally({"web1": ""}, 1, max_listed=9)
    counts.add([done_of(pass_name=FILL)])
    (result,) = counts.node_results()
    assert (result.fill.asked, result.verify.asked) == (1, 0)
    assert result.verify.hit_share is None


def test_only_a_few_required_urls_are_kept_by_name_however_many_fail() -> None:
    counts = Tally({"web1": "10.0.0.1"}, 100, max_listed=10)
    for number in range(100):
        url = f"http://shop.example/{number}".encode()
        failed = done_of(url=url, ok=False, verdict=ERROR, required=True, reasons=("tls",))
        counts.add([failed])
    listed = counts.required.failed.listed()
    assert listed[0] == "http://shop.example/0 on web1 (tls)"
    assert listed[5:] == ["and 95 more"]
