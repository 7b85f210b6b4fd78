"""The report for people: the verdict first, then what it rests on, then what to do."""

from collections.abc import Iterator, Mapping, Sequence

from cachekit.quantities import format_count, format_seconds, format_share
from cachekit.reports.next_steps import after_warm
from cachekit.reports.table import table
from cachekit.results import (
    Check,
    Latency,
    NodeResult,
    PassResult,
    PlanFacts,
    Probe,
    ReasonCount,
    Renewal,
    TargetResult,
    WarmReport,
)

_LISTED_FAILURES = 10
_HEADINGS = (
    "node",
    "targets",
    "ok",
    "hit before",
    "hit after",
    "cold p50 / p95",
    "warm p50 / p95",
    "retries",
)


def render(report: WarmReport) -> str:
    """Write the whole report."""
    return "\n".join(_lines(report)) + "\n"


def plan(facts: PlanFacts) -> str:
    """Write what a run would ask."""
    return "\n".join(_plan_lines(facts)) + "\n"


def probes(found: Sequence[Probe]) -> str:
    """Write what each node answered."""
    rows = [
        (probe.node, probe.address, "ok" if probe.ok else "FAILED", probe.found) for probe in found
    ]
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(3)]
    lines = ("  ".join((*map(str.ljust, row, widths), row[3])) for row in rows)
    return "".join(f"{line}\n" for line in lines)


def product(facts: PlanFacts | WarmReport) -> str:
    """Show what is multiplied: `200 URLs x 2 variants x 3 nodes = 1,200 targets`."""
    factors = [format_count(facts.urls, "URL"), format_count(len(facts.nodes), "node")]
    if facts.variants:
        factors.insert(1, format_count(len(facts.variants), "variant"))
    return " x ".join(factors) + f" = {format_count(facts.targets, 'target')}"


def nodes_table(report: WarmReport) -> Iterator[str]:
    """Show how each node fared, and all together."""
    yield from table(*node_table(report))


def gate_lines(checks: Sequence[Check]) -> Iterator[str]:
    """Show each threshold: what was concluded, found and wanted."""
    for check in checks:
        on = f" on {check.node}" if check.node else ""
        yield f"{check.outcome.upper():<8} {check.name}{on}: {check.found}; wanted {check.wanted}"


def node_table(report: WarmReport) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """Give headings and rows: what each node answered, then all of them."""
    return _HEADINGS, [_node_row(node, report) for node in _rows(report)]


def target_line(target: TargetResult) -> str:
    """Write what one target came to."""
    what = f"status {target.status}" if target.status else "no answer"
    detail = f": {target.detail}" if target.detail else ""
    tries = f" after {format_count(target.retries, 'retry', 'retries')}" if target.retries else ""
    where = f"{_where(target)}, {target.pass_name} pass"
    return f"{target.url} on {where}: {', '.join(target.reasons)} ({what}{tries}){detail}"


def _plan_lines(facts: PlanFacts) -> Iterator[str]:
    yield f"PLAN  {facts.site}"
    yield product(facts) + (", then verified" if facts.verify else ", not verified")
    yield from (f"WARNING: {warning}" for warning in facts.warnings)
    yield from _cuts(facts.cuts)
    yield from (f"node {name}: {address}" for name, address in facts.nodes.items())
    yield from (f"from {name}: {source}" for name, source in facts.lists.items())
    yield "first URLs:"
    yield from (f"  {url}" for url in facts.examples)
    yield "nothing was asked"


def _cuts(cuts: Mapping[str, int]) -> Iterator[str]:
    for reason, count in sorted(cuts.items(), key=lambda item: -item[1]):
        yield f"left out: {count:,} x {reason}"


