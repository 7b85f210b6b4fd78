"""What a step of a plan found, read from its document."""

from dataclasses import dataclass

from cachekit.documents import action_report, warm_report
from cachekit.outcomes import ActionReport
from cachekit.results import WarmReport
from cachekit.runs import StepReport


@dataclass(frozen=True)
class Found:
    """A step with the report that its document holds; `trouble` says why there is none."""

    step: StepReport
    warm: WarmReport | None = None
    actions: ActionReport | None = None
    trouble: str = ""


def found_by(step: StepReport) -> Found:
    """Read what a step found from its document."""
    document = step.document
    try:
        if document is not None and document.get("command") == "warm":
            return Found(step, warm=warm_report(document))
        if document is not None and "steps" in document:
            return Found(step, actions=action_report(document))
    except ValueError as error:
        return Found(step, trouble=f"what it found cannot be read: {error}")
    return Found(step)
