"""Faults that only show when settings are seen together: limits, names that must exist, secrets.

The settings file and the options of the command line pass through the same checks.
"""

from cachekit.checks.caches import of_cache
from cachekit.checks.faults import Fault, KeyPath, show_path
from cachekit.checks.golive import of_actor, of_release_check
from cachekit.checks.invalidation import of_invalidation
from cachekit.checks.lists import of_list, problems_of_urls
from cachekit.checks.plans import of_plan
from cachekit.checks.site import of_node, of_releases, of_site
from cachekit.checks.warm import of_gate, of_warm
from cachekit.settings import Settings

__all__ = [
    "Fault",
    "KeyPath",
    "problems",
    "problems_of_urls",
    "show_path",
]


def problems(settings: Settings) -> list[Fault]:
    """Find everything that cannot work although each value is well formed."""
    return [
        *of_site(settings),
        *of_releases(settings),
        *(fault for node in settings.nodes.values() for fault in of_node(node)),
        *(fault for name in settings.caches for fault in of_cache(settings, name)),
        *of_warm(settings.warm),
        *of_gate(settings, ("warm", "gate"), settings.warm.gate, settings.warm.verify),
        *(fault for name in settings.warmlists for fault in of_list(settings, name)),
        *of_invalidation(settings),
        *(fault for name in settings.golive for fault in of_actor(settings, name)),
        *of_release_check(settings),
        *(fault for name in settings.plans for fault in of_plan(settings, name)),
    ]
