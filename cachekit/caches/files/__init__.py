"""File caches on nodes."""

from cachekit.caches.files.adapter import Files

__all__ = ["Files"]
