"""Doing one step of a plan: whatever goes wrong is in what it returns."""

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

from cachekit.caches.base import Conditions
from cachekit.deadline import Deadline, DeadlineError
from cachekit.deploy.doing import Doing, Done, failed, on_each, summed_up
from cachekit.deploy.release_check import release_of
from cachekit.deploy.rollback import Spared, is_rollback, spared
from cachekit.deploy.texts import expanded
from cachekit.deploy.turns import Turns, standing
from cachekit.deploy.warm import warm
from cachekit.deploy.work import (
    CacheWork,
    CheckWork,
    CommandWork,
    GoLiveWork,
    PassiveWork,
    StartOutWork,
    WaitWork,
    WarmWork,
    Work,
    by_place,
)
from cachekit.documents import action_document
from cachekit.errors import CachekitError, CommandError
from cachekit.execution import MAX_WORKERS, Limits, execute
from cachekit.golive.base import Standing
from cachekit.model import Node, shown
from cachekit.outcomes import ActionReport, StepOutcome
from cachekit.plan import Plan
from cachekit.runs import RunOutcome
from cachekit.transports import transport_to
from cachekit.warming.stop import Stop

_log = logging.getLogger(__name__)
_LOOK_SECONDS = 0.5
_SAID = 200


def act(work: Work, doing: Doing) -> Done:
    """Do one step."""
    return guarded(work, lambda: _ACTS[type(work)](work, doing))


def guarded(work: Work, do: Callable[[], Done]) -> Done:
    """Do a step; an error is what it comes to."""
    try:
        return do()
    except (CachekitError, DeadlineError) as error:
        return failed(work, str(error))
    except Exception as error:  # noqa: BLE001 - a bug in one step must not lose what others did
        _log.error("step %s", work.id, exc_info=error)
        return failed(work, f"a bug: {error!r}; please tell its author")


def _caches(work: CacheWork, doing: Doing) -> Done:
    conditions = doing.conditions(work.seconds)
    spare = spared(work.plan, conditions) if is_rollback(doing.facts) else Spared(plan=work.plan)
    if not spare.plan.steps:
        return Done(evidence=spare.kept)
    report = _executed(work, spare.plan, conditions, doing.stop)
    steps = {(step.name, step.place): step for step in work.plan.steps}
    lost: dict[str, str] = {}
    for result in report.steps:
        if result.outcome is not StepOutcome.DONE:
            for place in steps[result.cache, result.place].places:
                if place.node is not None:
                    lost.setdefault(place.node.name, f"{result.cache}: {result.reason}")
    return Done(
        outcome=RunOutcome(report.outcome.value),
        reason=_first_reason(report) or report.ended_early,
        lost=lost,
        evidence=spare.kept,
        document=action_document(report, report.exit_code),
    )


def _executed(work: CacheWork, plan: Plan, conditions: Conditions, stop: Stop) -> ActionReport:
    limits = Limits(step_seconds=work.seconds)
    # Apart, what fails on one node does not keep the others from what is further out.
    plans = by_place(plan) if work.apart else [plan]
    with ThreadPoolExecutor(min(MAX_WORKERS, len(plans))) as pool:
        run = partial(execute, conditions=conditions, limits=limits, stop=stop)
        reports = list(pool.map(run, plans))
    return replace(
        reports[0],
        steps=tuple(step for report in reports for step in report.steps),
        elapsed=max(report.elapsed for report in reports),
        ended_early=next((each.ended_early for each in reports if each.ended_early), ""),
    )


def _first_reason(report: ActionReport) -> str:
    bad = [step for step in report.steps if step.outcome is not StepOutcome.DONE]
    more = f"; and {len(bad) - 1} more" if len(bad) > 1 else ""
    return f"{bad[0].cache} at {bad[0].place}: {bad[0].reason}{more}" if bad else ""


