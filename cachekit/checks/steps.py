"""Checks of the steps of plans, by kind."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from cachekit.checks.faults import Fault, KeyPath
from cachekit.checks.names import nodes_named, of_caches, of_names, of_nodes
from cachekit.checks.texts import of_condition, of_texts
from cachekit.checks.values import positive, within
from cachekit.checks.warm import of_gate
from cachekit.near_misses import did_you_mean
from cachekit.quantities import parse_seconds
from cachekit.scope import Scope
from cachekit.settings import Settings
from cachekit.step_settings import (
    EVERY,
    ClearStep,
    GoLiveStep,
    PrimeStep,
    RollStep,
    RunStep,
    Step,
    Steps,
    WaitStep,
    WarmStep,
)
from cachekit.transports import why_unreachable

_FILLINGS = ("file", "donor", "command", "path")
_WAITED_FOR = "release"


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a step stands; `among` are the nodes and groups of the roll around it."""

    settings: Settings
    path: KeyPath
    among: tuple[str, ...] = ()

    def at(self, *parts: str | int) -> "Spot":
        """Go on to what stands within."""
        return replace(self, path=(*self.path, *parts))


def of_stages(spot: Spot, stages: Sequence[Steps]) -> Iterator[Fault]:
    """Check all steps of stages."""
    for stage, steps in enumerate(stages):
        for index, step in enumerate(steps):
            yield from _of_step(spot.at(stage, index), step)


def _of_step(spot: Spot, step: Step) -> Iterator[Fault]:
    yield from of_texts(step, spot.path, on_nodes=bool(step.on or spot.among))
    yield from of_condition((*spot.path, "when"), step.when)
    yield from positive((*spot.path, "deadline"), step.deadline)
    yield from of_nodes(spot.settings, (*spot.path, "on"), step.on)
    match step:
        case ClearStep():
            yield from _of_clear(spot, step)
        case PrimeStep():
            yield from _of_prime(spot, step)
        case WarmStep():
            yield from _of_warm(spot, step)
        case RunStep():
            yield from _of_run(spot, step)
        case WaitStep():
            yield from _of_wait(spot, step)
        case GoLiveStep():
            yield from _of_golive(spot, step)
        case RollStep():
            yield from _of_roll(spot, step)


def _of_clear(spot: Spot, step: ClearStep) -> Iterator[Fault]:
    yield from _of_chosen_caches(spot.at("clear"), step.clear)
    scopes = list(step.scopes())
    for kind, values in scopes:
        try:
            Scope(kind, values)
        except ValueError as error:
            yield (*spot.path, kind.name.lower()), _in_words_of_the_file(str(error), values)
    for kind, _ in scopes[1:]:
        first = scopes[0][0].name.lower()
        yield (
            (*spot.path, kind.name.lower()),
            f"stands beside {first}; one kind of scope for each step",
        )


def _in_words_of_the_file(message: str, values: Sequence[str]) -> str:
    """Say what a scope says of options as the file has it, without the values."""
    for value in filter(None, values):
        message = message.replace(f" {value}", "", 1)
    return message.replace("--everything", "`everything: true`").replace("--", "")


def _of_prime(spot: Spot, step: PrimeStep) -> Iterator[Fault]:
    yield from _of_chosen_caches(spot.at("prime"), step.prime)
    kind, _, value = step.source.partition(":")
    if kind not in _FILLINGS or not value:
        expected = "file:PATH, donor:CACHE-OR-RELEASE, command:CMD or path:DIR"
        yield (*spot.path, "from"), f"expected {expected}{did_you_mean(kind, _FILLINGS)}"


def _of_chosen_caches(spot: Spot, names: Sequence[str]) -> Iterator[Fault]:
    yield from _at_least_one(spot, names, "a cache")
    if EVERY not in names:
        yield from of_caches(spot.settings, spot.path, names)


def _of_warm(spot: Spot, step: WarmStep) -> Iterator[Fault]:
    lists, warm = spot.settings.warmlists, spot.settings.warm
    yield from _at_least_one(spot.at("warm"), step.warm, "a warm list")
    if EVERY not in step.warm:
        yield from of_names((*spot.path, "warm"), step.warm, "a list of `warmlists`", lists)
    path = (*spot.path, "variants")
    yield from of_names(path, step.variants, "a variant of warm.variants", warm.variants)
    yield from within((*spot.path, "limit"), step.limit, 1)
    yield from positive((*spot.path, "expiring_within"), step.expiring_within)
    verify = warm.verify if step.verify is None else step.verify
    if step.gate:
        yield from of_gate(spot.settings, (*spot.path, "gate"), step.gate, verify)
    elif step.verify == 0 and warm.gate.min_hit is not None:
        yield (*spot.path, "verify"), "is off, but warm.gate.min_hit needs the verify pass"


def _of_run(spot: Spot, step: RunStep) -> Iterator[Fault]:
    try:
        words = shlex.split(step.run[0]) if len(step.run) == 1 else step.run
    except ValueError as error:
        yield (*spot.path, "run"), f"not a command: {error}"
        return
    if not words or not words[0]:
        yield (*spot.path, "run"), "expected a command"
    for node in nodes_named(spot.settings, step.on or spot.among):
        if reason := why_unreachable(node):
            yield (*spot.path, "run"), f"cannot run on {node.name}: {reason}"


def _of_wait(spot: Spot, step: WaitStep) -> Iterator[Fault]:
    path = (*spot.path, "wait")
    if step.wait == _WAITED_FOR:
        if spot.settings.release_check is None:
            yield path, "how is a node's release seen? say it in `release_check:`"
        return
    try:
        yield from positive(path, parse_seconds(step.wait))
    except ValueError as error:
        yield path, f"{error}, or {_WAITED_FOR}{did_you_mean(step.wait, [_WAITED_FOR])}"


def _of_golive(spot: Spot, step: GoLiveStep) -> Iterator[Fault]:
    if spot.among:
        yield (
            (*spot.path, "golive"),
            "within a roll: it puts its nodes in itself, once they have passed",
        )
        return
    yield from _of_actors(spot, step)
    yield from of_nodes(spot.settings, (*spot.path, "instead_of"), step.instead_of)
    settings = spot.settings
    goes_in = nodes_named(settings, step.on) if step.on else settings.nodes.values()
    for node in nodes_named(settings, step.instead_of):
        if node in goes_in:
            yield (*spot.path, "instead_of"), f"{node.name} would be put in, and taken out again"


def _of_roll(spot: Spot, step: RollStep) -> Iterator[Fault]:
    if spot.among:
        yield (*spot.path, "roll"), "within a roll; write them one after the other"
        return
    yield from _at_least_one(spot.at("roll"), step.roll, "a node or group")
    yield from of_nodes(spot.settings, (*spot.path, "roll"), step.roll)
    yield from _of_actors(spot, step)
    yield from within((*spot.path, "max_failed"), step.max_failed, 0)
    if not step.steps:
        yield (*spot.path, "steps"), "expected at least one step to do on the nodes that are out"
    yield from of_stages(replace(spot.at("steps"), among=step.roll), step.steps)


def _of_actors(spot: Spot, step: GoLiveStep | RollStep) -> Iterator[Fault]:
    spot = spot.at("golive")
    yield from _at_least_one(spot, step.golive, "an actor")
    yield from of_names(spot.path, step.golive, "an actor of `golive`", spot.settings.golive)


def _at_least_one(spot: Spot, names: Sequence[str], what: str) -> Iterator[Fault]:
    if not names:
        yield spot.path, f"expected {what}"
