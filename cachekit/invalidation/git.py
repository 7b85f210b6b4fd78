"""Changes between two revisions of a git repository."""

import os
from pathlib import Path

from cachekit.deadline import Deadline
from cachekit.errors import ConfigError
from cachekit.git import ask_git
from cachekit.invalidation.changes import FileChange, name_status

# What users set in their git configuration must not change what is listed.
_PLAIN = ("--no-renames", "--no-ext-diff", "--no-textconv", "--ignore-submodules=dirty")
_DIFF = ("diff", "--name-status", "-z", "--no-relative", *_PLAIN)


def between_revisions(old: str, new: str, repository: Path, deadline: Deadline) -> list[FileChange]:
    """List what differs, by paths from the top of the repository.

    Raises ConfigError, CommandError and DeadlineError.
    """
    for revision in (old, new):
        if not revision or revision.startswith("-"):
            raise ConfigError(f"{revision!r} is no revision; is a variable not set?")
    deadline.remaining()
    done = ask_git(repository, *_DIFF, old, new, "--", deadline=deadline)
    if done.status:
        lines = os.fsdecode(done.stderr).strip().splitlines()
        said = lines[0] if lines else f"exit status {done.status}"
        raise ConfigError(
            f"git diff {old} {new} in {repository}: {said}; both must be revisions of a git"
            " repository there (a shallow clone lacks old ones: fetch more), or both directories or"
            " manifests"
        )
    return list(name_status(os.fsdecode(done.stdout).split("\0")[:-1]))
