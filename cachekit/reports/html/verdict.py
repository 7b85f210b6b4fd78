"""The verdict in a word, a sentence and a tone; what to do next; and the facts of a run."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from cachekit.golive.base import Standing
from cachekit.quantities import format_seconds
from cachekit.reports.found import Found
from cachekit.reports.next_steps import after_run, after_warm, most_of_all
from cachekit.reports.text import product
from cachekit.results import ReasonCount, WarmReport
from cachekit.runs import NodeReport, RunOutcome, RunReport

_FACTS = {"tool": "tool", "environment": "environment", "actor": "who"}


class Tone(StrEnum):
    """How good or bad something is: the colour and the shape it is shown with."""

    GOOD = "good"
    FAIR = "fair"
    BAD = "bad"
    UNKNOWN = "unknown"
    QUIET = "quiet"


TONES: Mapping[str, Tone] = {
    "go": Tone.GOOD,
    "done": Tone.GOOD,
    "in": Tone.GOOD,
    "degraded": Tone.FAIR,
    "no-go": Tone.BAD,
    "failed": Tone.BAD,
    "out": Tone.BAD,
    "unknown": Tone.UNKNOWN,
    "skipped": Tone.QUIET,
}
"""By the words of all outcomes and standings."""


@dataclass(frozen=True)
class Verdict:
    """What the page says first."""

    word: str
    tone: Tone
    headline: str
    sentence: str


def verdict(run: RunReport, found: Sequence[Found]) -> Verdict:
    """Judge the run in a word and a sentence."""
    alone = _warm_alone(run, found)
    if alone is not None:
        word, tone = alone.outcome.upper(), TONES[alone.outcome]
        sentence = f"{product(alone)}, in {format_seconds(run.elapsed)}"
        return Verdict(word, tone, f"warm of {run.site}", sentence)
    headline = " ".join(filter(None, (run.plan, run.release)))
    sentence = ", ".join((*_steps(run), *_nodes(run.nodes), f"in {format_seconds(run.elapsed)}"))
    return Verdict(run.outcome.upper(), TONES[run.outcome], f"{headline} on {run.site}", sentence)


def next_steps(
    run: RunReport, found: Sequence[Found], reasons: Sequence[ReasonCount]
) -> tuple[str, ...]:
    """Say what to do next."""
    alone = _warm_alone(run, found)
    if alone is not None:
        return (after_warm(alone).replace("reasons above", "reasons below"),)
    if run.outcome is RunOutcome.DONE or not reasons:
        return after_run(run)
    return (*after_run(run), f"of what was warmed{most_of_all(reasons).replace(';', ',', 1)}")


def facts(run: RunReport) -> Iterator[tuple[str, str]]:
    """List what the run was, and when."""
    yield "site", run.site
    told = {key: value for key, value in run.facts.items() if key not in ("release", "previous")}
    named = {_FACTS.get(key, key): value for key, value in told.items()}
    for name, value in (
        ("plan", run.plan),
        ("release", run.release),
        ("previous", run.previous),
        *named.items(),
    ):
        if value:
            yield name, value
    yield "began", utc(run.started)
    yield "took", format_seconds(run.elapsed)
    if run.ended_early:
        yield "ended early", run.ended_early
    yield "exit code", str(int(run.exit_code))
    if run.run:
        yield "run", run.run


def utc(epoch_seconds: float) -> str:
    """Write a time for people, in UTC."""
    return f"{datetime.fromtimestamp(epoch_seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _warm_alone(run: RunReport, found: Sequence[Found]) -> WarmReport | None:
    return found[0].warm if found and not run.plan else None


def _steps(run: RunReport) -> Iterator[str]:
    done = sum(step.outcome is RunOutcome.DONE for step in run.steps)
    yield f"{done:,} of {len(run.steps):,} steps done"


def _nodes(nodes: Sequence[NodeReport]) -> Iterator[str]:
    if nodes:
        are_in = sum(node.standing is Standing.IN for node in nodes)
        yield f"{are_in:,} of {len(nodes):,} nodes in rotation"
