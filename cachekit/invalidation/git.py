"""Changes between two revisions of a git repository."""

import os
from pathlib import Path

from cachekit.deadline import Deadline
from cachekit.errors import ConfigError, SourceError
from cachekit.git import ask_git
from cachekit.invalidation.changes import FileChange, name_status

# What users set in their git configuration must not change what is listed.
_PLAIN = ("--no-renames", "--no-ext-diff", "--no-textconv", "--ignore-submodules=dirty")
_DIFF = ("diff", "--name-status", "-z", "--no-relative", *_PLAIN)


def between_revisions(old: str, new: str, repository: Path, deadline: Deadline) -> list[FileChange]:
    """List what differs, by paths from the top of the repository.

    Raises ConfigError, SourceError, CommandError and DeadlineError.
    """
    for revision in (old, new):
        if not revision or revision.startswith("-"):
            raise ConfigError(f"{revision!r} is no revision; is a variable not set?")
    deadline.remaining()
    done = ask_git(repository, *_DIFF, old, new, "--", deadline=deadline)
    if done.status:
        said = os.fsdecode(done.stderr).strip().splitlines()
        raise SourceError(
            f"git diff {old} {new} in {repository}",
            f"{said[0] if said else f'exit status {done.status}'}; both must be revisions of a git"
            " repository there (a shallow clone lacks old ones: fetch more), or both directories or"
            " manifests",
        )
    return list(name_status(os.fsdecode(done.stdout).split("\0")[:-1]))
