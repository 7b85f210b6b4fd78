"""Doing one step of a plan: whatever goes wrong is in what it returns."""

import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from cachekit.caches.base import Conditions
from cachekit.deadline import Deadline, DeadlineError
from cachekit.deploy.release_check import release_of
from cachekit.deploy.rollback import Spared, is_rollback, spared
from cachekit.deploy.texts import expanded
from cachekit.deploy.turns import Turns
from cachekit.deploy.work import (
    CacheWork,
    CheckWork,
    CommandWork,
    GoLiveWork,
    WaitWork,
    WarmWork,
    Work,
)
from cachekit.documents import action_document, warm_document
from cachekit.errors import CachekitError, JournalError
from cachekit.events import Listener
from cachekit.execution import MAX_WORKERS, Limits, execute
from cachekit.model import Node, shown
from cachekit.outcomes import ActionReport, StepOutcome
from cachekit.results import Outcome, WarmReport
from cachekit.runs import RunOutcome
from cachekit.settings import Settings
from cachekit.transports import transport_to
from cachekit.warming.plan import plan_warm
from cachekit.warming.stop import Stop
from cachekit.warming.warmer import run_warm

_log = logging.getLogger(__name__)
_LOOK_SECONDS = 0.5
_SAID = 200
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Doing:
    """What steps are done with; `begun` are those that an earlier part of the run had begun."""

    settings: Settings
    facts: Mapping[str, str]
    state_dir: Path
    stop: Stop
    turns: Turns
    listeners: Sequence[Listener] = ()
    begun: frozenset[str] = frozenset()
    force: bool = False

    def conditions(self, seconds: float) -> Conditions:
        """Give what holds for actions on caches and nodes."""
        return Conditions(
            deadline=Deadline(seconds),
            state_dir=self.state_dir,
            site=self.settings.site,
            release=self.settings.release,
            previous=self.settings.previous,
            force=self.force,
        )


@dataclass(frozen=True, kw_only=True)
class Done:
    """What a step came to; `lost` are nodes that it failed for, each with the reason."""

    outcome: RunOutcome = RunOutcome.DONE
    reason: str = ""
    lost: Mapping[str, str] = field(default_factory=dict)
    evidence: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    document: Mapping[str, Any] | None = None


def act(work: Work, doing: Doing) -> Done:
    """Do one step."""
    try:
        return _ACTS[type(work)](work, doing)
    except (CachekitError, DeadlineError) as error:
        return failed(work, str(error))
    except Exception as error:  # noqa: BLE001 - a bug in one step must not lose what others did
        _log.error("step %s", work.id, exc_info=error)
        return failed(work, f"a bug: {error!r}; please tell its author")


def failed(work: Work, reason: str) -> Done:
    """Give what a step came to that failed as a whole."""
    return Done(
        outcome=RunOutcome.FAILED,
        reason=reason,
        lost={node.name: reason for node in work.nodes},
    )


def on_each(nodes: Sequence[Node], do: Callable[[Node], _T]) -> dict[str, _T | str]:
    """Do something on all nodes side by side; a failure is given as its message."""

    def guarded(node: Node) -> _T | str:
        try:
            return do(node)
        except (CachekitError, DeadlineError) as error:
            return str(error).removeprefix(f"node {node.name}: ")

    with ThreadPoolExecutor(max(1, min(MAX_WORKERS, len(nodes)))) as pool:
        found = pool.map(guarded, nodes)
        return {node.name: each for node, each in zip(nodes, found, strict=True)}


def _caches(work: CacheWork, doing: Doing) -> Done:
    conditions = doing.conditions(work.seconds)
    spare = spared(work.plan, conditions) if is_rollback(doing.facts) else Spared(plan=work.plan)
    if not spare.plan.steps:
        return Done(evidence=spare.kept)
    limits = Limits(step_seconds=work.seconds)
    report = execute(spare.plan, conditions, limits=limits, stop=doing.stop)
    steps = {(step.name, step.place): step for step in work.plan.steps}
    lost: dict[str, str] = {}
    for result in report.steps:
        if result.outcome is not StepOutcome.DONE:
            for place in steps[result.cache, result.place].places:
                if place.node is not None:
                    lost.setdefault(place.node.name, f"{result.cache}: {result.reason}")
    return Done(
        outcome=RunOutcome(report.outcome.value),
        reason=_first_reason(report),
        lost=lost,
        evidence=spare.kept,
        document=action_document(report, report.exit_code),
    )


def _first_reason(report: ActionReport) -> str:
    bad = [step for step in report.steps if step.outcome is not StepOutcome.DONE]
    more = f"; and {len(bad) - 1} more" if len(bad) > 1 else ""
    return f"{bad[0].cache} at {bad[0].place}: {bad[0].reason}{more}" if bad else ""


def _warm(work: WarmWork, doing: Doing) -> Done:
    with tempfile.TemporaryDirectory(prefix="cachekit-") as scratch:
        plan = plan_warm(
            work.settings,
            nodes=work.nodes,
            lists=work.lists,
            variants=work.variants,
            spool=Path(scratch) / "urls",
            stop=doing.stop,
        )
        run = partial(
            run_warm,
            plan,
            doing.state_dir,
            stop=doing.stop.within(work.settings.warm.budget),
            listeners=doing.listeners,
        )
        try:
            report = run(resume=work.id in doing.begun)
        except JournalError:
            if work.id not in doing.begun:
                raise
            report = run()  # it was killed before it asked anything, or its list has changed
    return _warmed(report)


