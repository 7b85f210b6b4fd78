"""A look at all that a plan would touch: counts, standings, releases, times. Nothing is changed."""

import logging
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cachekit.caches.base import Conditions, Survey
from cachekit.deadline import Deadline, DeadlineError
from cachekit.deploy import history
from cachekit.deploy.doing import on_each
from cachekit.deploy.release_check import release_of
from cachekit.deploy.rollback import Spared, is_rollback, spared
from cachekit.deploy.room import without_room
from cachekit.deploy.turns import standing
from cachekit.deploy.work import (
    CacheWork,
    CheckWork,
    CommandWork,
    DeployPlan,
    GoLiveWork,
    PassiveWork,
    RollWork,
    StartOutWork,
    WaitWork,
    WarmWork,
    Work,
)
from cachekit.errors import CachekitError
from cachekit.execution import Limits
from cachekit.execution import survey as survey_caches
from cachekit.golive.base import GoLive, Standing
from cachekit.model import Node
from cachekit.outcomes import StepOutcome
from cachekit.plan import Action
from cachekit.quantities import format_bytes
from cachekit.runs import PlanForecast, RunOutcome, StepForecast, StepReport
from cachekit.warming.plan import plan_warm
from cachekit.warming.stop import Stop

LOOK_SECONDS = 20.0
_log = logging.getLogger(__name__)
_CHANGED = (RunOutcome.DONE, RunOutcome.DEGRADED)

Found = tuple[list[str], str, int]
"""What a look found: lines for people, why the step cannot work ("" if it can), its targets."""


def survey(plan: DeployPlan, state_dir: Path, *, force: bool = False) -> PlanForecast:
    """Look at what each step would touch. What cannot be known is said to be unknown."""
    looking = _Looking(plan, state_dir, force)
    steps = [looking.look(work, times) for work, times in _all_works(plan)]
    seconds = [step.seconds for step in steps if not step.skip]
    known = all(each is not None for each in seconds)
    return PlanForecast(
        plan=plan.name,
        site=plan.settings.site,
        release=plan.settings.release,
        previous=plan.settings.previous,
        facts=dict(plan.facts),
        warnings=plan.warnings,
        steps=tuple(steps),
        seconds=sum(each or 0.0 for each in seconds) if known else None,
    )


def _all_works(plan: DeployPlan) -> Iterator[tuple[Work, int]]:
    """Give all work in order, and how often it is done: once for each batch of a roll."""
    for work in plan.works:
        yield work, 1
        if isinstance(work, RollWork) and not work.skip:
            batches = math.ceil(len(work.nodes) / work.batch)
            yield from ((inner, batches) for stage in work.preview for inner in stage)


