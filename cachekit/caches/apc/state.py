"""What masters told about their segments, as Status."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from cachekit.caches.apc.changes import waste
from cachekit.caches.apc.reply import Answer, Master, Reply, error_of
from cachekit.caches.base import Status
from cachekit.model import shown
from cachekit.quantities import format_bytes, format_share

_NEARLY_FULL = 0.9
_SCATTERED = 0.25
_LITTLE_STRINGS = 64 << 10


def status_of(reply: Reply, segments: Sequence[str]) -> Status:
    """Add up all masters; one that cannot be asked is a hazard, unless there is no other."""
    told, failures = reply.read(lambda master: (master, _status(master, segments)))
    if not told:
        raise error_of(reply.place, failures, ())
    statuses = [status for _, status in told]

    def added(name: str) -> int | None:
        numbers = [getattr(each, name) for each in statuses]
        return None if None in numbers else sum(numbers)

    return Status(
        version=", ".join(sorted({pool.php for master, _ in told for pool in master.pools})),
        items=added("items"),
        size=added("size"),
        capacity=added("capacity"),
        hits=added("hits"),
        misses=added("misses"),
        evictions=added("evictions"),
        details={name: what for each in statuses for name, what in each.details.items()},
        hazards=(
            *(line for each in statuses for line in each.hazards),
            *reply.notes,
            *map(str, failures),
        ),
    )


def _status(master: Master, segments: Sequence[str]) -> Status:
    states = dict(zip(segments, master.answers, strict=True))

    def added(name: str) -> int | None:
        numbers = [state[name] for state in states.values()]
        return None if None in numbers else sum(numbers)

    return Status(
        items=added("items"),
        size=added("size"),
        capacity=added("capacity"),
        hits=added("hits"),
        misses=added("misses"),
        evictions=states["user"]["expunges"] if segments == ("user",) else None,
        details=_details(master, states),
        hazards=tuple(
            f"{master}: {hazard}"
            for segment, state in states.items()
            for hazard in _HAZARDS[segment](state)
        ),
    )


def _details(master: Master, states: Mapping[str, Answer]) -> Mapping[str, str]:
    parts = [f"master {master.pid}"]
    if opcode := states.get("opcode"):
        parts.append(f"{opcode['restarts']} restarts of OPcache, {opcode['keys']} keys")
    if user := states.get("user"):
        parts.append(f"{user['expunges']} expunges of APCu")
    return {f"pool {shown(pool.name)}": ", ".join(parts) for pool in master.pools}


def _opcode_hazards(state: Answer) -> Iterator[str]:
    if state["pending"]:
        yield "a restart of OPcache is pending: a long request holds it up, and nothing is cached"
    yield from waste(state)
    size, capacity = state["size"] or 0, state["capacity"]
    if state["full"] or (capacity and size > capacity * _NEARLY_FULL):
        yield f"OPcache is nearly full ({_share(size, capacity)}); raise opcache.memory_consumption"
    if state["max_keys"] and state["keys"] > state["max_keys"] * _NEARLY_FULL:
        yield (
            f"OPcache has {state['keys']} of {state['max_keys']} keys; raise"
            " opcache.max_accelerated_files"
        )
    if state["strings_free"] is not None and state["strings_free"] < _LITTLE_STRINGS:
        yield "OPcache's interned strings are nearly full; raise opcache.interned_strings_buffer"
    if state["full_restarts"]:
        yield f"OPcache ran full and restarted by itself {state['full_restarts']} times"
    yield from _outliving(state)


def _outliving(state: Answer) -> Iterator[str]:
    if state["preload"]:
        yield f"opcache.preload is {shown(state['preload'])}: only a reload of php-fpm renews it"
    if state["file_cache"] and not state["validates"]:
        yield (
            f"opcache.file_cache is {shown(state['file_cache'])} without validate_timestamps: old"
            " code outlives even a reload; clear by cachekit, which removes those files as well"
        )


def _user_hazards(state: Answer) -> Iterator[str]:
    size, capacity, free = state["size"], state["capacity"], state["capacity"] - state["size"]
    if state["expunges"]:
        yield (
            f"APCu ran full {state['expunges']} times since its last clear, and threw out entries;"
            " raise apc.shm_size"
        )
    if size > capacity * _NEARLY_FULL:
        yield f"APCu is nearly full ({_share(size, capacity)}); raise apc.shm_size"
    elif state["largest_free"] is not None and state["largest_free"] < free * _SCATTERED:
        yield (
            f"APCu is fragmented: of {format_bytes(free)} that are free, the largest piece has"
            f" {format_bytes(state['largest_free'])}"
        )


def _share(size: int, capacity: int | None) -> str:
    return format_share(size / capacity) if capacity else "cache_full"


_HAZARDS: Mapping[str, Callable[[Answer], Iterator[str]]] = {
    "opcode": _opcode_hazards,
    "user": _user_hazards,
}
