"""Looks at caches: nothing is changed, so all of them at once."""

from dataclasses import replace
from typing import TypeGuard

from cachekit.caches.base import Cache, Releasing
from cachekit.errors import Problem
from cachekit.plan.selection import Chosen, Selection, chosen
from cachekit.plan.steps import Action, Plan, Step, staged
from cachekit.settings import Settings


def plan_status(settings: Settings, selection: Selection) -> Plan:
    """Plan a look at caches. Raises ConfigError."""
    problems: list[Problem] = []
    steps: list[Step] = []
    for each in chosen(settings, selection, problems):
        steps += _steps(each, Action.STATUS)
    return _at_once(staged(Action.STATUS, "", steps, problems))


def plan_releases(settings: Settings, selection: Selection) -> Plan:
    """Plan to list what caches hold of each release. Raises ConfigError.

    Those that cannot tell are noted, or refused if they were named.
    """
    problems: list[Problem] = []
    steps: list[Step] = []
    unable: list[Problem] = []
    for each in chosen(settings, selection, problems):
        telling = {name: part for name, part in each.parts.items() if is_per_release(part)}
        steps += _steps(replace(each, parts=telling), Action.RELEASES)
        if not telling:
            unable.append(Problem(each.name, _why_unable(each)))
    if selection.caches or not steps:
        problems += unable
    return _at_once(staged(Action.RELEASES, "", steps, problems, [*map(str, unable)]))


def is_per_release(cache: Cache) -> TypeGuard[Releasing]:
    """Whether a cache holds the entries of each release apart, and can list them."""
    return isinstance(cache, Releasing) and cache.per_release


def _why_unable(each: Chosen) -> str:
    if any(isinstance(part, Releasing) for part in each.parts.values()):
        return "holds no release apart: only a namespace or a path with {release} does"
    return "cannot list what it holds of a release"


def _steps(each: Chosen, action: Action) -> list[Step]:
    return [
        Step(name=name, cache=part, action=action, places=(place,))
        for name, part in each.parts.items()
        for place in each.places
    ]


def _at_once(plan: Plan) -> Plan:
    return replace(plan, stages=(plan.steps,))
