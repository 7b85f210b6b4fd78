"""redis: standalone and cluster, namespaces and tags, copies by DUMP and RESTORE."""

from cachekit.caches.redis.adapter import Redis

__all__ = ["Redis"]
