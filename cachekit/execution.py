"""Runs a plan: stages in order, steps side by side, limits and deadlines.

The one place where errors become results.
"""

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import cast

from cachekit.caches.base import (
    Change,
    Conditions,
    Guarded,
    Primable,
    Releasing,
    Status,
    Survey,
    Surveyable,
)
from cachekit.caches.records import read_records
from cachekit.caches.releases import Releases
from cachekit.deadline import Deadline, DeadlineError
from cachekit.errors import CachekitError, RefusedError, UnreachableError
from cachekit.outcomes import ActionReport, StepOutcome, StepResult, judged
from cachekit.plan import Action, Plan, Step
from cachekit.quantities import format_share
from cachekit.warming.stop import Stop

MAX_WORKERS = 32
_log = logging.getLogger(__name__)
_LOOK_SECONDS = 0.2

Found = Change | Status | Survey | Releases
Act = Callable[[Step, Conditions], Found]
StepListener = Callable[[StepResult], None]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How a plan is run: seconds for each step, and whether outer layers go on after a failure."""

    step_seconds: float = 120.0
    keep_going: bool = False
    workers: int = MAX_WORKERS


def execute(
    plan: Plan,
    conditions: Conditions,
    *,
    limits: Limits,
    stop: Stop,
    listener: StepListener | None = None,
) -> ActionReport:
    """Do what the plan says; whatever goes wrong with a step is in its result."""
    return _run(plan, _do, conditions, limits, stop, listener)


def survey(plan: Plan, conditions: Conditions, *, limits: Limits, stop: Stop) -> ActionReport:
    """Look at what the plan would touch; nothing is changed."""
    limits = replace(limits, keep_going=True)
    report = _run(plan, _survey, conditions, limits, stop, None)
    return replace(report, action=f"plan {plan.action}")


def _run(
    plan: Plan,
    act: Act,
    conditions: Conditions,
    limits: Limits,
    stop: Stop,
    listener: StepListener | None,
) -> ActionReport:
    began = time.monotonic()
    results: list[StepResult] = []
    with ThreadPoolExecutor(min(limits.workers, max(1, len(plan.steps)))) as pool:
        for stage in plan.stages:
            reason = _why_not(results, limits, stop)
            done = (
                (_skipped(step, reason) for step in stage)
                if reason
                else _stage(stage, pool, act, conditions, limits, stop)
            )
            for result in done:
                if listener is not None:
                    listener(result)
                results.append(result)
    order = {(step.name, step.place): number for number, step in enumerate(plan.steps)}
    return ActionReport(
        action=plan.action.value,
        what=plan.what,
        steps=tuple(sorted(results, key=lambda each: order[each.cache, each.place])),
        elapsed=time.monotonic() - began,
        notes=plan.notes,
        ended_early=stop.reason,
    )


def _why_not(results: list[StepResult], limits: Limits, stop: Stop) -> str:
    if stop.reason:
        return f"not started: {stop.reason}"
    failed = [each for each in results if each.outcome is StepOutcome.FAILED]
    if not failed or limits.keep_going:
        return ""
    first = failed[0]
    return (
        f"not started: {first.cache} at {first.place} failed, and an outer cache would only refill"
        " from it; --keep-going goes on all the same"
    )


def _stage(
    stage: tuple[Step, ...],
    pool: ThreadPoolExecutor,
    act: Act,
    conditions: Conditions,
    limits: Limits,
    stop: Stop,
) -> Iterator[StepResult]:
    """Yield each step's result when it ends; after a stop, what has not begun is skipped."""
    running: dict[Future[StepResult], Step] = {
        pool.submit(_step, step, act, conditions, limits.step_seconds): step for step in stage
    }
    while running:
        done, _ = wait(running, timeout=_LOOK_SECONDS, return_when=FIRST_COMPLETED)
        for future in done:
            yield future.result()
            del running[future]
        if stop.reason:
            for future in [each for each in running if each.cancel()]:
                yield _skipped(running.pop(future), f"not started: {stop.reason}")