def _command(work: CommandWork, doing: Doing) -> Done:
    deadline = Deadline(work.seconds, cut=doing.stop.is_urgent)
    facts = doing.facts

    def run(node: Node | None) -> str:
        name = node.name if node else ""
        words = [expanded(word, {**facts, "node": name}) for word in work.argv]
        named = {"RELEASE": facts.get("release", ""), "PREVIOUS": facts.get("previous", "")}
        told = [f"CACHEKIT_{key}={value}" for key, value in {**named, "NODE": name}.items()]
        try:
            done = transport_to(node).run(["env", *told, *words], deadline=deadline)
        except CommandError as error:
            cut = doing.stop.is_urgent()
            why = "cut short" if cut else f"not done within {work.seconds:g} s"
            raise CachekitError(f"{words[0]} was ended: {why}") from error
        said = _last_line(done.stderr if done.status else done.stdout or done.stderr)
        if done.status:
            raise CachekitError(f"{words[0]} ended with status {done.status}{said and ': '}{said}")
        return f"status 0{f': {said}' if said else ''}"

    if work.here:
        return Done(evidence=(run(None),))
    return summed_up(on_each(work.nodes, lambda node: (run(node),)))


def _last_line(output: bytes) -> str:
    lines = output.decode(errors="replace").strip().splitlines()
    return shown(lines[-1][:_SAID]) if lines else ""


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
        spent = f": {doing.stop.reason}" if doing.stop.reason else f" after {work.seconds:g} s"
        raise CachekitError(f"runs {shown(found)} and not {work.release}{spent}")

    return summed_up(on_each(work.nodes, wait))


def _looks(deadline: Deadline, stop: Stop) -> Iterator[None]:
    yield
    while not deadline.has_passed and not stop.reason:
        time.sleep(_LOOK_SECONDS)
        yield


def _at_most(deadline: Deadline) -> Deadline:
    """Give one look its own time: the last one, too, wants an answer."""
    left = 0.0 if deadline.has_passed else deadline.remaining()
    return Deadline(max(left, 5.0))


def _passive(work: PassiveWork, doing: Doing) -> Done:
    """Look that nodes are out: what is done to them now would be done to visitors."""

    def look(node: Node) -> tuple[str, ...]:
        turn = standing(node, tuple(work.actors.values()), doing.conditions(work.seconds))
        if turn.standing is Standing.IN:
            said = "; ".join(turn.evidence)
            raise CachekitError(f"is in, and was to be passive: {said}; is it the other way round?")
        return (f"{turn.standing}: {'; '.join((*turn.evidence, *turn.warnings))}",)

    return summed_up(on_each(work.nodes, look))


def _start_out(work: StartOutWork, doing: Doing) -> Done:
    turns = Turns(doing.journal, work.id, tuple(work.actors.values()))
    take_out = partial(_turn, turns.take_out, work, doing)
    return summed_up(on_each(work.nodes, take_out))


def _golive(work: GoLiveWork, doing: Doing) -> Done:
    turns = Turns(doing.journal, work.id, tuple(work.actors.values()))
    put_in = partial(_turn, turns.put_in, work, doing)
    take_out = partial(_turn, turns.take_out, work, doing)
    done = summed_up(on_each(work.nodes, put_in))
    if done.lost or not work.instead_of:
        return done
    # Only what is replaced for certain goes.
    out = summed_up(on_each(work.instead_of, take_out))
    return replace(out, evidence=(*done.evidence, *out.evidence))


def _turn(
    turn: Callable[[Node, Conditions], tuple[str, ...]], work: Work, doing: Doing, node: Node
) -> tuple[str, ...]:
    return turn(node, doing.conditions(work.seconds))


_ACTS: dict[type[Work], Callable[[Any, Doing], Done]] = {
    CacheWork: _caches,
    WarmWork: warm,
    CommandWork: _command,
    WaitWork: _wait,
    CheckWork: _check,
    PassiveWork: _passive,
    StartOutWork: _start_out,
    GoLiveWork: _golive,
}
