"""Clear, prime and warm every cache layer of a web cluster around a deploy, and prove it.

Public names are imported on first use, so that `import cachekit` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cachekit.config import load
    from cachekit.errors import CachekitError
    from cachekit.model import Address, Expect, Node, Variant
    from cachekit.results import Outcome, WarmReport
    from cachekit.settings import Settings, WarmList, WarmSettings
    from cachekit.sources.access_log import AccessLog
    from cachekit.sources.sitemap import Sitemap
    from cachekit.sources.table import Table
    from cachekit.sources.url_list import UrlFile, Urls
    from cachekit.thresholds import Gate, MinShare
    from cachekit.warming.warmer import warm

__all__ = [
    "AccessLog",
    "Address",
    "CachekitError",
    "Expect",
    "Gate",
    "MinShare",
    "Node",
    "Outcome",
    "Settings",
    "Sitemap",
    "Table",
    "UrlFile",
    "Urls",
    "Variant",
    "WarmList",
    "WarmReport",
    "WarmSettings",
    "load",
    "warm",
]

_HOMES = {
    "errors": ("CachekitError",),
    "model": ("Address", "Expect", "Node", "Variant"),
    "results": ("Outcome", "WarmReport"),
    "settings": ("Settings", "WarmList", "WarmSettings"),
    "thresholds": ("Gate", "MinShare"),
    "sources.access_log": ("AccessLog",),
    "sources.sitemap": ("Sitemap",),
    "sources.table": ("Table",),
    "sources.url_list": ("UrlFile", "Urls"),
    "config": ("load",),
    "warming.warmer": ("warm",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
