"""memcached: namespaces, placement and encodings as PHP has them, bulk work by meta commands."""

from cachekit.caches.memcache.adapter import Memcache

__all__ = ["Memcache"]
