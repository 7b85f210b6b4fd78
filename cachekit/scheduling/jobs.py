"""What is to be started when: the plans of the settings that have a `schedule:`."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cachekit.errors import ConfigError, Problem
from cachekit.model import shown
from cachekit.scheduling.cron import Cron, parse_cron
from cachekit.settings import Settings
from cachekit.step_settings import PlanSettings

_MAX_NAME = 52
"""Kubernetes adds 11 characters to the name of a CronJob, and 63 is its limit for names."""


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What all units of one rendering have in common. `jitter` is in seconds.

    `command` is how cachekit is called, `name` what the names of units begin with.
    """

    command: tuple[str, ...]
    settings: Path
    name: str = "cachekit"
    timezone: str = ""
    jitter: float = 30.0
    accept_degraded: bool = False
    hold_file: Path | None = None
    image: str = ""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One plan that is started by a schedule. `deadline` is in seconds, None if it has none."""

    name: str
    plan: str
    cron: Cron
    argv: tuple[str, ...]
    deadline: float | None

    @property
    def warnings(self) -> Iterator[str]:
        """Say what the plan lacks to be left alone."""
        if self.deadline is None:
            yield f"plan {self.plan} has no `deadline:`, so nothing ends a run that hangs"


def jobs_of(settings: Settings, plans: Sequence[str], terms: Terms) -> list[Job]:
    """Make a job of each plan that is named, or of all that have a schedule. Raises ConfigError."""
    _check(terms)
    problems: list[Problem] = []
    chosen = plans or [name for name, plan in settings.plans.items() if plan.schedule]
    if not chosen:
        raise ConfigError("no plan has a `schedule:`, such as schedule: '0 4 * * *'")
    jobs = [
        job
        for name in dict.fromkeys(chosen)
        if (job := _job(name, settings.plans.get(name), terms, problems))
    ]
    problems += _twins(jobs)
    if problems:
        raise ConfigError(problems)
    return jobs


def _check(terms: Terms) -> None:
    """Refuse what no unit can hold. Raises ConfigError."""
    if not re.fullmatch("[a-z0-9][a-z0-9-]*", terms.name):
        raise ConfigError(f"--name {terms.name}: expected a-z, 0-9 and -, as Kubernetes wants them")
    program = Path(terms.command[0])
    if len(program.parts) > 1 and not program.is_absolute():
        raise ConfigError(f"--command {program}: expected its whole path, or its name alone")
    for word in (*terms.command, str(terms.settings), str(terms.hold_file)):
        if not word.isprintable():
            raise ConfigError(f"{shown(word)}: what does not print cannot be in a unit")


def _job(name: str, plan: PlanSettings | None, terms: Terms, problems: list[Problem]) -> Job | None:
    where = f"plans.{name}"
    if plan is None:
        problems.append(Problem(where, "there is no such plan"))
        return None
    unit = f"{terms.name}-{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-')}"
    if len(unit) > _MAX_NAME:
        problems.append(Problem(where, f"{unit} is longer than {_MAX_NAME} characters"))
    try:
        cron = parse_cron(plan.schedule)
    except ValueError as error:
        problems.append(Problem(f"{where}.schedule", str(error)))
        return None
    argv = (*terms.command, "run", name, "--scheduled", "--settings", str(terms.settings))
    if terms.hold_file is not None:
        argv += ("--hold-file", str(terms.hold_file))
    return Job(name=unit, plan=name, cron=cron, argv=argv, deadline=plan.deadline)


def _twins(jobs: Sequence[Job]) -> Iterator[Problem]:
    first: dict[str, str] = {}
    for job in jobs:
        other = first.setdefault(job.name, job.plan)
        if other != job.plan:
            yield Problem("plans", f"{other} and {job.plan} would both be called {job.name}")
