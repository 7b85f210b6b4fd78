"""Jobs as Kubernetes CronJobs (batch/v1)."""

import json
from collections.abc import Sequence

from cachekit.errors import ConfigError, Problem
from cachekit.scheduling.cron import Cron
from cachekit.scheduling.jobs import Job, Terms

_GRACE_SECONDS = 60

# What varies is written as JSON, which is YAML, so that no text can become something else.
_CRON_JOB = """\
---
# {file}, by `cachekit schedule render kubernetes`; the settings are those of
# kubectl create configmap {config_map} --from-file={settings_name}
apiVersion: batch/v1
kind: CronJob
metadata:
  name: {name}
spec:
  schedule: {schedule}
{time_zone}\
  concurrencyPolicy: Forbid
  startingDeadlineSeconds: 600
  successfulJobsHistoryLimit: 3
  failedJobsHistoryLimit: 3
  jobTemplate:
    spec:
      backoffLimit: 0
{deadline}\
      template:
        spec:
          restartPolicy: Never
          containers:
            - name: cachekit
              image: {image}
              command: {argv}
              env:
                - {{name: XDG_STATE_HOME, value: /var/lib}}
              volumeMounts:
                - {{name: settings, mountPath: {folder}, readOnly: true}}
                - {{name: state, mountPath: /var/lib/cachekit}}
          volumes:
            - name: settings
              configMap: {{name: {config_map}}}
            - name: state
              emptyDir: {{}}
"""


def render(jobs: Sequence[Job], terms: Terms) -> dict[str, str]:
    """Write a CronJob for each job, by file name. Raises ConfigError."""
    problems = [Problem(f"plans.{j.plan}.schedule", why) for j in jobs if (why := _unlike(j.cron))]
    if problems:
        raise ConfigError(problems)
    return {f"{job.name}.yaml": _cron_job(job, terms) for job in jobs}


def _cron_job(job: Job, terms: Terms) -> str:
    zone, deadline = terms.timezone, job.deadline
    return _CRON_JOB.format(
        file=f"{job.name}.yaml",
        name=job.name,
        schedule=json.dumps(_schedule(job.cron)),
        time_zone=f"  timeZone: {json.dumps(zone)}\n" if zone else "",
        deadline=(
            f"      activeDeadlineSeconds: {int(deadline) + _GRACE_SECONDS}\n" if deadline else ""
        ),
        image=json.dumps(terms.image),
        # Kubernetes would put values in the place of $(NAME).
        argv=json.dumps([word.replace("$(", "$$(") for word in job.argv]),
        folder=json.dumps(str(terms.settings.parent)),
        config_map=f"{terms.name}-settings",
        settings_name=terms.settings.name,
    )


def _schedule(cron: Cron) -> str:
    # Kubernetes knows no 7 for Sunday.
    weekdays = cron.fields[4]
    if not weekdays.startswith("*"):
        weekdays = ",".join(map(str, cron.weekdays))
    return " ".join((*cron.fields[:4], weekdays))


def _unlike(cron: Cron) -> str:
    """Say why Kubernetes would read an expression otherwise than cron; "" if it would not.

    Its parser (robfig/cron) takes a field for unrestricted only if it is `*`, not if it is `*/2`.
    """
    days, weekdays = cron.fields[2], cron.fields[4]
    if cron.either_day or "*" in (days, weekdays):
        return ""
    return f"Kubernetes would take day {days} OR weekday {weekdays}, where cron takes both; use one"
