"""The warm step of a plan, and which of its nodes did not pass the gate."""

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from cachekit.deploy.doing import Doing, Done
from cachekit.deploy.work import WarmWork
from cachekit.documents import warm_document
from cachekit.errors import JournalError
from cachekit.events import Listener
from cachekit.renewal import Lifetimes, renewed
from cachekit.results import Check, Outcome, WarmReport
from cachekit.runs import RunOutcome
from cachekit.warming.plan import plan_warm
from cachekit.warming.warmer import run_warm

_PATIENCE_SECONDS = 600.0
"""How long another warm of the same nodes is waited for: a nightly one must not fail a deploy."""


def warm(work: WarmWork, doing: Doing) -> Done:
    """Warm, and renew what is due. Raises CachekitError."""
    lifetimes = None if work.horizon is None else Lifetimes(work.horizon)
    stop = doing.stop.within(work.settings.warm.budget)
    with tempfile.TemporaryDirectory(prefix="cachekit-") as scratch:
        plan = plan_warm(
            work.settings,
            nodes=work.nodes,
            lists=work.lists,
            variants=work.variants,
            spool=Path(scratch) / "urls",
            stop=stop,
        )
        listeners: list[Listener] = [*doing.listeners]
        if lifetimes is not None:
            listeners.append(lifetimes)
        run = partial(
            run_warm,
            plan,
            doing.state_dir,
            stop=stop,
            listeners=listeners,
            patience=min(work.seconds, _PATIENCE_SECONDS),
        )
        # What a look at lifetimes saw before it was killed is not on record.
        was_killed = work.id in doing.begun and lifetimes is None
        try:
            report = run(resume=was_killed)
        except JournalError:
            if not was_killed:
                raise
            report = run()  # it was killed before it asked anything, or its list has changed
        if lifetimes is not None:
            report = renewed(report, plan, lifetimes, doing.state_dir, stop)
    return _warmed(report)


def _warmed(report: WarmReport) -> Done:
    outcomes = {Outcome.GO: RunOutcome.DONE, Outcome.DEGRADED: RunOutcome.DEGRADED}
    bad = [check for check in report.checks if check.outcome is report.outcome is not Outcome.GO]
    run_wide = "; ".join(f"{c.name}: {c.found}, wanted {c.wanted}" for c in bad if not c.node)
    reason = report.ended_early or run_wide + _most_of_all(report, bad)
    lost = {}
    for node, outcome in report.node_outcomes.items():
        if outcome is Outcome.NO_GO:
            own = [f"{c.name}: {c.found}, wanted {c.wanted}" for c in bad if c.node == node]
            alone = len(report.node_outcomes) == 1
            lost[node] = reason if alone else "; ".join(own) or reason
    if report.outcome is Outcome.NO_GO and not lost:
        lost = dict.fromkeys(report.node_outcomes, reason)
    return Done(
        outcome=outcomes.get(report.outcome, RunOutcome.FAILED),
        reason=reason or "; ".join(f"{node}: {why}" for node, why in list(lost.items())[:1]),
        lost=lost,
        warnings=report.warnings,
        document=warm_document(report),
    )


def _most_of_all(report: WarmReport, bad: Sequence[Check]) -> str:
    """Name what kept most pages from passing, with a page: it is what has to be mended."""
    names = {check.name for check in bad}
    for reason in report.reasons:
        if ("min_ok" if reason.failure else "min_hit") in names:
            example = f", such as {reason.examples[0]}" if reason.examples else ""
            return f"; most of all: {reason.title}{example}"
    return ""
