"""Removing what a scope selects, and looking again until nothing of it is left."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

from cachekit.caches.base import Change
from cachekit.caches.redis.keyspace import Selection, listed, sweep, text
from cachekit.caches.redis.store import Store
from cachekit.caches.redis.tags import TagSet, absent
from cachekit.caches.tally import cleared
from cachekit.errors import RefusedError
from cachekit.model import shown

_ROUNDS = 3


def clear_selected(
    connect: Callable[[], AbstractContextManager[Store]], selection: Selection
) -> Change:
    """Unlink keys by what they are called.

    Each round connects anew: slots and primaries may have moved since the last.
    """
    removed, left, moved = 0, 0, False
    for _ in range(_ROUNDS):
        with connect() as store:
            removed += sweep(store, selection)
            left = len(listed(store, selection))
            moved = store.has_moved()
        if not left and not moved:
            break
    if moved and not left:
        # What is on its way from one server to another may be seen on neither.
        warning = "slots are moving between servers; clear again once they have settled"
        return Change(found=removed, removed=removed, warnings=(warning,))
    return cleared(removed, left)


def clear_keys(store: Store, keys: Sequence[bytes]) -> Change:
    """Unlink keys by their names."""
    removed = store.unlink(keys)
    return cleared(removed, len(store.present(keys)))


def clear_tags(store: Store, tags: Sequence[TagSet], outside: Callable[[bytes], bool]) -> Change:
    """Unlink the keys that carry tags, and strike them off the sets that list them.

    Raises RefusedError before anything is removed where a set lists keys from `outside`.
    """
    removed, seen = 0, set[bytes]()
    for tag in tags:
        _refuse(store, tag, outside)
    for tag in tags:
        for _ in range(_ROUNDS):
            members = tag.members()
            if not members:
                break
            seen.update(map(tag.key_of, members))
            removed += tag.clear(list(members))
    change = cleared(removed, len(store.present(seen)))
    warnings = (*change.warnings, *absent(tags))
    if seen and not change.found:
        warning = f"none of the {len(seen):,} listed keys was there; does `member_prefix` fit?"
        warnings = (*warnings, warning)
    return replace(change, warnings=warnings)


def _refuse(store: Store, tag: TagSet, outside: Callable[[bytes], bool]) -> None:
    if strangers := sorted(filter(outside, map(tag.key_of, tag.members()))):
        raise RefusedError(
            store.primaries[0].place,
            f"the tag {tag} lists {len(strangers):,} keys outside of the namespace, such as"
            f" {shown(text(strangers[0]))}; --force clears them all the same",
        )
