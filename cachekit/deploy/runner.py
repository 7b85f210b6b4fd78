"""Runs a plan step by step, on record, until it is done, fails or is stopped."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from cachekit.deploy import journal as journals
from cachekit.deploy.acts import act
from cachekit.deploy.doing import Doing, Done, failed
from cachekit.deploy.roll import Roll
from cachekit.deploy.turns import Turns
from cachekit.deploy.work import DeployPlan, GoLiveWork, RollWork, Stage, Work
from cachekit.errors import CachekitError
from cachekit.events import Listener, StepEnded, StepStarted
from cachekit.lock import locked_one
from cachekit.runs import RunOutcome, RunReport, StepReport
from cachekit.warming.stop import Stop

LAST_SECONDS = 300.0
"""What `finally` and a rollback may take after a run was stopped."""

NOT_STARTED = "not started: "
"""How the reason begins of a step that should have been done, and was not."""

_GOOD = (RunOutcome.DONE, RunOutcome.DEGRADED, RunOutcome.SKIPPED)


def run_plan(  # noqa: PLR0913 - how a plan may be run
    plan: DeployPlan,
    state_dir: Path,
    *,
    stop: Stop,
    resume: journals.Record | None = None,
    listeners: Sequence[Listener] = (),
    force: bool = False,
    patience: float = 0.0,
) -> RunReport:
    """Do what a plan says; what goes wrong with its steps is in the report.

    `resume` is the record of an earlier part. Waits `patience` seconds for another run of the site.
    Raises LockedError, JournalError.
    """
    with locked_one(
        state_dir,
        f"a plan of {plan.settings.site}",
        "run",
        patience=patience,
        stopped=lambda: bool(stop.reason),
    ):
        if resume is None:
            journal, record = journals.start(state_dir, _facts(plan))
        else:
            journal, record = journals.RunJournal(resume.path), resume
            journal.write(resumed=True)
        try:
            return _Run(plan, record, journal, state_dir, stop, listeners, force).run()
        finally:
            journal.close()


def _facts(plan: DeployPlan) -> dict[str, object]:
    settings = plan.settings
    return {
        "plan": plan.name,
        "digest": plan.digest,
        "site": settings.site,
        "release": settings.release,
        "previous": settings.previous,
        "facts": dict(plan.facts),
        "started": time.time(),
        "warnings": plan.warnings,
    }


@dataclass
class _Run:
    plan: DeployPlan
    record: journals.Record
    journal: journals.RunJournal
    state_dir: Path
    stop: Stop
    listeners: Sequence[Listener]
    force: bool

    def __post_init__(self) -> None:
        self.turns = Turns(self.journal)
        self.before = {
            key: step
            for key, step in self.record.steps.items()
            if _is_over(step) and not self._was_failed(step)
        }
        self.steps: list[StepReport] = []
        self.wants_rollback = False

    def run(self) -> RunReport:
        self._start_out()
        self._stages(self.plan.stages, self._doing(self.plan, self.stop))
        ended_early = self.stop.reason
        if self.wants_rollback and self.plan.rollback is not None:
            self._back(self.plan.rollback)
        self._stages(self.plan.last, self._doing(self.plan, Stop(LAST_SECONDS)), anyway=True)
        return self._report(ended_early)

    def _was_failed(self, step: StepReport) -> bool:
        """Whether a part of a roll was for a node that failed: mended, it is done from the start.

        Its caches may hold what was made before.
        """
        turns = self.record.turns
        return "/" in step.id and any(turns.get(n, ("",))[0] == "failed" for n in step.nodes)

    def _start_out(self) -> None:
        """Take out what starts out and is put in by a later step: a readiness file of old days."""
        for work in self.plan.works:
            actors = [a for a in getattr(work, "actors", {}).values() if a.starts_out]
            if not isinstance(work, GoLiveWork) or not actors or work.id in self.before:
                continue
            conditions = self._doing(self.plan, self.stop).conditions(work.seconds)
            for node in work.nodes:
                try:
                    self.turns.take_out(node, actors, conditions)
                except CachekitError as error:
                    self._note(work, failed(work, str(error)), time.time(), f"{work.id}-out")

    def _back(self, plan: DeployPlan) -> None:
        """Roll back all of it: what an earlier part of the run did is of the other release."""
        self.journal.rolled_back()
        self.before, self.record = {}, replace(self.record, begun=set(), turns={})
        doing = self._doing(plan, Stop(LAST_SECONDS))
        prefixed = [tuple(replace(w, id=f"r{w.id}") for w in stage) for stage in plan.stages]
        self._stages(prefixed, doing, anyway=True)

    def _doing(self, plan: DeployPlan, stop: Stop) -> Doing:
        return Doing(
            settings=plan.settings,
            facts=plan.facts,
            state_dir=self.state_dir,
            stop=stop,
            turns=self.turns,
            listeners=self.listeners,
            begun=frozenset(self.record.begun),
            force=self.force,
        )

    def _stages(self, stages: Sequence[Stage], doing: Doing, *, anyway: bool = False) -> None:
        """Do stages in order; `anyway` are those that a failure before does not concern."""
        why_not = ""
        for stage in stages:
            why_not = why_not or (doing.stop.reason and f"{NOT_STARTED}{doing.stop.reason}")
            steps = list(self._stage(stage, doing, why_not))
            self.steps += steps
            for work, step in zip(stage, steps, strict=True):
                if step.outcome is not RunOutcome.FAILED or work.on_failure == "continue":
                    continue
                why_not = why_not or f"{NOT_STARTED}step {work.id} failed"
                self.wants_rollback |= work.on_failure == "rollback" and not anyway

    def _stage(self, stage: Stage, doing: Doing, why_not: str) -> Iterator[StepReport]:
        with ThreadPoolExecutor(max(1, len(stage))) as pool:
            yield from pool.map(lambda work: self._step(work, doing, why_not), stage)

    def _step(self, work: Work, doing: Doing, why_not: str) -> StepReport:
        if (earlier := self.before.get(work.id)) and earlier.title == work.title:
            step = replace(earlier, resumed=True)
            self._tell(StepEnded(step))
            return step
        if reason := work.skip or why_not:
            return self._note(work, Done(outcome=RunOutcome.SKIPPED, reason=reason), time.time())
        began = time.time()
        self._begin(work)
        if isinstance(work, RollWork):
            done = Roll(work, doing, self.record, self._part).run()
        else:
            done = act(work, doing)
        return self._note(work, done, began)

    def _part(self, work: Work, doing: Doing) -> Done:
        """Do one step of a roll, on record as any."""
        step = self._step(work, doing, "")
        self.steps.append(step)
        return Done(outcome=step.outcome, reason=step.reason, lost=step.lost)

    def _begin(self, work: Work) -> None:
        self.journal.started(work.id)
        self._tell(StepStarted(work.id, work.title))

    def _note(self, work: Work, done: Done, began: float, step_id: str = "") -> StepReport:
        step = StepReport(
            id=step_id or work.id,
            title=work.title,
            action=work.action,
            outcome=done.outcome,
            nodes=tuple(node.name for node in work.nodes),
            lost=dict(done.lost),
            reason=done.reason,
            evidence=done.evidence,
            warnings=done.warnings,
            started=began,
            elapsed=time.time() - began,
            document=done.document,
        )
        self.journal.ended(step)
        self._tell(StepEnded(step))
        return step

    def _report(self, ended_early: str) -> RunReport:
        outcome = max(map(_counted, self.steps), key=lambda o: o.rank, default=RunOutcome.DONE)
        self.journal.write(
            finished={
                "outcome": outcome,
                "exit_code": int(outcome.exit_code),
                "ended_early": ended_early if outcome is RunOutcome.FAILED else "",
                "elapsed": time.time() - self.record.run["started"],
            }
        )
        return journals.require(self.journal.path).report()

    def _tell(self, event: StepStarted | StepEnded) -> None:
        for listener in self.listeners:
            listener(event)


def _is_over(step: StepReport) -> bool:
    """Whether a step of an earlier part need not be done again."""
    return step.outcome in _GOOD and not step.reason.startswith(NOT_STARTED)


def _counted(step: StepReport) -> RunOutcome:
    """Give what a step means for the run: a roll sums its own up, what was not begun failed."""
    if step.outcome is RunOutcome.SKIPPED:
        not_begun = step.reason.startswith(NOT_STARTED)
        return RunOutcome.FAILED if not_begun else RunOutcome.DONE
    return RunOutcome.DONE if "/" in step.id else step.outcome
