"""Plans and runs of invalidation, each line with the files and rules that caused it."""

from collections.abc import Iterator, Mapping, Sequence

from cachekit.caches.base import Change
from cachekit.chunks import Chunk, ChunksReport
from cachekit.invalidation.assets import Keeping
from cachekit.invalidation.causes import Causes
from cachekit.invalidation.plan import InvalidationPlan
from cachekit.invalidation.run import InvalidationReport
from cachekit.model import shown
from cachekit.outcomes import ActionReport, StepOutcome
from cachekit.quantities import format_count, format_seconds, format_share
from cachekit.reports.table import table
from cachekit.results import Outcome, WarmReport
from cachekit.runs import RunOutcome

_CAUSES = 3
_LINES = 200
"""So many lines of a kind are for people; `--format json` has all."""
_FAILURES = 5
_THEN = {
    "rebuild": "everything is cleared, and the lists are warmed",
    "ignore": "ignored, as `unmatched: ignore` says",
    "fail": "nothing is done, as `unmatched: fail` says; write a rule for it",
}

_BELOW = "look for yourself at what is not proven or below its target above"
_NEXT = {
    RunOutcome.DONE: "nothing; what the changes made stale is cleared, and warm again",
    RunOutcome.SKIPPED: _BELOW,
    RunOutcome.DEGRADED: _BELOW,
    RunOutcome.UNKNOWN: _BELOW,
    RunOutcome.FAILED: "mend what is named above and run the same command again",
}


def render_plan(report: InvalidationReport) -> str:
    """Write for people what would be done, and why."""
    return _text(_plan_lines(report))


def render(report: InvalidationReport) -> str:
    """Write for people what was done."""
    return _text(_run_lines(report))


def _text(lines: Iterator[str]) -> str:
    return "\n".join(map(shown, lines)) + "\n"


def _plan_lines(report: InvalidationReport) -> Iterator[str]:
    plan = report.plan
    is_good = report.outcome is RunOutcome.DONE
    yield f"{'PLAN' if is_good else report.outcome.upper()}  invalidate {plan.site}"
    yield _sum(plan)
    yield from _explained("clear", [(str(each), causes) for each, causes in plan.clears.items()])
    yield from _explained("warm", list(plan.warms.items()))
    yield from _within(plan)
    yield from _merges(plan)
    yield from _unmatched(plan)
    yield from _left_out(plan)
    yield from _assets(report)
    yield from (f"note: {note}" for note in plan.notes)
    yield ""
    yield "nothing was changed"


def _run_lines(report: InvalidationReport) -> Iterator[str]:
    plan = report.plan
    yield f"{report.outcome.upper()}  invalidate {plan.site}"
    yield f"{_sum(plan)}, in {format_seconds(report.elapsed)}"
    if report.ended_early:
        yield f"ENDED EARLY: {report.ended_early}"
    yield from _clears(report.clears)
    if report.warm:
        yield ""
        yield f"warmed at once: {_warmed(report.warm)}{_cuts(report.warm.cuts)}"
        yield from _failures(report.warm)
    if report.chunks:
        yield from _chunks(report.chunks)
    yield from _merges(plan)
    yield from _unmatched(plan)
    yield from _left_out(plan)
    yield from _assets(report)
    yield from (f"note: {note}" for note in plan.notes)
    yield ""
    yield f"next: {_next(report)}"


def _sum(plan: InvalidationPlan) -> str:
    ignored = f", {len(plan.ignored):,} ignored by a rule" if plan.ignored else ""
    return (
        f"{format_count(plan.changes, 'changed file')}{ignored}:"
        f" {format_count(len(plan.clears), 'scope')} to clear,"
        f" {format_count(len(plan.warms), 'URL')} to warm"
    )


def _explained(title: str, lines: Sequence[tuple[str, Causes]]) -> Iterator[str]:
    if lines:
        yield ""
        yield f"{title}:"
    for line, causes in lines[:_LINES]:
        yield f"  {line}"
        yield from (f"      {cause}" for cause in causes[:_CAUSES])
        if len(causes) > _CAUSES:
            yield f"      and {len(causes) - _CAUSES:,} more"
    yield from _more(lines)


def _within(plan: InvalidationPlan) -> Iterator[str]:
    if plan.within is not None:
        scopes = ", ".join(map(str, plan.within))
        yield f"  of {', '.join(plan.lists)}, what is within {scopes}"


def _merges(plan: InvalidationPlan) -> Iterator[str]:
    if plan.merges:
        yield ""
        yield "merged:"
    for merge in plan.merges:
        yield (
            f"  {merge.into.cache}: {merge.count:,} x {merge.kind}, more than merge_above"
            f" {merge.limit:,}, became {merge.into.scope}"
        )