def _lines(report: WarmReport) -> Iterator[str]:
    yield f"{report.outcome.upper()}  {report.site}"
    yield f"{product(report)}, in {format_seconds(report.elapsed)}"
    if report.skipped:
        yield f"resumed: {report.skipped:,} targets were already done"
    if report.ended_early:
        left = format_count(report.targets - report.total.asked, "target")
        yield f"ENDED EARLY: {report.ended_early}; {left} not asked (--resume continues)"
    yield from (f"WARNING: {warning}" for warning in report.warnings)
    yield from _cuts(report.cuts)
    yield ""
    yield from nodes_table(report)
    yield from _sample_line(report)
    yield from _reasons("failed", [reason for reason in report.reasons if reason.failure])
    yield from _reasons("not a hit", [reason for reason in report.reasons if not reason.failure])
    yield from _failures(report)
    yield from _slowest(report.slowest)
    if renewed := list(renewal_lines(report.renewal)):
        yield from ("", *renewed)
    yield from _gate(report)
    yield ""
    yield f"next: {after_warm(report)}"


def _rows(report: WarmReport) -> Iterator[NodeResult]:
    yield from report.nodes
    if len(report.nodes) > 1:
        yield report.total


def _node_row(node: NodeResult, report: WarmReport) -> tuple[str, ...]:
    return (
        node.name or "all",
        f"{node.targets:,}",
        f"{node.ok:,} ({format_share(node.ok_share)})",
        hit_rate(node.fill) if report.verify else "not looked at",
        hit_rate(node.verify) if report.verify else "not verified",
        times(node.fill.latency),
        times(node.verify.latency),
        f"{node.fill.retries + node.verify.retries:,}",
    )


def hit_rate(result: PassResult) -> str:
    """Write the share of hits of a pass."""
    unknown = result.verdicts.get("unknown", 0)
    if result.asked and unknown == result.asked:
        return "unknown"
    share = result.hit_share
    return "-" if share is None else format_share(share)


def times(latency: Latency) -> str:
    """Write the median and the 95th percentile."""
    if latency.p50 is None or latency.p95 is None:
        return "-"
    return f"{format_seconds(latency.p50)} / {format_seconds(latency.p95)}"


def _sample_line(report: WarmReport) -> Iterator[str]:
    sample, verify = report.sample, report.total.verify
    if sample is not None:
        yield (
            f"verified a sample of {verify.asked:,}: the hit rate of all is"
            f" {format_share(sample.low)} to {format_share(sample.high)} with 95% confidence"
        )


def _reasons(title: str, reasons: Sequence[ReasonCount]) -> Iterator[str]:
    if not reasons:
        return
    yield ""
    yield f"why {title}:"
    width = max(len(f"{reason.count:,}") for reason in reasons)
    for reason in reasons:
        yield f"  {reason.count:>{width},} x {reason.title}" + (
            f" - {reason.advice}" if reason.advice else ""
        )
        yield " " * (width + 5) + ("e.g. " + ", ".join(reason.examples) if reason.examples else "")


def _failures(report: WarmReport) -> Iterator[str]:
    if not report.failures:
        return
    yield ""
    yield "failures:"
    for failure in report.failures[:_LISTED_FAILURES]:
        yield "  " + target_line(failure)
    more = len(report.failures) + report.failures_cut - _LISTED_FAILURES
    if more > 0:
        yield f"  and {more:,} more; --format json lists up to --max-listed of them"


def _slowest(slowest: Sequence[TargetResult]) -> Iterator[str]:
    if slowest:
        yield ""
        yield "slowest:"
    for target in slowest:
        time = format_seconds(target.seconds)
        yield f"  {time:>8}  {target.url} on {_where(target)} ({target.pass_name} pass)"


def _where(target: TargetResult) -> str:
    return f"{target.node} [{target.variant}]" if target.variant else target.node


def renewal_lines(renewal: Renewal | None) -> Iterator[str]:
    """Show what was found to expire, and what became of it."""
    if renewal is None:
        return
    horizon = format_seconds(renewal.horizon)
    yield "lifetimes:"
    yield f"  {renewal.fresh:,} fresh for more than {horizon}, left alone"
    yield f"  {renewal.expiring:,} expiring before; {renewal.renewed:,} cleared and warmed again"
    yield f"  {renewal.missing:,} not cached before"
    yield f"  {renewal.unknown:,} unknown: no Age, date of expiry or Cache-Status tells"
    yield from (f"  not renewed: {problem}" for problem in renewal.problems)


def _gate(report: WarmReport) -> Iterator[str]:
    yield ""
    yield "gate:"
    yield from (f"  {line}" for line in gate_lines(report.checks))
