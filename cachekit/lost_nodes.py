"""Nodes at which a clear was not done: what is stale there must not be warmed."""

from collections.abc import Collection, Mapping
from dataclasses import replace

from cachekit.outcomes import ActionReport, StepOutcome
from cachekit.plan import Plan, Step


def lost(plan: Plan, report: ActionReport, nodes: Collection[str]) -> dict[str, str]:
    """Give those of the nodes at which a step of the plan was not done, each with why."""
    reach = {(step.name, step.place): _reach(step, nodes) for step in plan.steps}
    found: dict[str, str] = {}
    for result in report.steps:
        if result.outcome in (StepOutcome.FAILED, StepOutcome.SKIPPED):
            for node in reach[result.cache, result.place]:
                found.setdefault(node, f"{result.cache} at {result.place} was not cleared")
    return found


def without_lost(plan: Plan, lost: Mapping[str, str], nodes: Collection[str]) -> Plan:
    """Leave out the steps that reach none but lost nodes."""
    stages = (
        tuple(step for step in stage if not lost.keys() >= _reach(step, nodes))
        for stage in plan.stages
    )
    return replace(plan, stages=tuple(filter(None, stages)))


def _reach(step: Step, nodes: Collection[str]) -> set[str]:
    """Give the nodes that a step is for: a store that is none of them is for all."""
    names = {name for place in step.places for name in (place.name, *place.shared_by)}
    return names & set(nodes) or set(nodes)
