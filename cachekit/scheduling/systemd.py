"""Jobs as systemd units: a service that runs once, and the timer that starts it."""

from collections.abc import Iterator, Sequence

from cachekit.scheduling.cron import Cron, spans
from cachekit.scheduling.jobs import Job, Terms

_DAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")
_GRACE_SECONDS = 60
"""Beyond the plan's own deadline, at which it ends in order and still writes its report."""

_SERVICE = """\
# {name}.service, by `cachekit schedule render systemd`
[Unit]
Description=cachekit run {plan}
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
ExecStart={command}
TimeoutStartSec={timeout}
# 75: held, or another run has the lock{degraded}
SuccessExitStatus={success}
"""

_TIMER = """\
# {name}.timer, by `cachekit schedule render systemd`
[Unit]
Description=cachekit run {plan}: {cron}

[Timer]
{calendars}
Persistent=true
RandomizedDelaySec={jitter:g}
AccuracySec=1s

[Install]
WantedBy=timers.target
"""


def render(jobs: Sequence[Job], terms: Terms) -> dict[str, str]:
    """Write a service and a timer for each job, by file name."""
    files = {}
    for job in jobs:
        files[f"{job.name}.service"] = _service(job, terms)
        files[f"{job.name}.timer"] = _timer(job, terms)
    return files


def calendars(cron: Cron, timezone: str = "") -> list[str]:
    """Write OnCalendar expressions, of which any one being due is enough (systemd.time(7))."""
    months = _listed(cron.months, 12)
    clock = f"{_listed(cron.hours, 24)}:{_listed(cron.minutes, 60)}:00 {timezone}".rstrip()
    by_day = f"*-{months}-{_listed(cron.days, 31)} {clock}"
    weekdays = ",".join(_DAYS[day] for day in cron.weekdays)
    if not cron.either_day:
        return [by_day if len(cron.weekdays) == len(_DAYS) else f"{weekdays} {by_day}"]
    by_weekday = f"{weekdays} *-{months}-* {clock}"
    # systemd has no day of the month OR of the week within one expression.
    return [by_day, by_weekday] if cron.has_such_days else [by_weekday]


def _listed(values: Sequence[int], full: int) -> str:
    return "*" if len(values) == full else ",".join(_spans(values))


def _spans(values: Sequence[int]) -> Iterator[str]:
    for first, last in spans(values):
        yield f"{first:02}" if first == last else f"{first:02}..{last:02}"


def _service(job: Job, terms: Terms) -> str:
    endless = job.deadline is None
    return _SERVICE.format(
        name=job.name,
        plan=_escaped(job.plan),
        command=" ".join(map(_quoted, job.argv)),
        timeout="infinity" if endless else f"{(job.deadline or 0) + _GRACE_SECONDS:g}",
        degraded="; 3: degraded" if terms.accept_degraded else "",
        success="75 3" if terms.accept_degraded else "75",
    )


def _timer(job: Job, terms: Terms) -> str:
    return _TIMER.format(
        name=job.name,
        plan=_escaped(job.plan),
        cron=job.cron,
        calendars="\n".join(f"OnCalendar={each}" for each in calendars(job.cron, terms.timezone)),
        jitter=terms.jitter,
    )


def _escaped(text: str) -> str:
    return text.replace("%", "%%")


def _quoted(word: str) -> str:
    """Quote one word of ExecStart (systemd.service(5), "Command lines")."""
    text = _escaped(word).replace("$", "$$")
    if text and not set(text) & set(" \t'\"\\;"):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
