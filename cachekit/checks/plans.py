"""Checks of plans as a whole; their steps have a module of their own."""

import re
from collections.abc import Iterator, Sequence

from cachekit.checks.faults import Fault, KeyPath
from cachekit.checks.steps import Spot, of_stages
from cachekit.checks.values import positive
from cachekit.near_misses import did_you_mean
from cachekit.scheduling.cron import parse_cron
from cachekit.settings import Settings
from cachekit.step_settings import PlanSettings, RollStep, Steps

_NAME = re.compile(r"\w[\w.-]*")


def of_plan(settings: Settings, name: str) -> Iterator[Fault]:
    """Check one plan."""
    path, plan = ("plans", name), settings.plans[name]
    if not _NAME.fullmatch(name):
        yield path, "the name of a plan is letters, digits, '.', '-' and '_'; no '-' at its start"
    if name == "clear":
        yield path, "choose another name: `cachekit plan clear` shows what a clear would do"
    if not plan.steps:
        yield path, "expected a plan with at least one step"
    yield from positive((*path, "deadline"), plan.deadline)
    yield from _of_schedule((*path, "schedule"), plan.schedule)
    yield from _of_rollback(settings, path, plan)
    yield from of_stages(Spot(settings, (*path, "steps")), plan.steps)
    yield from of_stages(Spot(settings, (*path, "finally")), plan.last)


def _of_schedule(path: KeyPath, schedule: str) -> Iterator[Fault]:
    try:
        if schedule:
            parse_cron(schedule)
    except ValueError as error:
        yield path, str(error)


def _of_rollback(settings: Settings, path: KeyPath, plan: PlanSettings) -> Iterator[Fault]:
    wanted = list(_wants_rollback(path, plan))
    if plan.rollback != PlanSettings.rollback:
        wanted.insert(0, (*path, "rollback"))
    back = settings.plans.get(plan.rollback)
    if wanted and back is None:
        hint = did_you_mean(plan.rollback, settings.plans)
        yield wanted[0], f"needs the plan {plan.rollback}, which does not exist{hint}"
    elif wanted and back and list(_wants_rollback((), back)):
        yield wanted[0], f"the plan {plan.rollback} has 'on_failure: rollback' itself; take it out"


def _wants_rollback(path: KeyPath, plan: PlanSettings) -> Iterator[KeyPath]:
    """Find where a failure is to run the rollback."""
    if plan.on_failure == "rollback":
        yield (*path, "on_failure")
    yield from _within_stages((*path, "steps"), plan.steps)
    yield from _within_stages((*path, "finally"), plan.last)


def _within_stages(path: KeyPath, stages: Sequence[Steps]) -> Iterator[KeyPath]:
    for stage, steps in enumerate(stages):
        for index, step in enumerate(steps):
            if step.on_failure == "rollback":
                yield (*path, stage, index, "on_failure")
            if isinstance(step, RollStep):
                yield from _within_stages((*path, stage, index, "steps"), step.steps)
