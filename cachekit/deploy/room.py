"""Whether what is to be primed fits beside what is there: else it pushes the live release out."""

from dataclasses import replace
from pathlib import Path

from cachekit.caches.base import Conditions, Releasing
from cachekit.plan import Action, Plan, Step
from cachekit.quantities import format_bytes
from cachekit.scope import Kind, Scope


def without_room(plan: Plan, conditions: Conditions) -> list[str]:
    """Say which primes would not fit; what cannot be known is left out: they look themselves.

    Raises CachekitError.
    """
    found = []
    for step in plan.steps:
        if step.action is not Action.PRIME or conditions.force:
            continue
        size, room = _size(step, conditions), _room(step, conditions)
        if size is not None and room is not None and size > room:
            found.append(
                f"{step.name} at {step.place}: about {format_bytes(size)} would go into"
                f" {format_bytes(room)} of room, and push out what is live; --force primes all"
                " the same"
            )
    return found


def _size(step: Step, conditions: Conditions) -> int | None:
    """Give the bytes that would come, as far as that can be told without reading them."""
    filling = step.filling
    if filling.kind == "file":
        path = Path(filling.value)
        return path.stat().st_size if path.is_file() else None
    if filling.kind != "donor" or filling.donor is not None:
        return None
    if not isinstance(step.cache, Releasing):
        return None
    scope, unguarded = Scope(Kind.RELEASE, (filling.value,)), replace(conditions, force=True)
    sizes = [step.cache.survey(place, scope, unguarded).size for place in step.places]
    return None if None in sizes else sum(size or 0 for size in sizes)


def _room(step: Step, conditions: Conditions) -> int | None:
    """Give the bytes that are free at all places together."""
    room = 0
    for place in step.places:
        status = step.cache.status(place, conditions)
        if status.capacity is None or status.size is None:
            return None
        room += max(0, status.capacity - status.size)
    return room