def _unmatched(plan: InvalidationPlan) -> Iterator[str]:
    if plan.unmatched:
        yield ""
        yield f"no rule matches: {_THEN[plan.then]}"
        yield from (f"  {change}" for change in plan.unmatched[:_LINES])
        yield from _more(plan.unmatched)


def _left_out(plan: InvalidationPlan) -> Iterator[str]:
    if plan.left_out:
        yield ""
        yield "left out, neither cleared nor warmed:"
        yield from (f"  {problem}" for problem in plan.left_out[:_LINES])
        yield from _more(plan.left_out)


def _more(lines: Sequence[object]) -> Iterator[str]:
    if len(lines) > _LINES:
        yield f"  and {len(lines) - _LINES:,} more; --format json has all"


def _assets(report: InvalidationReport) -> Iterator[str]:
    told = [each for each in report.assets if each.keeping is not Keeping.SHORT]
    if not told:
        return
    yield ""
    yield "changed assets need changed URLs; browsers may keep the old bytes of:"
    for each in told:
        yield f"  {each.url}"
        unknown = "not known, " if each.keeping is Keeping.UNKNOWN else ""
        yield f"      {unknown}{each.found}; {each.cause}"


def _clears(clears: Sequence[ActionReport]) -> Iterator[str]:
    rows = [
        (
            step.cache,
            clear.what if len(clear.what) <= 60 else f"{clear.what[:59]}…",
            step.place,
            *_counts(step.found),
            format_seconds(step.elapsed),
            step.outcome,
        )
        for clear in clears
        for step in clear.steps
    ]
    if rows:
        yield ""
        yield from table(("cache", "scope", "at", "removed", "left", "time", ""), rows)
    for clear in clears:
        for step in clear.steps:
            if step.reason:
                yield f"  {step.cache} at {step.place}: {step.reason}"


def _counts(found: object) -> tuple[str, str]:
    if not isinstance(found, Change):
        return "-", "-"
    return tuple("?" if n is None else f"{n:,}" for n in (found.removed, found.left))  # type: ignore[return-value]


def _warmed(report: WarmReport) -> str:
    share = report.total.verify.hit_share
    hits = f", {format_share(share)} hits" if share is not None else ""
    return (
        f"{format_count(report.urls, 'URL')}, {report.total.ok:,} of"
        f" {format_count(report.targets, 'target')} ok{hits},"
        f" {format_seconds(report.elapsed)}, {report.outcome}"
    )


def _failures(report: WarmReport) -> Iterator[str]:
    if report.outcome is Outcome.GO:
        return
    yield from dict.fromkeys(
        f"  {check.outcome} {check.name}: {check.found}; wanted {check.wanted}"
        for check in report.checks
        if check.outcome is not Outcome.GO
    )
    for each in report.failures[:_FAILURES]:
        yield f"  {each.node} {each.url}: {', '.join(each.reasons)} {each.detail}".rstrip()


def _chunks(report: ChunksReport) -> Iterator[str]:
    yield ""
    yield f"cleared and warmed in {format_count(len(report.chunks), 'chunk')}:"
    for number, chunk in enumerate(report.chunks, 1):
        yield f"  {number}  {_chunk_line(chunk)}"
        for clear in chunk.clears:
            for step in clear.steps:
                if step.outcome is not StepOutcome.DONE:
                    yield f"     {step.cache} at {step.place}: {step.outcome}, {step.reason}"
        yield from (f"     {node} not warmed: {why}" for node, why in chunk.not_warmed.items())
        if chunk.warm:
            yield from (f"   {line}" for line in _failures(chunk.warm))
    if report.left:
        yield f"  {format_count(report.left, 'URL')} not reached: neither cleared nor cold"


def _chunk_line(chunk: Chunk) -> str:
    cuts = _cuts(chunk.cuts)
    if chunk.warm is None:
        return f"{format_count(len(chunk.urls), 'URL')}: {chunk.problem or 'cleared'}{cuts}"
    return f"{_warmed(chunk.warm)}{cuts}"


def _cuts(cuts: Mapping[str, int]) -> str:
    return "".join(f"; left out: {count:,} x {why}" for why, count in cuts.items())


def _next(report: InvalidationReport) -> str:
    if report.problem:
        return f"{report.problem}; mend it and run the same command again"
    if report.plan.left_out and report.of_work is not RunOutcome.FAILED:
        return "give what was left out in another form, or correct its rule, and run it again"
    if report.plan.is_refused:
        return "write rules for the files that none matches, or `ignore: true` for them"
    if report.outcome is RunOutcome.FAILED and report.of_work is not RunOutcome.FAILED:
        return "give the changed assets new URLs (a hash in the name), and deploy the pages anew"
    if report.outcome is RunOutcome.DONE and not report.plan.changes:
        return "nothing; no file has changed"
    return _NEXT[report.outcome]
