"""Primes: from what, and in how many steps."""

from collections.abc import Iterator

from cachekit.caches.base import Cache, Conditions, Filling, Place, Primable
from cachekit.errors import Problem
from cachekit.plan.clears import add_implied
from cachekit.plan.selection import Chosen, Selection, chosen
from cachekit.plan.steps import Action, Plan, Step, staged
from cachekit.settings import Settings


def plan_prime(
    settings: Settings, selection: Selection, kind: str, value: str, conditions: Conditions
) -> Plan:
    """Plan a prime from a `kind:value`. Raises ConfigError with everything that is refused."""
    problems: list[Problem] = []
    steps: list[Step] = []
    notes: list[str] = []
    for each in chosen(settings, selection, problems):
        fitting = {
            name: part
            for name, part in each.parts.items()
            if isinstance(part, Primable) and kind in part.prime_from
        }
        if not fitting:
            problems.append(Problem(each.name, _not_primable(each, kind)))
            continue
        filling = _filling(settings, each, kind, value, problems)
        steps += [
            Step(name=name, cache=part, action=Action.PRIME, places=places, filling=filling)
            for name, part in fitting.items()
            for places in _places(part, each.places)
        ]
    add_implied(settings, steps, conditions, problems, notes)
    return staged(Action.PRIME, f"{kind}:{value}", steps, problems, notes)


def _places(part: Cache, places: tuple[Place, ...]) -> Iterator[tuple[Place, ...]]:
    if isinstance(part, Primable) and part.sharded:
        yield places
    else:
        yield from ((place,) for place in places)


def _not_primable(each: Chosen, kind: str) -> str:
    kinds = {
        known
        for part in each.parts.values()
        if isinstance(part, Primable)
        for known in part.prime_from
    }
    if kinds:
        return f"cannot be primed from {kind}:; it takes {', '.join(sorted(kinds))}"
    return "cannot be primed directly; what is filled by HTTP is filled by `cachekit warm`"


def _filling(
    settings: Settings, each: Chosen, kind: str, value: str, problems: list[Problem]
) -> Filling:
    donor = settings.caches.get(value) if kind == "donor" else None
    if donor is None:
        return Filling(kind=kind, value=value)
    part = next(iter(each.parts.values()))
    if donor == settings.caches[each.name]:
        problems.append(Problem(each.name, f"the donor {value} is the very same cache"))
    elif type(donor) is not type(part):
        problems.append(Problem(each.name, f"the donor {value} is a cache of another type"))
    return Filling(kind=kind, value=value, donor=donor, donor_places=donor.places(settings.nodes))
