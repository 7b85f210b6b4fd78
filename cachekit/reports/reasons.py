"""Why a step of a plan ended as it did, each reason once."""

from cachekit.runs import StepReport


def reasons_of(step: StepReport) -> tuple[str, ...]:
    """Give its reason, and why nodes were lost; a roll says so of each node alone."""
    lost = [f"{node}: {why}" for node, why in sorted(step.lost.items()) if why != step.reason]
    if not step.reason or (lost and step.action == "roll"):
        return tuple(lost)
    return (step.reason, *(each for each in lost if each not in step.reason))
