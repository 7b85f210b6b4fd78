"""How the targets of one node are asked: one Way for all that are alike."""

from collections.abc import Callable, Iterator

from cachekit.events import Asked
from cachekit.model import Node, Traits, Variant
from cachekit.replay import Manner, route_to
from cachekit.warming.lane import Lane, Target, Way
from cachekit.warming.plan import WarmPlan, applicable, header_lines


class Ways:
    """Makes the targets of one pass over one node."""

    def __init__(self, plan: WarmPlan, node: Node, lane: Lane, pass_name: str) -> None:
        self._plan = plan
        self._lane = lane
        self._pass_name = pass_name
        self._route = route_to(node, plan.site)
        self._known: dict[int, list[Way | None]] = {}

    def stages(self, wanted: Callable[[int], object] | None) -> Iterator[Iterator[Target]]:
        """Give the targets whose ordinals are wanted, one variant after the other.

        nginx loses entries that differ only by Vary when they are filled at the same time.
        """
        return (self._targets(wanted, place) for place in range(len(self._plan.variants)))

    def _targets(self, wanted: Callable[[int], object] | None, place: int) -> Iterator[Target]:
        number, step = place, len(self._plan.variants)
        way, of_traits = None, None
        for url, traits in self._plan.urls:
            if traits is not of_traits:
                way, of_traits = self._of(traits)[place], traits
            if way is not None and (wanted is None or wanted(number)):
                yield Target(url, way, number)
            number += step

    def _of(self, traits: Traits) -> list[Way | None]:
        """Give one Way per variant; None where it is not asked."""
        # Traits are shared and outlive the run, so their identity is a cheap key for the hot path.
        found = self._known.get(id(traits))
        if found is None:
            variants = self._plan.variants
            asked = applicable(variants, traits)
            found = [self._way(traits, v) if v in asked else None for v in variants]
            self._known[id(traits)] = found
        return found

    def _way(self, traits: Traits, variant: Variant) -> Way:
        settings = self._plan.settings
        wider = settings.warm.expect
        expect = wider if traits.expect is None else traits.expect.under(wider)
        personal = variant.personal or traits.personal
        # Without a verify pass no proof is wanted, and nobody reads the headers.
        keep_head = bool(settings.warm.verify) or expect.needs_body or personal
        return Way(
            self._lane,
            Manner(self._route, header_lines(settings, variant, traits), keep_head=keep_head),
            Asked(
                self._pass_name,
                self._lane.node,
                variant.name,
                counts_for_hit=traits.cacheable and not personal,
                required=traits.required,
            ),
            traits=traits,
            expect=expect,
            personal=personal,
        )
