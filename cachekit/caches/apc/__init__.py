"""PHP's node-side caches: APCu and OPcache in the memory of php-fpm."""

from cachekit.caches.apc.adapter import Apc

__all__ = ["Apc"]
