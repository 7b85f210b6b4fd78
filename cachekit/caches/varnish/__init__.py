"""Varnish: cleared through its management port, or by HTTP where its VCL allows it."""

from cachekit.caches.varnish.adapter import Varnish

__all__ = ["Varnish"]