def _warmed(report: WarmReport) -> Done:
    outcomes = {Outcome.GO: RunOutcome.DONE, Outcome.DEGRADED: RunOutcome.DEGRADED}
    bad = [check for check in report.checks if check.outcome is Outcome.NO_GO]
    run_wide = "; ".join(f"{c.name}: {c.found}, wanted {c.wanted}" for c in bad if not c.node)
    reason = report.ended_early or run_wide
    lost = {}
    for node, outcome in report.node_outcomes.items():
        if outcome is Outcome.NO_GO:
            own = [f"{c.name}: {c.found}, wanted {c.wanted}" for c in bad if c.node == node]
            lost[node] = "; ".join(own) or reason
    if report.outcome is Outcome.NO_GO and not lost:
        lost = dict.fromkeys(report.node_outcomes, reason)
    return Done(
        outcome=outcomes.get(report.outcome, RunOutcome.FAILED),
        reason=reason or "; ".join(f"{node}: {why}" for node, why in list(lost.items())[:1]),
        lost=lost,
        warnings=report.warnings,
        document=warm_document(report),
    )


def _command(work: CommandWork, doing: Doing) -> Done:
    deadline = Deadline(work.seconds)
    facts = doing.facts

    def run(node: Node | None) -> str:
        name = node.name if node else ""
        words = [expanded(word, {**facts, "node": name}) for word in work.argv]
        named = {"RELEASE": facts.get("release", ""), "PREVIOUS": facts.get("previous", "")}
        told = [f"CACHEKIT_{key}={value}" for key, value in {**named, "NODE": name}.items()]
        done = transport_to(node).run(["env", *told, *words], deadline=deadline)
        said = _last_line(done.stderr if done.status else done.stdout or done.stderr)
        if done.status:
            raise CachekitError(f"{words[0]} ended with status {done.status}{said and ': '}{said}")
        return f"status 0{f': {said}' if said else ''}"

    if work.here:
        return Done(evidence=(run(None),))
    return _each(on_each(work.nodes, lambda node: (run(node),)))


def _last_line(output: bytes) -> str:
    lines = output.decode(errors="replace").strip().splitlines()
    return shown(lines[-1][:_SAID]) if lines else ""


def _each(found: Mapping[str, tuple[str, ...] | str]) -> Done:
    """Sum up what was done on each node: its evidence, or the text of its failure."""
    lost = {name: each for name, each in found.items() if isinstance(each, str)}
    evidence = tuple(
        f"{name}: {text}" for name, each in found.items() if name not in lost for text in each
    )
    reason = "; ".join(f"{name}: {why}" for name, why in lost.items())
    outcome = RunOutcome.FAILED if lost else RunOutcome.DONE
    return Done(outcome=outcome, reason=reason, lost=lost, evidence=evidence)


def _wait(work: WaitWork, doing: Doing) -> Done:
    end = time.monotonic() + work.pause
    while (left := end - time.monotonic()) > 0:
        if doing.stop.reason:
            return failed(work, f"not waited for: {doing.stop.reason}")
        time.sleep(min(left, _LOOK_SECONDS))
    return Done()


def _check(work: CheckWork, doing: Doing) -> Done:
    """Look at every node until it runs the release, or the time is spent."""
    deadline = Deadline(work.seconds)

    def wait(node: Node) -> tuple[str, ...]:
        found = "nothing was asked"
        for _ in _looks(deadline, doing.stop):
            try:
                found = release_of(node, work.check, doing.settings, _at_most(deadline))
            except (CachekitError, DeadlineError) as error:
                found = f"unknown ({error})"
            if found == work.release:
                return (f"runs {found}",)
        spent = doing.stop.reason or f"after {work.seconds:g} s"
        raise CachekitError(f"runs {shown(found)} and not {work.release} {spent}")

    return _each(on_each(work.nodes, wait))


def _looks(deadline: Deadline, stop: Stop) -> Iterator[None]:
    yield
    while not deadline.has_passed and not stop.reason:
        time.sleep(_LOOK_SECONDS)
        yield


def _at_most(deadline: Deadline) -> Deadline:
    """Give one look its own time: the last one, too, wants an answer."""
    left = 0.0 if deadline.has_passed else deadline.remaining()
    return Deadline(max(left, 5.0))


def _golive(work: GoLiveWork, doing: Doing) -> Done:
    actors = tuple(work.actors.values())
    conditions = doing.conditions(work.seconds)

    def put_in(node: Node) -> tuple[str, ...]:
        return doing.turns.put_in(node, actors, conditions)

    def take_out(node: Node) -> tuple[str, ...]:
        return doing.turns.take_out(node, actors, conditions)

    done = _each(on_each(work.nodes, put_in))
    if done.lost or not work.instead_of:
        return done
    # Only what is replaced for certain goes.
    out = _each(on_each(work.instead_of, take_out))
    return replace(out, evidence=(*done.evidence, *out.evidence))


_ACTS: dict[type[Work], Callable[[Any, Doing], Done]] = {
    CacheWork: _caches,
    WarmWork: _warm,
    CommandWork: _command,
    WaitWork: _wait,
    CheckWork: _check,
    GoLiveWork: _golive,
}
