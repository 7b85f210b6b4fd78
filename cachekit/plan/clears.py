"""Clears: what a scope selects where, and what else it makes stale."""

from collections.abc import Iterator

from cachekit.caches.base import NOT_APPLICABLE, Conditions, Coupled
from cachekit.errors import Problem
from cachekit.plan.selection import Chosen, Selection, chosen, parts_of
from cachekit.plan.steps import Action, Plan, Step, staged
from cachekit.scope import EVERYTHING, Scope
from cachekit.settings import Settings


def plan_clear(
    settings: Settings, selection: Selection, scope: Scope, conditions: Conditions
) -> Plan:
    """Plan a clear. Raises ConfigError with everything that is refused."""
    problems: list[Problem] = []
    steps: list[Step] = []
    notes: list[str] = []
    for each in chosen(settings, selection, problems):
        steps += _steps(settings, each, scope, conditions, problems)
    add_implied(settings, steps, conditions, problems, notes)
    return staged(Action.CLEAR, str(scope), steps, problems, notes)


def _steps(
    settings: Settings,
    given: Chosen,
    scope: Scope,
    conditions: Conditions,
    problems: list[Problem],
) -> list[Step]:
    steps = []
    refusals = {}
    for name, part in given.parts.items():
        if scope.kind not in part.scopes:
            refusals[name] = f"{NOT_APPLICABLE}{_wrong_scope(settings, scope)}"
        elif refusal := part.refusal(scope, conditions):
            refusals[name] = refusal
        else:
            steps += [
                Step(name=name, cache=part, action=Action.CLEAR, places=(place,), scope=scope)
                for place in given.places
            ]
    for name, refusal in refusals.items():
        if not steps or not refusal.startswith(NOT_APPLICABLE):
            problems.append(Problem(name, refusal.removeprefix(NOT_APPLICABLE)))
    return steps


def _wrong_scope(settings: Settings, scope: Scope) -> str:
    able = [name for name, cache in settings.caches.items() if scope.kind in cache.scopes]
    others = f"; these do: {', '.join(able)}" if able else "; no cache of the settings does"
    return f"takes no --{scope.kind}{others}"


def add_implied(
    settings: Settings,
    steps: list[Step],
    conditions: Conditions,
    problems: list[Problem],
    notes: list[str],
) -> None:
    """Add the clears of what other steps make stale; new contents do so as well as none."""
    for step in tuple(steps):
        for added in _implied(settings, step, conditions, problems):
            if not any(_covers(each, added) for each in steps):
                steps.append(added)
                notes.append(f"{added.name} at {added.place} is added: {step.name} makes it stale")


def _implied(
    settings: Settings, step: Step, conditions: Conditions, problems: list[Problem]
) -> Iterator[Step]:
    if not isinstance(step.cache, Coupled):
        return
    for name, scope in step.cache.implied(step.scope).items():
        other = settings.caches[name]
        here = {place.node.name for place in step.places if place.node}
        here.update(*(place.shared_by for place in step.places))
        places = tuple(
            each
            for each in other.places(settings.nodes)
            if each.node is not None and each.node.name in here
        )
        if not places:
            problems.append(Problem(name, f"is not at {step.place}, where {step.name} is cleared"))
        stale = Chosen(name, parts_of(name, other), places)
        yield from _steps(settings, stale, scope, conditions, problems)


def _covers(step: Step, other: Step) -> bool:
    """Whether a step does what the other would do, or more."""
    same = (step.name, step.action, step.places) == (other.name, other.action, other.places)
    return same and step.scope in (other.scope, EVERYTHING)
