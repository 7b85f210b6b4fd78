"""Thresholds over what was found."""

from fractions import Fraction
from typing import Any

import pytest

from cachekit.results import Check, Latency, NodeResult, Outcome, PassResult
from cachekit.thresholds import Gate, MaxTime, MinShare
from cachekit.warming.gate import checks, doubts, outcome, sample_of, visitors_pass

GO, DEGRADED, NO_GO = Outcome.GO, Outcome.DEGRADED, Outcome.NO_GO


def share(go: str, floor: str | None = None) -> MinShare:
    return MinShare(go=Fraction(go) / 100, floor=Fraction(floor or go) / 100)


def node(
    name: str = "web1", *, ok: int = 100, targets: int = 100, hits: int = 0, **facts: Any
) -> NodeResult:
    verify = PassResult(asked=facts.pop("verified", 0), hits=hits, counted=facts.pop("counted", 0))
    usual: dict[str, Any] = {
        "fill": PassResult(asked=targets, ok=ok),
        "verify": verify,
        "asked": targets,
        "address": "127.0.0.2",
    }
    return NodeResult(name=name, targets=targets, ok=ok, **(usual | facts))


def verdict(
    gate: Gate, total: NodeResult, *nodes: NodeResult, wrong: tuple[str, ...] = ()
) -> Outcome:
    return outcome(checks(gate, nodes, total, wrong))


@pytest.mark.parametrize(
    ("ok", "targets", "expected"),
    [
        (100, 100, GO),
        (999, 1000, GO),
        (9989, 10_000, DEGRADED),
        (98, 100, DEGRADED),
        (979, 1000, NO_GO),
        (0, 1, NO_GO),
        (0, 0, NO_GO),
    ],
)
def test_go_floor_and_below(ok: int, targets: int, expected: Outcome) -> None:
    gate = Gate(min_ok=share("99.9", "98"))
    assert verdict(gate, node(ok=ok, targets=targets)) is expected


def test_one_number_is_both() -> None:
    assert verdict(Gate(min_ok=share("99")), node(ok=989, targets=1000)) is NO_GO


def test_by_default_everything_must_be_ok_and_hits_do_not_matter() -> None:
    assert verdict(Gate(), node(ok=99_999, targets=100_000)) is NO_GO
    assert verdict(Gate(), node(hits=0, counted=100, verified=100)) is GO


def test_a_node_below_the_floor_decides_alone_and_one_above_it_does_not() -> None:
    gate = Gate(min_ok=share("99", "90"))
    total = node("", ok=1990, targets=2000)
    fine, poor, bad = (node(name, ok=ok) for name, ok in (("a", 100), ("b", 95), ("c", 89)))
    assert verdict(gate, total, fine, poor) is GO
    found = checks(gate, (fine, poor, bad), total, ())
    assert outcome(found) is NO_GO
    assert [(check.node, check.outcome) for check in found] == [(None, GO), ("c", NO_GO)]
    assert found[1] == Check(
        name="min_ok",
        node="c",
        outcome=NO_GO,
        found="89% (89 of 100 targets)",
        wanted="at least 99%, floor 90%",
    )


def test_an_abandoned_node_is_no_go_however_low_the_gate() -> None:
    gate = Gate(min_ok=share("0"))
    abandoned = node(ok=0, abandoned="20 of the last 20 requests failed")
    found = checks(gate, (abandoned,), node(""), ())
    assert outcome(found) is NO_GO
    assert found[-1].found == "abandoned: 20 of the last 20 requests failed"


@pytest.mark.parametrize(
    ("hits", "counted", "expected"),
    [(98, 100, GO), (97, 100, DEGRADED), (90, 100, DEGRADED), (89, 100, NO_GO), (0, 0, NO_GO)],
)
def test_hits(hits: int, counted: int, expected: Outcome) -> None:
    gate = Gate(min_hit=share("98", "90"))
    result = node(hits=hits, counted=counted, verified=counted)
    assert verdict(gate, result, result) is expected


def test_what_cannot_be_known_counts_against_the_gate() -> None:
    (_, check) = checks(Gate(min_hit=share("1")), (), node(), ())
    assert (check.outcome, check.found) == (NO_GO, "unknown: nothing that counts was verified")
    (_, check) = checks(Gate(max_p95=MaxTime(go=1, floor=1)), (), node(), ())
    assert (check.outcome, check.found) == (NO_GO, "unknown: no good answer")


