"""Thresholds over what was found: go, degraded or no-go, each with its figures."""

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction

from cachekit.quantities import format_seconds, format_share
from cachekit.results import Check, NodeResult, Outcome, PassResult, Sample
from cachekit.thresholds import Gate, MaxTime, MinShare

_Z95 = 1.959964


def checks(
    gate: Gate, nodes: Sequence[NodeResult], total: NodeResult, required: Sequence[str]
) -> tuple[Check, ...]:
    """Judge the whole run against `go` and `floor`, and each node against `floor`.

    `required` says what is wrong with required URLs; anything makes the run no-go.
    """
    found = list(_checks_of(gate, total, None))
    if gate.required or required:
        found.append(_required_check(required))
    for node in nodes:
        # A node between floor and go is judged by the run's own share; below the floor it decides
        # alone.
        found += [c for c in _checks_of(gate, node, node.name) if c.outcome is Outcome.NO_GO]
        if node.abandoned:
            found.append(
                Check(
                    name="reachable",
                    node=node.name,
                    outcome=Outcome.NO_GO,
                    found=f"abandoned: {node.abandoned}",
                    wanted="a node that answers",
                )
            )
    return tuple(found)


def outcome(found: Sequence[Check]) -> Outcome:
    """Take the worst."""
    return max((check.outcome for check in found), key=lambda o: o.rank, default=Outcome.GO)


def node_outcome(gate: Gate, node: NodeResult, required: Sequence[str]) -> Outcome:
    """Judge one node as if the run had been for it alone."""
    return outcome(checks(gate, (node,), node, required))


def _checks_of(gate: Gate, result: NodeResult, node: str | None) -> Iterator[Check]:
    ok = f"{format_share(result.ok_share)} ({result.ok:,} of {result.targets:,} targets)"
    yield _share_check("min_ok", node, result.ok_share, ok, gate.min_ok)
    if gate.min_hit is not None:
        share, verify = result.verify.hit_share, result.verify
        if share is None:
            share, hit = Fraction(0), "unknown: nothing that counts was verified"
        else:
            hit = f"{format_share(share)} ({verify.hits:,} of {verify.counted:,} verified)"
        yield _share_check("min_hit", node, share, hit, gate.min_hit)
    latency = visitors_pass(result).latency
    for name, limit, value in (
        ("max_p50", gate.max_p50, latency.p50),
        ("max_p95", gate.max_p95, latency.p95),
        ("max_p99", gate.max_p99, latency.p99),
    ):
        if limit is not None:
            yield _time_check(name, node, value, limit)


def visitors_pass(result: NodeResult) -> PassResult:
    """Give the pass that shows what visitors will meet: the verify pass where there is one."""
    return result.verify if result.verify.asked else result.fill


def _share_check(
    name: str, node: str | None, share: Fraction, found: str, limit: MinShare
) -> Check:
    if share >= limit.go:
        concluded = Outcome.GO
    else:
        concluded = Outcome.DEGRADED if share >= limit.floor else Outcome.NO_GO
    wanted = f"at least {format_share(limit.go)}"
    if limit.floor != limit.go:
        wanted += f", floor {format_share(limit.floor)}"
    return Check(name=name, node=node, outcome=concluded, found=found, wanted=wanted)


def _time_check(name: str, node: str | None, value: float | None, limit: MaxTime) -> Check:
    if value is None:
        concluded, found = Outcome.NO_GO, "unknown: no good answer"
    elif value <= limit.go:
        concluded, found = Outcome.GO, format_seconds(value)
    else:
        concluded = Outcome.DEGRADED if value <= limit.floor else Outcome.NO_GO
        found = format_seconds(value)
    wanted = f"at most {format_seconds(limit.go)}"
    if limit.floor != limit.go:
        wanted += f", floor {format_seconds(limit.floor)}"
    return Check(name=name, node=node, outcome=concluded, found=found, wanted=wanted)


def _required_check(wrong: Sequence[str]) -> Check:
    return Check(
        name="required",
        node=None,
        outcome=Outcome.NO_GO if wrong else Outcome.GO,
        found="; ".join(wrong) or "all ok",
        wanted="every required URL ok on every node, and a hit where min_hit is set",
    )


def doubts(gate: Gate, verify: PassResult, sample: Sample | None) -> Iterator[str]:
    """Say where a threshold was met by the sample, and yet may not be by all."""
    share = verify.hit_share
    if gate.min_hit is None or sample is None or share is None:
        return
    met = gate.min_hit.go if share >= gate.min_hit.go else gate.min_hit.floor
    if sample.low < met <= share:
        yield (
            f"the sample meets min_hit of {format_share(met)}, but proves only"
            f" {format_share(sample.low)}: verify more, or all"
        )


def sample_of(share: Fraction, verify: PassResult) -> Sample | None:
    """Give the 95 % Wilson interval of a sampled hit rate (Wilson 1927); None unless sampled."""
    if not 0 < share < 1 or not verify.counted:
        return None
    n, p, z = verify.counted, verify.hits / verify.counted, _Z95
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    margin = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return Sample(share=share, low=max(0.0, centre - margin), high=min(1.0, centre + margin))
