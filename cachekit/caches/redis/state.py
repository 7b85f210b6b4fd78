"""What redis tells of itself, and what of it somebody should look at."""

import re
from collections.abc import Iterator, Mapping, Sequence

from cachekit.caches.base import Status

_NEARLY_FULL = 0.9
_KEYS = re.compile(r"keys=(\d+),expires=(\d+)")

Info = Mapping[str, str]
"""What INFO answers."""


def status_of(infos: Mapping[str, Info], db: int, hazards: Sequence[str]) -> Status:
    """Sum up what the servers of a place told, by address; `hazards` are known already."""

    def total(name: str) -> int | None:
        is_told = all(name in info for info in infos.values())
        return sum(number(info, name) for info in infos.values()) if is_told else None

    used, resident = total("used_memory"), total("used_memory_rss")
    is_limited = all(number(info, "maxmemory") for info in infos.values())
    return Status(
        version=_distinct(infos, "redis_version"),
        items=sum(_keys(info, db)[0] for info in infos.values()),
        size=used,
        capacity=total("maxmemory") if is_limited else None,
        hits=total("keyspace_hits"),
        misses=total("keyspace_misses"),
        evictions=total("evicted_keys"),
        fragmentation=round(resident / used, 2) if used and resident else None,
        details={
            "role": _distinct(infos, "role"),
            "policy": _distinct(infos, "maxmemory_policy"),
            "db": db,
            "servers": len(infos),
            "uptime_seconds": min(number(info, "uptime_in_seconds") for info in infos.values()),
        },
        hazards=(*hazards, *_located(infos, db)),
    )


def number(info: Info, name: str) -> int:
    """Read one counter; one that a server does not keep is 0."""
    value = info.get(name, "")
    return int(value) if value.isdigit() else 0


def room(info: Info) -> int | None:
    """Tell how many bytes may still come; None where there is no limit."""
    limit = number(info, "maxmemory")
    return max(0, limit - number(info, "used_memory")) if limit else None


def _located(infos: Mapping[str, Info], db: int) -> Iterator[str]:
    """Say each hazard once, and of which servers it is said if not of all."""
    found: dict[str, list[str]] = {}
    for address, info in infos.items():
        for hazard in _hazards(info, db):
            found.setdefault(hazard, []).append(address)
    for hazard, addresses in found.items():
        everywhere = len(addresses) == len(infos)
        yield hazard if everywhere else f"{', '.join(addresses)}: {hazard}"


def _hazards(info: Info, db: int) -> Iterator[str]:
    policy = info.get("maxmemory_policy", "")
    used, limit = number(info, "used_memory"), number(info, "maxmemory")
    keys, expiring = _keys(info, db)
    if number(info, "loading"):
        yield "it still reads its data and refuses commands"
    if info.get("role") == "slave":
        yield "it is a replica: clears and primes are refused; name its primary in `servers:`"
    if not limit:
        yield "maxmemory is not set: it takes memory until the machine has none left"
    elif policy == "noeviction":
        yield f"the policy is noeviction: once full it refuses writes; now {used / limit:.0%} full"
    elif used > _NEARLY_FULL * limit:
        yield f"{used / limit:.0%} full: what is primed pushes out what is there"
    if policy.startswith("volatile-") and keys and not expiring:
        yield f"the policy is {policy}, and no key expires: nothing can be evicted"
    if info.get("rdb_last_bgsave_status", "ok") != "ok":
        yield "its last save to disk failed: it may refuse writes"


def _keys(info: Info, db: int) -> tuple[int, int]:
    """Count the keys of a database, and those of them that expire."""
    counts = _KEYS.match(info.get(f"db{db}", ""))
    return (int(counts[1]), int(counts[2])) if counts else (0, 0)


def _distinct(infos: Mapping[str, Info], name: str) -> str:
    return ", ".join(sorted({info.get(name, "?") for info in infos.values()}))