@pytest.mark.parametrize(
    ("name", "seconds", "expected"),
    [
        ("max_p50", 0.2, GO),
        ("max_p50", 0.21, DEGRADED),
        ("max_p95", 0.5, DEGRADED),
        ("max_p99", 0.51, NO_GO),
    ],
)
def test_percentiles(name: str, seconds: float, expected: Outcome) -> None:
    limits: dict[str, Any] = {name: MaxTime(go=0.2, floor=0.5)}
    times: dict[str, Any] = {"p50": 0.0, "p95": 0.0, "p99": 0.0} | {
        name.removeprefix("max_"): seconds
    }
    gate, latency = Gate(**limits), Latency(count=9, **times)
    total = node(verify=PassResult(asked=9, latency=latency))
    (_, check) = checks(gate, (), total, ())
    assert (check.name, check.outcome) == (name, expected)
    assert check.wanted == "at most 200 ms, floor 500 ms"


def test_percentiles_are_those_that_visitors_will_meet() -> None:
    result = node(verified=5)
    assert visitors_pass(result) is result.verify
    assert visitors_pass(node()).asked == 100


def test_required_urls_decide_alone() -> None:
    found = checks(Gate(required=("/",)), (), node(), ())
    assert [(c.name, c.outcome, c.found) for c in found[1:]] == [("required", GO, "all ok")]
    (_, check) = checks(Gate(), (), node(), ["/1 on web1", "and 2 more"])
    assert (check.outcome, check.found) == (NO_GO, "/1 on web1; and 2 more")


def test_the_worst_check_is_the_outcome() -> None:
    assert outcome(()) is GO
    assert [o.exit_code for o in (GO, DEGRADED, NO_GO)] == [0, 3, 1]
    gate = Gate(min_ok=share("100", "50"), min_hit=share("100", "99"))
    assert verdict(gate, node(ok=60, hits=60, counted=100, verified=100)) is NO_GO


@pytest.mark.parametrize(
    ("hits", "counted", "low", "high"),
    [
        (98, 100, 0.9300, 0.9945),
        (10, 10, 0.7225, 1.0),
        (0, 10, 0.0, 0.2775),
        (1, 2, 0.0945, 0.9055),
    ],
)
def test_a_sample_says_how_sure_it_is(hits: int, counted: int, low: float, high: float) -> None:
    # Values of Wilson's interval as other tools compute it (R: binom.confint, method "wilson").
    sample = sample_of(Fraction(1, 10), PassResult(hits=hits, counted=counted))
    assert sample is not None
    assert sample.low == pytest.approx(low, abs=1e-4)
    assert sample.high == pytest.approx(high, abs=1e-4)


def test_what_was_not_sampled_has_no_interval() -> None:
    counted = PassResult(hits=1, counted=2)
    assert sample_of(Fraction(1), counted) is None
    assert sample_of(Fraction(0), counted) is None
    assert sample_of(Fraction(1, 2), PassResult()) is None


@pytest.mark.parametrize(
    ("min_hit", "hits", "counted", "proves"),
    [
        (("95",), 22, 22, "the sample meets min_hit of 95%, but proves only 85.13%"),
        (("95",), 2200, 2200, None),
        (("99", "90"), 22, 22, "the sample meets min_hit of 99%, but proves only 85.13%"),
        (("99", "90"), 95, 100, "the sample meets min_hit of 90%, but proves only 88.82%"),
        (("99", "80"), 95, 100, None),
        (("95",), 21, 23, None),
        (None, 22, 22, None),
    ],
)
def test_a_sample_too_small_to_prove_the_threshold_it_meets_is_told(
    min_hit: tuple[str, ...] | None, hits: int, counted: int, proves: str | None
) -> None:
    verify = PassResult(hits=hits, counted=counted)
    gate = Gate(min_hit=share(*min_hit) if min_hit else None)
    found = list(doubts(gate, verify, sample_of(Fraction(1, 100), verify)))
    assert found == ([f"{proves}: verify more, or all"] if proves else [])
    assert not list(doubts(gate, verify, None)), "all were verified"
