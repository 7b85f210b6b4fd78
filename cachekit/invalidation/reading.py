"""Where changes come from: two revisions or trees to compare, or a list on standard input."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from cachekit.deadline import Deadline, DeadlineError
from cachekit.errors import ConfigError, SourceError
from cachekit.invalidation.changes import FileChange, once
from cachekit.invalidation.git import between_revisions
from cachekit.invalidation.listings import from_paths, from_rsync
from cachekit.invalidation.trees import between_trees, read_tree

Changes = tuple[FileChange, ...]
LISTINGS: Mapping[str, Callable[[bytes], Iterable[FileChange]]] = {
    "paths": from_paths,
    "rsync": from_rsync,
}


def read_between(old: str, new: str, repository: Path, deadline: Deadline) -> Changes:
    """Compare two directories or manifests where both names are those of files, else revisions.

    Raises CachekitError.
    """
    here = [name != "" and Path(name).exists() for name in (old, new)]
    if any(here) and not all(here):
        found, missing = (old, new) if here[0] else (new, old)
        raise ConfigError(
            f"{found} is a file or directory, and {missing} is none; name two of them, or two"
            " revisions (refs/tags/NAME, if a directory is called like a tag)"
        )
    try:
        if not all(here):
            return _sorted(between_revisions(old, new, repository, deadline))
        trees = [read_tree(Path(name), deadline) for name in (old, new)]
        return _sorted(between_trees(*trees))
    except DeadlineError as error:
        raise SourceError(f"{old} and {new}", f"{error}; --deadline gives more time") from error


def read_listing(form: str, data: bytes) -> Changes:
    """Read a list in one of the forms of LISTINGS. Raises SourceError."""
    return _sorted(LISTINGS[form](data))


def _sorted(changes: Iterable[FileChange]) -> Changes:
    return tuple(sorted(once(changes), key=lambda change: change.path))
