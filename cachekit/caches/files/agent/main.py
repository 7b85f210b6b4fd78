"""One job, one line of JSON as the answer."""

import json
import os
import sys

from cachekit.caches.files.agent import clears
from cachekit.caches.files.agent.trees import Job, LateError, MissingError, RefusedError, text

_ACTIONS = {"clear": clears.clear, "survey": clears.survey, "status": clears.status}


def main(job: Job) -> None:
    """Do the job and write the answer."""
    # What is made here gets its mode from what it stands for.
    os.umask(0o022)
    sys.stdout.write(json.dumps(answer(job)) + "\n")


def answer(job: Job) -> Job:
    """Do the job; what stood against it is an answer too."""
    try:
        return _act(job)
    except RefusedError as error:
        return {"refused": str(error)}
    except LateError as error:
        return {"late": str(error)}
    except MissingError as error:
        return {"missing": str(error)}
    except OSError as error:
        return {"error": _named(error)}


def _act(job: Job) -> Job:
    if job["action"] in _ACTIONS:
        return _ACTIONS[job["action"]](job)
    # What does others is sent along only for them.
    if job["action"] == "releases":
        from cachekit.caches.files.agent import censuses

        return censuses.releases(job)
    from cachekit.caches.files.agent import builds

    return builds.prime(job)


def _named(error: OSError) -> str:
    name = error.filename
    path = text(name) if isinstance(name, bytes) else str(name or "")
    return ": ".join(filter(None, (path, error.strerror)))