def _skipped(step: Step, reason: str) -> StepResult:
    return _result(step, StepOutcome.SKIPPED, reason=reason)


def _step(step: Step, act: Act, conditions: Conditions, seconds: float) -> StepResult:
    began = time.monotonic()
    try:
        found = act(step, replace(conditions, deadline=Deadline(seconds)))
    except CachekitError as error:
        result = _result(step, StepOutcome.FAILED, reason=str(error))
    except DeadlineError as error:
        reason = str(UnreachableError(step.place, f"{error}; it may be done in part"))
        result = _result(step, StepOutcome.FAILED, reason=reason)
    except Exception as error:  # noqa: BLE001 - a bug of one adapter must not lose what others did
        _log.error("%s at %s", step.name, step.place, exc_info=error)
        reason = f"a bug in {type(step.cache).__name__}: {error!r}; please tell its author"
        result = _result(step, StepOutcome.FAILED, reason=reason)
    else:
        outcome, reason = StepOutcome.DONE, ""
        if isinstance(found, Change):
            outcome, reason = judged(found)
        result = replace(_result(step, outcome, reason=reason), found=found)
    return replace(result, elapsed=time.monotonic() - began)


def _result(step: Step, outcome: StepOutcome, *, reason: str) -> StepResult:
    return StepResult(
        cache=step.name, place=step.place, layer=step.layer, outcome=outcome, reason=reason
    )


def _do(step: Step, conditions: Conditions) -> Found:
    return _ACTS[step.action](step, conditions)


def _clear(step: Step, conditions: Conditions) -> Change:
    (place,) = step.places
    if isinstance(step.cache, Guarded) and not conditions.force and _has_guards(step.cache):
        _check_guards(step, step.cache, step.cache.survey(place, step.scope, conditions))
    return step.cache.clear(place, step.scope, conditions)


def _has_guards(cache: Guarded) -> bool:
    return cache.max_keys is not None or cache.max_share is not None


def _check_guards(step: Step, cache: Guarded, found: Survey) -> None:
    """Refuse a clear that would remove more than the settings allow. Raises RefusedError."""
    if not _has_guards(cache):
        return
    if found.found is None:
        raise RefusedError(step.place, "max_keys or max_share is set, and it cannot be counted")
    if cache.max_keys is not None and found.found > cache.max_keys:
        raise RefusedError(
            step.place,
            f"{found.found:,} entries would go, more than max_keys {cache.max_keys:,}; nothing was"
            " removed; --force lifts the guard",
        )
    if cache.max_share is not None and found.found > cache.max_share * (found.total or 0):
        raise RefusedError(
            step.place,
            f"{found.found:,} of {found.total or 0:,} entries would go, more than max_share"
            f" {format_share(cache.max_share)}; nothing was removed; --force lifts the guard",
        )


def _prime(step: Step, conditions: Conditions) -> Change:
    cache = cast("Primable", step.cache)
    return cache.prime(step.places, step.filling, conditions)


def _status(step: Step, conditions: Conditions) -> Status:
    return step.cache.status(step.places[0], conditions)


def _releases(step: Step, conditions: Conditions) -> Releases:
    return cast("Releasing", step.cache).releases(step.places[0], conditions)


def _survey(step: Step, conditions: Conditions) -> Survey:
    if step.action is Action.PRIME and step.filling.kind == "file":
        return Survey(found=sum(1 for _ in read_records(step.filling, conditions.deadline)))
    if step.action is not Action.CLEAR or not isinstance(step.cache, Surveyable):
        return Survey()
    found = step.cache.survey(step.places[0], step.scope, conditions)
    if isinstance(step.cache, Guarded) and not conditions.force:
        _check_guards(step, step.cache, found)
    return found


_ACTS: dict[Action, Act] = {
    Action.CLEAR: _clear,
    Action.PRIME: _prime,
    Action.STATUS: _status,
    Action.RELEASES: _releases,
}
