"""Plans as written → plans with all names resolved. Pure: no server is asked.

Whatever cannot work is refused here, all of it at once.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from string import ascii_lowercase
from typing import Any

from cachekit.deploy import lint
from cachekit.deploy.resolve import (
    NotHereError,
    Surroundings,
    check_of,
    count_of,
    named,
    names_of,
    resolve,
)
from cachekit.deploy.texts import expanded_step, holds
from cachekit.deploy.work import (
    CacheWork,
    DeployPlan,
    GoLiveWork,
    PassiveWork,
    RollWork,
    Stage,
    StartOutWork,
    Work,
)
from cachekit.errors import ConfigError, Problem
from cachekit.model import Node
from cachekit.near_misses import did_you_mean
from cachekit.settings import Settings
from cachekit.step_settings import OnFailure, PlanSettings, RollStep, Step, Steps


def compile_plan(
    settings: Settings, name: str, facts: Mapping[str, str], *, force: bool = False
) -> DeployPlan:
    """Resolve a plan of the settings for one deploy. Raises ConfigError with all that is wrong."""
    written = settings.plans.get(name)
    if written is None:
        known = f"; there are: {', '.join(settings.plans) or 'none'}"
        raise ConfigError(f"no plan is called {name}{did_you_mean(name, settings.plans) or known}")
    around = Surroundings(
        settings=settings, facts=facts, on_failure=written.on_failure, force=force
    )
    compiler = _Compiler(around)
    stages, last = compiler.stages(written.steps, ""), compiler.stages(written.last, "f")
    compiler.problems += lint.faults(settings, (*stages, *last))
    compiler.refuse(f"plans.{name}: ")
    whole = (*stages, *last)
    stages = (*_still_passive(whole), *_starting_out(whole), *stages)
    fails_back = any(w.on_failure == "rollback" for stage in stages for w in stage)
    return DeployPlan(
        name=name,
        settings=settings,
        facts=facts,
        stages=stages,
        last=last,
        rollback=_rollback(around, name, written) if fails_back else None,
        seconds=written.deadline,
        warnings=tuple(lint.doubts(settings, (*stages, *last))),
        digest=hashlib.sha256(repr(written).encode(errors="replace")).hexdigest(),
    )


def compile_batch(around: Surroundings, work: RollWork, at: str) -> list[Stage]:
    """Resolve the steps of a roll for the nodes that it is `among`; ids start with `at`.

    Raises ConfigError.
    """
    compiler = _Compiler(replace(around, batch=True, on_failure=work.on_failure))
    stages = compiler.stages(work.stages, f"{at}/")
    compiler.refuse()
    return list(stages)


def _starting_out(stages: Sequence[Stage]) -> Iterator[Stage]:
    """Take out, before anything else, what starts out and is put in by a later step."""
    works = (work for stage in stages for work in stage if not work.skip)
    out = tuple(
        StartOutWork(
            id=f"{work.id}-out",
            title=f"take out {names_of(work.nodes)} by {', '.join(actors)}, until step {work.id}",
            action="golive",
            nodes=work.nodes,
            seconds=work.seconds,
            on_failure=work.on_failure,
            actors=actors,
        )
        for work in works
        if isinstance(work, GoLiveWork)
        and (actors := {name: each for name, each in work.actors.items() if each.starts_out})
    )
    if out:
        yield out


def _still_passive(stages: Sequence[Stage]) -> Iterator[Stage]:
    """Look, before anything else, that what a switch will put in is out still."""
    looks = tuple(
        PassiveWork(
            id=f"{work.id}-passive",
            title=f"check that {names_of(work.nodes)} are out",
            action="check",
            nodes=work.nodes,
            seconds=work.seconds,
            on_failure="stop",
            actors=actors,
        )
        for stage in stages
        for work in stage
        if isinstance(work, GoLiveWork)
        and (work.instead_of and not work.skip)
        and (actors := {name: a for name, a in work.actors.items() if not a.starts_out})
    )
    if looks:
        yield looks


def _rollback(around: Surroundings, name: str, written: PlanSettings) -> DeployPlan:
    """Resolve the plan that a failure runs: back to what is live now."""
    facts = around.facts
    release, previous = facts.get("release", ""), facts.get("previous", "")
    if written.rollback == name:
        raise ConfigError(f"plans.{name}: is its own rollback")
    if not previous:
        raise ConfigError(f"plans.{name}: a failure rolls back, to which release? --previous")
    back = {**facts, "release": previous, "previous": release, "rollback": "true"}
    swapped = replace(around.settings, release=previous, previous=release)
    return compile_plan(swapped, written.rollback, back, force=around.force)


@dataclass
class _Compiler:
    """Resolves steps one by one, and gathers what is wrong with them."""

    around: Surroundings
    problems: list[Problem] = field(default_factory=list)

    def stages(self, written: Sequence[Steps], prefix: str) -> tuple[Stage, ...]:
        """Resolve stages; ids start with the prefix."""
        compiled: list[Stage] = []
        for number, steps in enumerate(written, 1):
            letters = _letters() if len(steps) > 1 else iter([""])
            at = f"{prefix}{number}"
            stage = tuple(
                work
                for step, letter in zip(steps, letters, strict=False)
                for work in self._work(step, f"{at}{letter}")
            )
            compiled += [*self._checks(stage, f"{at}!"), stage]
        return tuple(filter(None, compiled))

    def refuse(self, of: str = "") -> None:
        """Raise ConfigError if anything is wrong; `of` tells of which plan."""
        if self.problems:
            raise ConfigError([replace(each, where=of + each.where) for each in self.problems])

    def _work(self, written: Step, at: str) -> Iterator[Work]:
        facts = self.around.facts
        step = expanded_step(written, facts)
        common = {
            "id": at,
            "on_failure": self._on_failure(step),
            "skip": "" if not step.when or holds(step.when, facts) else f"when: {step.when}",
        }
        try:
            if isinstance(step, RollStep):
                work = self._roll(step, common)
            else:
                work = resolve(step, self.around, common)
        except NotHereError:
            return
        except ConfigError as error:
            where = f"step {at}, {_kind(step)}"
            self.problems += [Problem(where, str(problem)) for problem in error.problems]
        else:
            yield replace(work, title=step.title or work.title)

    def _on_failure(self, step: Step) -> OnFailure:
        inner = step.steps if isinstance(step, RollStep) else ()
        if any(each.on_failure == "rollback" for stage in inner for each in stage):
            return "rollback"
        return step.on_failure or self.around.on_failure

    def _roll(self, step: RollStep, common: Mapping[str, Any]) -> Work:
        nodes = self.around.nodes(step.roll)
        batch = count_of(step.batch, len(nodes))
        # What is refused for all of them together would be refused in the middle of the roll.
        inner = replace(self.around, among=nodes, on_failure=common["on_failure"])
        compiler = _Compiler(inner)
        preview = compiler.stages(step.steps, f"{common['id']}/")
        self.problems += compiler.problems
        most = min(batch + step.max_failed, len(nodes) - 1)
        return RollWork(
            **common,
            title=f"roll {names_of(nodes)}, {batch} at a time, by {', '.join(step.golive)}",
            action="roll",
            nodes=nodes,
            seconds=step.deadline or math.inf,
            actors=self.around.actors(step.golive, nodes),
            stages=step.steps,
            preview=preview,
            batch=batch,
            max_out=count_of(step.max_out, len(nodes)) if step.max_out else most,
            max_failed=step.max_failed,
            settle=step.settle,
            turn=step.turn,
        )

    def _checks(self, stage: Stage, at: str) -> Iterator[Stage]:
        """Look at the nodes' releases before an edge is cleared: it refills from them."""
        works = [work for work in stage if isinstance(work, CacheWork) and lint.clears_edge(work)]
        if not works:
            return
        # A check that fails keeps the edge as it is, so it never goes on.
        goes_back = any(work.on_failure == "rollback" for work in works)
        common = {"id": at, "on_failure": "rollback" if goes_back else "stop", "skip": ""}
        if all(work.skip for work in works):
            common["skip"] = works[0].skip
        if found := check_of(self.around, self._behind(works), common):
            yield (found,)

    def _behind(self, works: Sequence[CacheWork]) -> Sequence[Node] | None:
        """Give the nodes that edges refill from; None for all that run the application.

        A node that runs it behind an edge of its own refills from itself.
        """
        settings, among = self.around.settings, self.around.among
        places = [place for work in works for step in lint.edges(work) for place in step.places]
        own = {place.node.name if place.node else "" for place in places}
        known = tuple(settings.nodes.values()) if among is None else among
        runs = named(known, settings.release_check.on) if settings.release_check else ()
        behind = [node for node in runs if node.name in own]
        return behind if len(behind) == len(own) else None


def _letters() -> Iterator[str]:
    yield from ascii_lowercase
    yield from map("".join, product(ascii_lowercase, repeat=2))


def _kind(step: Step) -> str:
    return type(step).__name__.removesuffix("Step").lower()
