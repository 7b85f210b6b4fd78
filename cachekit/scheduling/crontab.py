"""Jobs as lines of a crontab."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from cachekit.errors import ConfigError, Problem
from cachekit.scheduling.jobs import Job, Terms

_LONGEST = 998
"""Debian's cron takes no longer command."""
_STANDARD_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_HEAD = """\
# {name}.cron, by `cachekit schedule render cron`: for `crontab`, not for /etc/cron.d
# Mail comes only of failures; a run that is held or finds another one running (75) is none.
SHELL=/bin/sh
PATH={path}
"""


def render(jobs: Sequence[Job], terms: Terms) -> dict[str, str]:
    """Write one crontab for all jobs, by file name. Raises ConfigError."""
    if terms.timezone:
        raise ConfigError(
            "--timezone: Debian's cron takes none in a crontab; write the times in that of the"
            " machine, or render systemd or kubernetes"
        )
    commands = [_command(job, terms) for job in jobs]
    problems = [
        Problem(f"plans.{job.plan}", "its command is too long for cron; give shorter paths")
        for job, command in zip(jobs, commands, strict=True)
        if len(command.encode()) > _LONGEST
    ]
    if problems:
        raise ConfigError(problems)
    lines = [f"{job.cron} {command}\n" for job, command in zip(jobs, commands, strict=True)]
    head = _HEAD.format(name=terms.name, path=_search_path(Path(terms.command[0])))
    return {f"{terms.name}.cron": head + "".join(lines)}


def _search_path(program: Path) -> str:
    """Find what lies beside the program as well; by its name alone it lies nowhere else."""
    folder = str(program.parent)
    if not program.is_absolute() or folder in _STANDARD_PATH.split(":"):
        return _STANDARD_PATH
    return f"{folder}:{_STANDARD_PATH}"


def _command(job: Job, terms: Terms) -> str:
    """Keep what is said, and say it only if the run failed."""
    fine = "75|3" if terms.accept_degraded else "75"
    command = (
        f"said=$({shlex.join(job.argv)} 2>&1) || case $? in {fine}) ;;"
        """ *) printf '%s\\n' "$said"; exit 1 ;; esac"""
    )
    # crontab(5): a % ends the command, unless a backslash stands before it.
    return command.replace("%", r"\%")