class _Looking:
    def __init__(self, plan: DeployPlan, state_dir: Path, force: bool) -> None:
        self._plan = plan
        self._state_dir = state_dir
        self._force = force
        self._took = _took_before(plan, state_dir)

    def look(self, work: Work, times: int) -> StepForecast:
        """Look at one step that is done so many times."""
        lines, refusal, targets = self._found(work) if not work.skip else ([], "", 0)
        return StepForecast(
            id=work.id,
            title=work.title,
            action=work.action,
            nodes=tuple(node.name for node in work.nodes),
            skip=work.skip,
            found=tuple(lines),
            refusal=refusal,
            seconds=self._seconds(work, targets, times),
        )

    def _found(self, work: Work) -> Found:
        try:
            return _LOOKS[type(work)](self, work)
        except (CachekitError, DeadlineError) as error:
            return [], str(error), 0
        except Exception as error:  # noqa: BLE001 - a bug in one look must not lose the others
            _log.error("step %s", work.id, exc_info=error)
            return [], f"a bug: {error!r}; please tell its author", 0

    def _seconds(self, work: Work, targets: int, times: int) -> float | None:
        """Estimate from the last run of the same step; of a warm by its targets."""
        if isinstance(work, WaitWork):
            return work.pause * times
        turns = isinstance(work, RollWork | PassiveWork | StartOutWork | GoLiveWork | CheckWork)
        elapsed, of = self._took.get((work.action, work.title), (0.0 if turns else None, 0))
        if elapsed is None:
            return None
        return elapsed * targets / of if of and targets else elapsed * times

    def caches(self, work: CacheWork) -> Found:
        """Count what would go, as `cachekit plan clear` does."""
        limits, conditions = Limits(step_seconds=LOOK_SECONDS), self._conditions()
        goes_back = is_rollback(self._plan.facts)
        spare = spared(work.plan, conditions) if goes_back else Spared(plan=work.plan)
        report = survey_caches(spare.plan, conditions, limits=limits, stop=Stop(None))
        lines, refusals = [*spare.kept, *(f"note: {note}" for note in report.notes)], []
        for step in report.steps:
            if step.outcome is StepOutcome.FAILED:
                refusals.append(f"{step.cache} at {step.place}: {step.reason}")
            else:
                lines.append(f"{step.cache} at {step.place}: {_counted(step.found)}")
        if work.plan.action is Action.CLEAR and report.steps:
            lines.append(f"blast radius: {report.blast_radius}")
        refusals += without_room(spare.plan, conditions)
        return lines, "; ".join(refusals), 0

    def warm(self, work: WarmWork) -> Found:
        """Collect the URLs, as `cachekit warm --dry-run` does."""
        with tempfile.TemporaryDirectory(prefix="cachekit-") as scratch:
            plan = plan_warm(
                work.settings,
                nodes=work.nodes,
                lists=work.lists,
                variants=work.variants,
                spool=Path(scratch) / "urls",
                stop=Stop(LOOK_SECONDS),
            )
            facts = plan.facts
        variants = f" x {len(facts.variants)} variants" if facts.variants else ""
        line = (
            f"{facts.urls:,} URLs{variants} x {len(facts.nodes)} nodes = {facts.targets:,} targets"
        )
        cuts = [f"left out: {count:,} x {reason}" for reason, count in facts.cuts.items()]
        return [line, *cuts, *facts.warnings], "", facts.targets

    def turns(self, work: PassiveWork | StartOutWork | GoLiveWork | RollWork) -> Found:
        """Ask where each node stands now."""
        nodes = (*work.nodes, *getattr(work, "instead_of", ()))
        found = on_each(nodes, lambda node: self._stands(node, tuple(work.actors.values())))
        unknown = [name for name, each in found.items() if each.startswith("unknown")]
        refusal = f"where is {', '.join(unknown)}? {found[unknown[0]]}" if unknown else ""
        return [f"{name}: {each}" for name, each in found.items()], refusal, 0

    def passive(self, work: PassiveWork) -> Found:
        """Ask where each node stands; one that visitors reach is not passive."""
        lines, refusal, _ = self.turns(work)
        live = [line for line in lines if f": {Standing.IN}: " in f"{line} "]
        return (
            lines,
            refusal or " ".join([*live, "is it the other way round?"] if live else []),
            0,
        )

    def releases(self, work: CheckWork) -> Found:
        """Tell which release each node runs now; it may well be the old one still."""
        settings = self._plan.settings
        found = on_each(
            work.nodes,
            lambda node: f"runs {release_of(node, work.check, settings, Deadline(LOOK_SECONDS))}",
        )
        return [f"{name}: {each}" for name, each in found.items()], "", 0

    def nothing(self, _work: Work) -> Found:
        """Say nothing of what cannot be looked at."""
        return [], "", 0

    def _stands(self, node: Node, actors: Sequence[GoLive]) -> str:
        try:
            turn = standing(node, actors, self._conditions())
        except CachekitError as error:
            return f"unknown: {error}"
        return f"{turn.standing}: {'; '.join((*turn.evidence, *turn.warnings))}"

    def _conditions(self) -> Conditions:
        settings = self._plan.settings
        return Conditions(
            deadline=Deadline(LOOK_SECONDS),
            state_dir=self._state_dir,
            site=settings.site,
            release=settings.release,
            previous=settings.previous,
            force=self._force,
        )


def _counted(found: object) -> str:
    if not isinstance(found, Survey) or found.found is None:
        return "cannot be counted beforehand"
    of_all = "" if found.total is None else f" of {found.total:,}"
    size = "" if found.size is None else f", {format_bytes(found.size)}"
    return f"{found.found:,}{of_all} entries{size}"


def _took_before(plan: DeployPlan, state_dir: Path) -> Mapping[tuple[str, str], tuple[float, int]]:
    """Give what steps took in the newest runs that did them: seconds, and targets of a warm.

    Runs of this plan go first: in others the same step may have found nothing to do.
    """
    took: dict[tuple[str, str], tuple[float, int]] = {}
    records = history.records(state_dir)
    for record in sorted(records, key=lambda record: record.run["plan"] != plan.name):
        if record.run["site"] != plan.settings.site:
            continue
        for step in record.parts:
            if step.outcome in _CHANGED and (step.action, step.title) not in took:
                targets = (step.document or {}).get("targets", 0)
                took[step.action, step.title] = (_own_seconds(step, record.parts), targets)
    return took


def _own_seconds(step: StepReport, parts: Sequence[StepReport]) -> float:
    """Give what a step took by itself; of a roll its turns, for its steps are counted apart."""
    within = sum(part.elapsed for part in parts if part.id.startswith(f"{step.id}/"))
    return max(0.0, step.elapsed - within)


_LOOKS: dict[type[Work], Callable[[_Looking, Any], Found]] = {
    CacheWork: _Looking.caches,
    WarmWork: _Looking.warm,
    CheckWork: _Looking.releases,
    PassiveWork: _Looking.passive,
    StartOutWork: _Looking.turns,
    GoLiveWork: _Looking.turns,
    RollWork: _Looking.turns,
    CommandWork: _Looking.nothing,
    WaitWork: _Looking.nothing,
}
