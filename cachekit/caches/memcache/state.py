"""What a memcached tells of itself, and what of it somebody should look at."""

from cachekit.caches.base import Status
from cachekit.caches.memcache.connection import Connection

_NEARLY_FULL = 0.95


def status_of(connection: Connection) -> Status:
    """Read the server's counters."""
    stats, settings = connection.stats(), connection.stats("settings")

    def number(name: str) -> int:
        return int(stats.get(name, "0"))

    return Status(
        version=stats.get("version"),
        items=number("curr_items"),
        size=number("bytes"),
        capacity=number("limit_maxbytes"),
        hits=number("get_hits"),
        misses=number("get_misses"),
        evictions=number("evictions"),
        details={
            "uptime_seconds": number("uptime"),
            "connections": number("curr_connections"),
            "item_size_max": settings.get("item_size_max", ""),
        },
        hazards=tuple(_hazards(stats, settings)),
    )


def _hazards(stats: dict[str, str], settings: dict[str, str]) -> list[str]:
    hazards = []
    if _is_true(stats.get("hash_is_expanding")):
        hazards.append("its hash table grows now; wait with clears by prefix")
    size, capacity = int(stats.get("bytes", "0")), int(stats.get("limit_maxbytes", "0"))
    if capacity and size > _NEARLY_FULL * capacity:
        hazards.append(f"{size / capacity:.0%} full: what is primed pushes out what is there")
    if "no" in (settings.get("dump_enabled"), settings.get("lru_crawler")):
        hazards.append("it does not list its keys: no clear by release, prefix or glob")
    return hazards


def _is_true(value: str | None) -> bool:
    return value in ("1", "True")
