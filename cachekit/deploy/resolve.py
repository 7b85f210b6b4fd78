"""One step as written → work with all names resolved. Pure: no server is asked."""

import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cachekit.caches.base import Conditions
from cachekit.deadline import Deadline
from cachekit.deploy.texts import expanded
from cachekit.deploy.work import (
    CacheWork,
    CheckWork,
    CommandWork,
    GoLiveWork,
    WaitWork,
    WarmWork,
    Work,
)
from cachekit.errors import ConfigError, Problem
from cachekit.golive.base import GoLive, Placed
from cachekit.model import Node
from cachekit.plan import Plan, Selection, plan_clear, plan_prime
from cachekit.quantities import parse_seconds, parse_share
from cachekit.scope import EVERYTHING, Scope
from cachekit.settings import Settings
from cachekit.step_settings import (
    EVERY,
    ClearStep,
    GoLiveStep,
    OnFailure,
    PrimeStep,
    RunStep,
    StepSettings,
    WaitStep,
    WarmStep,
)

CACHE_SECONDS = 120.0
COMMAND_SECONDS = 300.0
TURN_SECONDS = 60.0


class NotHereError(Exception):
    """A step of a roll is for none of the nodes of this batch."""


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What steps are resolved in.

    `among` are the nodes of a roll, None outside of one; in a `batch` of it, a step may be for
    none of them.
    """

    settings: Settings
    facts: Mapping[str, str]
    among: tuple[Node, ...] | None = None
    batch: bool = False
    on_failure: OnFailure = "stop"
    force: bool = False

    @property
    def conditions(self) -> Conditions:
        """Give what holds for planning an action on caches."""
        return Conditions(
            deadline=Deadline(CACHE_SECONDS),
            state_dir=Path(),
            site=self.settings.site,
            release=self.settings.release,
            previous=self.settings.previous,
            force=self.force,
        )

    def nodes(self, on: Sequence[str]) -> tuple[Node, ...]:
        """Give the nodes and members of groups that are named; all without a name.

        Raises ConfigError if there is none.
        """
        known = tuple(self.settings.nodes.values()) if self.among is None else self.among
        found = named(known, on) if on else known
        if not found and self.batch:
            raise NotHereError
        if not found:
            raise ConfigError(f"on: no node here is called {' or '.join(on) or 'anything'}")
        return found

    def actors(self, names: Sequence[str], nodes: Sequence[Node]) -> dict[str, GoLive]:
        """Give actors by name. Raises ConfigError for one that cannot act for these nodes."""
        actors = {name: self._bound(self.settings.golive[name]) for name in names}
        refusals = {name: actor.refusal(nodes) for name, actor in actors.items()}
        if problems := [Problem(f"golive.{name}", why) for name, why in refusals.items() if why]:
            raise ConfigError(problems)
        return actors

    def _bound(self, actor: GoLive) -> GoLive:
        return actor.bound(self.settings.nodes) if isinstance(actor, Placed) else actor

    def selection(self, step: StepSettings, names: Sequence[str]) -> Selection:
        """Choose caches by name, at the nodes of the step."""
        caches = () if EVERY in names else tuple(names)
        if not step.on and self.among is None:
            return Selection(caches=caches)
        here = Selection(nodes=tuple(node.name for node in self.nodes(step.on)))
        if self.batch:
            caches = tuple(name for name in caches if self._is_at(name, here))
            if not caches and EVERY not in names:
                raise NotHereError
        return replace(here, caches=caches)

    def _is_at(self, name: str, here: Selection) -> bool:
        cache = self.settings.caches[name.partition("/")[0]]
        return bool(here.narrowed(cache.places(self.settings.nodes)))


def named(nodes: Sequence[Node], on: Sequence[str]) -> tuple[Node, ...]:
    """Give those of the nodes that are named, themselves or by a group."""
    names = set(on)
    return tuple(n for n in nodes if n.name in names or not names.isdisjoint(n.groups))


def names_of(nodes: Sequence[Node]) -> str:
    """Write nodes for people."""
    return ", ".join(node.name for node in nodes)


def count_of(batch: str, nodes: int) -> int:
    """Give a number of nodes from a number or a share of them, which is at least one."""
    if batch.endswith("%"):
        return max(1, math.floor(parse_share(batch) * nodes))
    return int(batch)


def resolve(step: StepSettings, around: Surroundings, common: Mapping[str, Any]) -> Work:
    """Resolve one step; `common` are the fields that all work has. Raises ConfigError."""
    return _RESOLVERS[type(step)](step, around, common)


def check_of(
    around: Surroundings, nodes: Sequence[Node] | None, common: Mapping[str, Any]
) -> CheckWork | None:
    """Make the check that nodes run the release; None if it cannot be seen, or is not known.

    Without `nodes`, those of the settings' `release_check`.
    """
    check, release = around.settings.release_check, around.facts.get("release", "")
    if check is None or not release:
        return None
    checked = named(tuple(around.settings.nodes.values()), check.on) if nodes is None else nodes
    return CheckWork(
        **common,
        title=f"check that {names_of(checked)} {'runs' if len(checked) == 1 else 'run'} {release}",
        action="check",
        nodes=tuple(checked),
        seconds=check.wait,
        check=check,
        release=release,
    )


def _clear(step: ClearStep, around: Surroundings, common: Mapping[str, Any]) -> Work:
    scopes = list(step.scopes())
    try:
        scope = Scope(*scopes[0]) if scopes else EVERYTHING
    except ValueError as error:
        raise ConfigError(str(error)) from error
    selection = around.selection(step, step.clear)
    plan = plan_clear(around.settings, selection, scope, around.conditions)
    title = f"clear {', '.join(step.clear)}: {scope}"
    return _cache_work(plan, title, step, common, apart=around.batch)


def _prime(step: PrimeStep, around: Surroundings, common: Mapping[str, Any]) -> Work:
    kind, _, value = step.source.partition(":")
    if not value:
        raise ConfigError(f"from: {step.source}: nothing stands after the colon")
    selection = around.selection(step, step.prime)
    plan = plan_prime(around.settings, selection, kind, value, around.conditions)
    title = f"prime {', '.join(step.prime)} from {step.source}"
    return _cache_work(plan, title, step, common, apart=around.batch)


def _cache_work(
    plan: Plan, title: str, step: StepSettings, common: Mapping[str, Any], *, apart: bool
) -> CacheWork:
    places = [place for each in plan.steps for place in each.places]
    nodes = {place.node.name: place.node for place in places if place.node}
    return CacheWork(
        **common,
        title=title,
        action=plan.action.value,
        nodes=tuple(nodes.values()),
        seconds=step.deadline or CACHE_SECONDS,
        plan=plan,
        apart=apart,
    )


def _warm(step: WarmStep, around: Surroundings, common: Mapping[str, Any]) -> Work:
    warm = around.settings.warm
    laid_over = replace(
        warm,
        gate=step.gate or warm.gate,
        verify=warm.verify if step.verify is None else step.verify,
        limit=step.limit or warm.limit,
        budget=step.deadline or warm.budget,
    )
    return WarmWork(
        **common,
        title=f"warm {', '.join(step.warm)}",
        action="warm",
        nodes=around.nodes(step.on),
        seconds=laid_over.budget or math.inf,
        settings=replace(around.settings, warm=laid_over),
        lists=None if EVERY in step.warm else step.warm,
        variants=step.variants,
        horizon=step.expiring_within,
    )


def _run(step: RunStep, around: Surroundings, common: Mapping[str, Any]) -> Work:
    # Split before anything is put in: a fact with a space in it stays one word.
    words = shlex.split(step.run[0]) if len(step.run) == 1 else step.run
    here = not step.on and around.among is None
    argv = tuple(expanded(word, around.facts) for word in words)
    return CommandWork(
        **common,
        # Its words may hold secrets from the environment.
        title=f"run {argv[0]}{' …' if argv[1:] else ''}",
        action="run",
        nodes=() if here else around.nodes(step.on),
        seconds=step.deadline or COMMAND_SECONDS,
        argv=argv,
        here=here,
    )


def _wait(step: WaitStep, around: Surroundings, common: Mapping[str, Any]) -> Work:
    if step.wait == "release":
        check = check_of(around, around.nodes(step.on) if step.on else around.among, common)
        if check is None:
            raise ConfigError("wait: which release, and how is it seen? set release_check, release")
        return replace(check, seconds=step.deadline or check.seconds)
    return WaitWork(
        **common,
        title=f"wait {step.wait}",
        action="wait",
        nodes=(),
        seconds=math.inf,
        pause=parse_seconds(step.wait),
    )


def _golive(step: GoLiveStep, around: Surroundings, common: Mapping[str, Any]) -> Work:
    nodes = around.nodes(step.on)
    instead_of = around.nodes(step.instead_of) if step.instead_of else ()
    actors = around.actors(step.golive, (*nodes, *instead_of))
    title = f"put in {names_of(nodes)} by {', '.join(actors)}"
    return GoLiveWork(
        **common,
        title=f"{title}, then take out {names_of(instead_of)}" if instead_of else title,
        action="golive",
        nodes=nodes,
        seconds=step.deadline or TURN_SECONDS,
        actors=actors,
        instead_of=instead_of,
    )


_RESOLVERS: dict[type[StepSettings], Callable[[Any, Surroundings, Mapping[str, Any]], Work]] = {
    ClearStep: _clear,
    PrimeStep: _prime,
    WarmStep: _warm,
    RunStep: _run,
    WaitStep: _wait,
    GoLiveStep: _golive,
}
