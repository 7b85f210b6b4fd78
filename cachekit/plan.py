"""Which cache is acted on where, and in which order; whatever cannot work is refused here.

Pure: no server is asked.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import groupby

from cachekit.caches.base import (
    NOT_APPLICABLE,
    Cache,
    Conditions,
    Coupled,
    Filling,
    Place,
    Primable,
    Split,
)
from cachekit.errors import ConfigError, Problem
from cachekit.near_misses import did_you_mean
from cachekit.scope import EVERYTHING, Scope
from cachekit.settings import Settings

NOTHING = Filling(kind="", value="")


class Action(StrEnum):
    """What a step does."""

    CLEAR = "clear"
    PRIME = "prime"
    STATUS = "status"


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What was chosen by name: caches, and where; nothing means all."""

    caches: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()

    def narrowed(self, places: Iterable[Place]) -> tuple[Place, ...]:
        """Keep the places that were chosen: by node, by group, or by their own name."""
        if not self.nodes and not self.groups:
            return tuple(places)
        return tuple(each for each in places if self._holds(each))

    def _holds(self, place: Place) -> bool:
        if place.name in self.nodes:
            return True
        node = place.node
        return node is not None and (
            node.name in self.nodes or not set(self.groups).isdisjoint(node.groups)
        )


@dataclass(frozen=True, kw_only=True)
class Step:
    """One action on one cache, or a part of it, at one place; a sharded cache is primed at all."""

    name: str
    cache: Cache
    action: Action
    places: tuple[Place, ...]
    scope: Scope = EVERYTHING
    filling: Filling = NOTHING

    @property
    def layer(self) -> int:
        """Where the cache sits."""
        return self.cache.layer

    @property
    def place(self) -> str:
        """The names of its places."""
        return ", ".join(place.name for place in self.places)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Stages in order, inside out by layer; the steps of one may run side by side."""

    action: Action
    what: str
    stages: tuple[tuple[Step, ...], ...]
    notes: tuple[str, ...] = ()

    @property
    def steps(self) -> tuple[Step, ...]:
        """All steps in order."""
        return tuple(step for stage in self.stages for step in stage)


@dataclass(frozen=True, slots=True)
class _Chosen:
    """A cache that was selected, with its parts and places."""

    name: str
    parts: Mapping[str, Cache]
    places: tuple[Place, ...]


def plan_clear(
    settings: Settings, selection: Selection, scope: Scope, conditions: Conditions
) -> Plan:
    """Plan a clear. Raises ConfigError with everything that is refused."""
    problems: list[Problem] = []
    steps: list[Step] = []
    notes: list[str] = []
    for chosen in _chosen(settings, selection, problems):
        steps += _clear_steps(settings, chosen, scope, conditions, problems)
    _add_implied(settings, steps, conditions, problems, notes)
    return _plan(Action.CLEAR, str(scope), steps, problems, notes)


def plan_prime(
    settings: Settings, selection: Selection, kind: str, value: str, conditions: Conditions
) -> Plan:
    """Plan a prime from a `kind:value`. Raises ConfigError with everything that is refused."""
    problems: list[Problem] = []
    steps: list[Step] = []
    notes: list[str] = []
    for chosen in _chosen(settings, selection, problems):
        fitting = {
            name: part
            for name, part in chosen.parts.items()
            if isinstance(part, Primable) and kind in part.prime_from
        }
        if not fitting:
            problems.append(Problem(chosen.name, _not_primable(chosen, kind)))
            continue
        filling = _filling(settings, chosen, kind, value, problems)
        steps += [
            Step(name=name, cache=part, action=Action.PRIME, places=places, filling=filling)
            for name, part in fitting.items()
            for places in _prime_places(part, chosen.places)
        ]
    _add_implied(settings, steps, conditions, problems, notes)
    return _plan(Action.PRIME, f"{kind}:{value}", steps, problems, notes)


def plan_status(settings: Settings, selection: Selection) -> Plan:
    """Plan a look at caches. Raises ConfigError."""
    problems: list[Problem] = []
    steps = [
        Step(name=name, cache=part, action=Action.STATUS, places=(place,))
        for chosen in _chosen(settings, selection, problems)
        for name, part in chosen.parts.items()
        for place in chosen.places
    ]
    return replace(_plan(Action.STATUS, "", steps, problems), stages=(tuple(steps),))


def _plan(
    action: Action,
    what: str,
    steps: Sequence[Step],
    problems: Sequence[Problem],
    notes: Sequence[str] = (),
) -> Plan:
    if problems or not steps:
        raise ConfigError(problems or "nothing to do: no cache is at the chosen nodes")
    stages = tuple(tuple(group) for _, group in groupby(sorted(steps, key=_turn), key=_turn))
    return Plan(action=action, what=what, stages=stages, notes=tuple(notes))


def _turn(step: Step) -> tuple[int, bool]:
    # Within a layer what is stale goes before something is put in.
    return step.layer, step.action is Action.PRIME


def _chosen(settings: Settings, selection: Selection, problems: list[Problem]) -> Iterator[_Chosen]:
    _check_places(settings, selection, problems)
    if not settings.caches:
        problems.append(Problem("", "the settings have no `caches:`"))
    for name in dict.fromkeys(selection.caches or settings.caches):
        cache = settings.caches.get(name)
        if cache is None:
            known = ", ".join(settings.caches) or "none"
            hint = did_you_mean(name, settings.caches)
            problems.append(Problem(name, f"no cache is called so; there are: {known}{hint}"))
            continue
        places = selection.narrowed(cache.places(settings.nodes))
        if places:
            yield _Chosen(name, _parts(name, cache), places)
        elif selection.caches:
            problems.append(Problem(name, "is at none of the chosen nodes"))


def _check_places(settings: Settings, selection: Selection, problems: list[Problem]) -> None:
    stores = {
        place.name for each in settings.caches.values() for place in each.places(settings.nodes)
    }
    groups = {group for node in settings.nodes.values() for group in node.groups}
    for kind, names, known in (
        ("node", selection.nodes, stores | settings.nodes.keys()),
        ("group", selection.groups, groups),
    ):
        for name in names:
            if name not in known:
                hint = did_you_mean(name, known)
                problems.append(Problem(f"--{kind} {name}", f"no {kind} is called so{hint}"))


def _parts(name: str, cache: Cache) -> Mapping[str, Cache]:
    if not isinstance(cache, Split):
        return {name: cache}
    return {f"{name}/{part}": each for part, each in cache.parts().items()}


def _clear_steps(
    settings: Settings,
    chosen: _Chosen,
    scope: Scope,
    conditions: Conditions,
    problems: list[Problem],
) -> list[Step]:
    steps = []
    refusals = {}
    for name, part in chosen.parts.items():
        if scope.kind not in part.scopes:
            refusals[name] = f"{NOT_APPLICABLE}{_wrong_scope(settings, scope)}"
        elif refusal := part.refusal(scope, conditions):
            refusals[name] = refusal
        else:
            steps += [
                Step(name=name, cache=part, action=Action.CLEAR, places=(place,), scope=scope)
                for place in chosen.places
            ]
    for name, refusal in refusals.items():
        if not steps or not refusal.startswith(NOT_APPLICABLE):
            problems.append(Problem(name, refusal.removeprefix(NOT_APPLICABLE)))
    return steps


def _wrong_scope(settings: Settings, scope: Scope) -> str:
    able = [name for name, cache in settings.caches.items() if scope.kind in cache.scopes]
    others = f"; these do: {', '.join(able)}" if able else "; no cache of the settings does"
    return f"takes no --{scope.kind}{others}"


def _add_implied(
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
        chosen = _Chosen(name, _parts(name, other), places)
        yield from _clear_steps(settings, chosen, scope, conditions, problems)


def _covers(step: Step, other: Step) -> bool:
    """Whether a step does what the other would do, or more."""
    same = (step.name, step.action, step.places) == (other.name, other.action, other.places)
    return same and step.scope in (other.scope, EVERYTHING)


def _prime_places(part: Cache, places: tuple[Place, ...]) -> Iterator[tuple[Place, ...]]:
    if isinstance(part, Primable) and part.sharded:
        yield places
    else:
        yield from ((place,) for place in places)


def _not_primable(chosen: _Chosen, kind: str) -> str:
    kinds = {
        each
        for part in chosen.parts.values()
        if isinstance(part, Primable)
        for each in part.prime_from
    }
    if kinds:
        return f"cannot be primed from {kind}:; it takes {', '.join(sorted(kinds))}"
    return "cannot be primed directly; what is filled by HTTP is filled by `cachekit warm`"


def _filling(
    settings: Settings, chosen: _Chosen, kind: str, value: str, problems: list[Problem]
) -> Filling:
    donor = settings.caches.get(value) if kind == "donor" else None
    if donor is None:
        return Filling(kind=kind, value=value)
    part = next(iter(chosen.parts.values()))
    if donor == settings.caches[chosen.name]:
        problems.append(Problem(chosen.name, f"the donor {value} is the very same cache"))
    elif type(donor) is not type(part):
        problems.append(Problem(chosen.name, f"the donor {value} is a cache of another type"))
    return Filling(kind=kind, value=value, donor=donor, donor_places=donor.places(settings.nodes))
