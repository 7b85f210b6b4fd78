"""Which releases caches hold entries of: the live one, the one kept for a rollback, old ones."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from cachekit.caches.base import Conditions, Place, Releasing
from cachekit.caches.namespace import release_token
from cachekit.caches.releases import ReleaseEntries, Releases, Role
from cachekit.deadline import DeadlineError
from cachekit.errors import CachekitError
from cachekit.outcomes import ActionReport
from cachekit.plan import is_per_release
from cachekit.plan.selection import parts_of
from cachekit.scope import Kind, Scope
from cachekit.settings import Settings


def per_release(settings: Settings) -> dict[str, Releasing]:
    """Give the caches, or parts of them, that hold the entries of each release apart, by name."""
    return {
        name: part
        for cache in settings.caches
        for name, part in parts_of(cache, settings.caches[cache]).items()
        if is_per_release(part)
    }


def entries_of(
    cache: Releasing, places: Iterable[Place], release: str, conditions: Conditions
) -> dict[str, int | None]:
    """Count what such a cache has of a release at each of some places; changes nothing.

    None is for what cannot be known: nobody answered before the deadline, or not with a number.
    """
    return {place.name: _count(cache, place, release, conditions) for place in places}


def _count(cache: Releasing, place: Place, release: str, conditions: Conditions) -> int | None:
    scope = Scope(Kind.RELEASE, (release,))
    try:
        # Nothing is removed: what protects a release is of no concern.
        return cache.survey(place, scope, replace(conditions, force=True)).found
    except (CachekitError, DeadlineError):
        return None


def named(report: ActionReport, conditions: Conditions, ids: Iterable[str]) -> ActionReport:
    """Say which release the entries of a report are of, and what that is to the site.

    A token tells no id; it is found by making the tokens of all ids that are known: the live and
    the previous one, these, and those that directories are called by.
    """
    found = [step.found for step in report.steps if isinstance(step.found, Releases)]
    of_directories = (entry.release for each in found for entry in each.entries)
    told = (each for each in ids if each.isprintable())
    known = {conditions.release, conditions.previous, *told, *of_directories} - {""}
    by_token = {release_token(each): each for each in known}
    steps = tuple(
        replace(step, found=_named(step.found, by_token, conditions))
        if isinstance(step.found, Releases)
        else step
        for step in report.steps
    )
    return replace(report, steps=steps, notes=(*report.notes, *_notes(conditions)))


def _named(found: Releases, by_token: Mapping[str, str], conditions: Conditions) -> Releases:
    entries = [_with_id(each, by_token, conditions) for each in found.entries]
    there = {each.release for each in entries}
    entries += [
        ReleaseEntries(
            token="",
            scope=Scope(Kind.RELEASE, (release,)),
            release=release,
            role=_role(release, conditions),
            items=0,
            size=0,
        )
        for release in dict.fromkeys((conditions.release, conditions.previous))
        if release and release not in there
    ]
    entries.sort(key=lambda each: (each.role.rank, each.release or f"~{each.token}"))
    return replace(found, entries=tuple(entries))


def _with_id(
    entry: ReleaseEntries, by_token: Mapping[str, str], conditions: Conditions
) -> ReleaseEntries:
    release = entry.release or by_token.get(entry.token, "")
    scope = Scope(Kind.RELEASE, (release,)) if release else entry.scope
    return replace(entry, release=release, scope=scope, role=_role(release, conditions))


def _role(release: str, conditions: Conditions) -> Role:
    if not conditions.release:
        return Role.UNKNOWN
    roles = {conditions.previous: Role.PREVIOUS, conditions.release: Role.LIVE, "": Role.OLD}
    return roles.get(release, Role.OLD)


def _notes(conditions: Conditions) -> Iterator[str]:
    if not conditions.release:
        yield "which release is live? set `release:`, or give --live; none is told to be old"
    elif not conditions.previous:
        yield "`previous:` is not set: what is old here may be what a rollback needs"
