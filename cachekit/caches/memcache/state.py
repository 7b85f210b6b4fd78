"""What a memcached tells of itself, and what of it somebody should look at."""

from cachekit.caches.base import Status
from cachekit.caches.memcache.connection import Connection

_NEARLY_FULL = 0.95
_COUNTERS = (
    "bytes",
    "curr_connections",
    "curr_items",
    "evictions",
    "get_hits",
    "get_misses",
    "limit_maxbytes",
    "uptime",
)


def status_of(connection: Connection) -> Status:
    """Read the server's counters; those that it does not keep are not known."""
    stats, settings = connection.stats(), connection.stats("settings")
    with connection.translated():
        told = {name: int(stats[name]) for name in _COUNTERS if name in stats}
    details = {
        "uptime_seconds": told.get("uptime"),
        "connections": told.get("curr_connections"),
        "item_size_max": settings.get("item_size_max"),
    }
    return Status(
        version=stats.get("version"),
        items=told.get("curr_items"),
        size=told.get("bytes"),
        capacity=told.get("limit_maxbytes"),
        hits=told.get("get_hits"),
        misses=told.get("get_misses"),
        evictions=told.get("evictions"),
        details={name: value for name, value in details.items() if value is not None},
        hazards=tuple(_hazards(told, stats, settings)),
    )


def _hazards(told: dict[str, int], stats: dict[str, str], settings: dict[str, str]) -> list[str]:
    hazards = []
    if _is_true(stats.get("hash_is_expanding")):
        hazards.append("its hash table grows now; wait with clears by prefix")
    size, capacity = told.get("bytes", 0), told.get("limit_maxbytes", 0)
    if capacity and size > _NEARLY_FULL * capacity:
        hazards.append(f"{size / capacity:.0%} full: what is primed pushes out what is there")
    if "no" in (settings.get("dump_enabled"), settings.get("lru_crawler")):
        hazards.append("it does not list its keys: no clear by release, prefix or glob")
    return hazards


def _is_true(value: str | None) -> bool:
    return value in ("1", "True")
