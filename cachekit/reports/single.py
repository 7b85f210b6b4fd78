"""A run of the warmer alone, as the run of a plan that has one step."""

from datetime import datetime

from cachekit.documents import warm_document
from cachekit.results import Outcome, WarmReport
from cachekit.runs import RunOutcome, RunReport, StepReport

_OUTCOMES = {
    Outcome.GO: RunOutcome.DONE,
    Outcome.DEGRADED: RunOutcome.DEGRADED,
    Outcome.NO_GO: RunOutcome.FAILED,
}


def as_run(report: WarmReport) -> RunReport:
    """Make a run of no plan, "", with the warm as its only step."""
    started = datetime.fromisoformat(report.started).timestamp()
    step = StepReport(
        id="1",
        title="warm",
        action="warm",
        outcome=_OUTCOMES[report.outcome],
        nodes=tuple(node.name for node in report.nodes),
        started=started,
        elapsed=report.elapsed,
        document=warm_document(report),
        resumed=report.skipped > 0,
    )
    return RunReport(
        run=report.run,
        plan="",
        site=report.site,
        release="",
        previous="",
        facts={},
        started=started,
        elapsed=report.elapsed,
        outcome=step.outcome,
        exit_code=report.exit_code,
        ended_early=report.ended_early,
        warnings=report.warnings,
        steps=(step,),
        nodes=(),
    )
