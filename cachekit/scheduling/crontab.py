"""Jobs as lines of a crontab."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from cachekit.errors import ConfigError
from cachekit.scheduling.jobs import Job, Terms

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
    folder = str(Path(terms.command[0]).parent)
    path = _STANDARD_PATH if folder in _STANDARD_PATH.split(":") else f"{folder}:{_STANDARD_PATH}"
    lines = [f"{job.cron} {_command(job, terms)}\n" for job in jobs]
    name = terms.name
    return {f"{name}.cron": _HEAD.format(name=name, path=path) + "".join(lines)}


def _command(job: Job, terms: Terms) -> str:
    """Keep what is said, and say it only if the run failed."""
    fine = "75|3" if terms.accept_degraded else "75"
    command = (
        f"said=$({shlex.join(job.argv)} 2>&1) || case $? in {fine}) ;;"
        """ *) printf '%s\\n' "$said"; exit 1 ;; esac"""
    )
    # crontab(5): a % ends the command, unless a backslash stands before it.
    return command.replace("%", r"\%")
