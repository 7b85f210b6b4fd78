"""Units for scheduled runs: options to terms, one rendering, files or stdout."""

import os
import shlex
import shutil
import sys
import zoneinfo
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from cachekit import config
from cachekit.cli import choices
from cachekit.errors import ConfigError
from cachekit.near_misses import did_you_mean
from cachekit.scheduling import crontab, kubernetes, systemd
from cachekit.scheduling.directory import write_all
from cachekit.scheduling.jobs import Terms, jobs_of

_RENDERERS = {
    "systemd": systemd.render,
    "cron": crontab.render,
    "kubernetes": kubernetes.render,
}
_IN_A_POD = Path("/etc/cachekit")


def render(options: Mapping[str, Any]) -> int:
    """Render what the options say, and write it. Raises CachekitError."""
    settings = choices.settings_from_file(options["settings_path"], os.environ)
    terms = _terms(options)
    jobs = jobs_of(settings, options["plans"], terms)
    files = _RENDERERS[options["kind"]](jobs, terms)
    for warning in (warning for job in jobs for warning in job.warnings):
        click.echo(f"cachekit: WARNING: {warning}", err=True)
    if options["directory"] is None:
        click.echo("\n".join(files.values()), nl=False)
        return 0
    for path in write_all(options["directory"], files, force=options["force"]):
        click.echo(f"wrote {path}", err=True)
    return 0


def _terms(options: Mapping[str, Any]) -> Terms:
    in_a_pod = options["kind"] == "kubernetes"
    settings = Path(config.find(options["settings_path"], os.environ) or "").absolute()
    return Terms(
        command=_words(options["command"] or ("cachekit" if in_a_pod else _this())),
        settings=_IN_A_POD / settings.name if in_a_pod else settings,
        name=options["name"],
        timezone=_time_zone(options["timezone"]),
        jitter=options["jitter"],
        accept_degraded=options["accept_degraded"],
        hold_file=options["hold_file"] and options["hold_file"].absolute(),
        image=options["image"],
    )


def _words(command: str) -> tuple[str, ...]:
    try:
        words = tuple(shlex.split(command))
    except ValueError as error:
        raise ConfigError(f"--command {command}: {error}") from error
    if not words:
        raise ConfigError("--command: is empty")
    return words


def _this() -> str:
    """Give the path of the command that runs, or how Python runs it."""
    called = shutil.which(sys.argv[0])
    if called and Path(called).name == "cachekit":
        return shlex.quote(str(Path(called).absolute()))
    return shlex.join((sys.executable, "-m", "cachekit"))


def _time_zone(name: str) -> str:
    known = zoneinfo.available_timezones() if name else {""}
    if name not in known:
        raise ConfigError(f"--timezone {name}: no such time zone{did_you_mean(name, known)}")
    return name
