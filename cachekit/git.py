"""Git, asked about the repository of a folder, whatever a hook has set for another one."""

from pathlib import Path

from cachekit.deadline import Deadline
from cachekit.errors import CommandError
from cachekit.transports.base import Completed
from cachekit.transports.local import Local

# A hook of git has set these, and they would go over the folder.
_GIT = ("env", "-u", "GIT_DIR", "-u", "GIT_WORK_TREE", "LC_ALL=C", "git")
_NO_COMMAND = 127


def ask_git(folder: Path, *arguments: str, deadline: Deadline) -> Completed:
    """Run one command of git. Raises CommandError where it cannot be run or is not done in time."""
    done = Local("").run((*_GIT, "-C", str(folder), *arguments), deadline=deadline)
    if done.status == _NO_COMMAND:
        raise CommandError("", "git is not installed")
    return done
