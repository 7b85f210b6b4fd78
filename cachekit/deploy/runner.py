"""Runs a plan step by step, on record, until it is done, fails or is stopped."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from cachekit.deploy import journal as journals
from cachekit.deploy.acts import act, guarded
from cachekit.deploy.doing import Doing, Done, failed
from cachekit.deploy.history import Record
from cachekit.deploy.roll import Roll
from cachekit.deploy.work import DeployPlan, RollWork, Stage, Work
from cachekit.events import Listener, StepEnded, StepStarted
from cachekit.lock import locked_one
from cachekit.runs import NOT_STARTED, RunOutcome, RunReport, StepReport
from cachekit.warming.stop import Stop

LAST_SECONDS = 300.0
"""What `finally` and a rollback may take after a run was stopped."""

_GOOD = (RunOutcome.DONE, RunOutcome.DEGRADED, RunOutcome.SKIPPED)


def run_plan(  # noqa: PLR0913 - how a plan may be run
    plan: DeployPlan,
    state_dir: Path,
    *,
    stop: Stop,
    resume: Record | None = None,
    listeners: Sequence[Listener] = (),
    force: bool = False,
    patience: float = 0.0,
) -> RunReport:
    """Do what a plan says; what goes wrong with its steps is in the report.

    `resume` is the record of an earlier part of it. Waits `patience` seconds for another run of the
    site. Raises LockedError, JournalError.
    """
    with locked_one(
        state_dir,
        f"a plan of {plan.settings.site}",
        "run",
        patience=patience,
        stopped=lambda: bool(stop.reason),
    ):
        journal = journals.resume(resume) if resume else journals.start(state_dir, _facts(plan))
        try:
            return _Run(plan, journal, state_dir, stop, listeners, force).run()
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
    journal: journals.RunJournal
    state_dir: Path
    stop: Stop
    listeners: Sequence[Listener]
    force: bool

    def __post_init__(self) -> None:
        record = self.journal.record
        # What is final is of each part of a run.
        last = {work.id for stage in self.plan.last for work in stage}
        self.before = {k: v for k, v in record.steps.items() if _is_over(v) and k not in last}
        self.begun = frozenset(record.begun)
        self.turned = {key: dict(turns) for key, turns in record.turns_of.items()}
        self.steps: list[StepReport] = []
        self.wants_rollback = False
        self.is_ending = False
        self.journal.on_fault = self._stop_unrecorded

    def run(self) -> RunReport:
        self._stages(self.plan.stages, self._doing(self.plan, self.stop))
        self.is_ending = True
        if self.wants_rollback and self.plan.rollback is not None:
            self._back(self.plan.rollback)
        ended_early = self.stop.reason
        doing = self._doing(self.plan, self.stop.afterwards(LAST_SECONDS))
        self._stages(self.plan.last, doing, anyway=True)
        return self._report(ended_early)

    def _back(self, plan: DeployPlan) -> None:
        """Roll back all of it, as steps of their own."""
        self.journal.rolled_back(plan.name)
        seconds = LAST_SECONDS if self.stop.reason else plan.seconds
        prefixed = [tuple(replace(w, id=f"r{w.id}") for w in stage) for stage in plan.stages]
        self._stages(prefixed, self._doing(plan, self.stop.afterwards(seconds)), anyway=True)

    def _doing(self, plan: DeployPlan, stop: Stop) -> Doing:
        return Doing(
            settings=plan.settings,
            facts=plan.facts,
            state_dir=self.state_dir,
            stop=stop,
            journal=self.journal,
            listeners=self.listeners,
            begun=self.begun,
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
                # What was told to end goes on where it is resumed.
                may_roll_back = not anyway and not doing.stop.is_requested
                self.wants_rollback |= work.on_failure == "rollback" and may_roll_back

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
        if self.journal.fault and not self.is_ending:
            return self._note(work, failed(work, self.journal.fault), began)
        if isinstance(work, RollWork):
            roll = Roll(work, doing, self.turned.get(work.id, {}), self._part)
            return self._note(work, guarded(work, roll.run), began)
        return self._note(work, act(work, doing), began)

    def _part(self, work: Work, doing: Doing) -> Done:
        """Do one step of a roll, on record as any."""
        step = self._step(work, doing, "")
        self.steps.append(step)
        return Done(outcome=step.outcome, reason=step.reason, lost=step.lost)

    def _begin(self, work: Work) -> None:
        self.journal.started(work.id)
        self._tell(StepStarted(work.id, work.title))

    def _stop_unrecorded(self, fault: str) -> None:
        """Stop a run that cannot be recorded any more; what is done in the end is done even so."""
        if not self.is_ending and not self.stop.reason:
            self.stop.request(fault)

    def _note(self, work: Work, done: Done, began: float) -> StepReport:
        step = StepReport(
            id=work.id,
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
                "elapsed": time.time() - self.journal.record.run["started"],
            }
        )
        report = self.journal.record.report()
        faults = (self.journal.fault,) if self.journal.fault else ()
        return replace(report, warnings=(*report.warnings, *faults))

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
