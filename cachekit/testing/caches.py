"""What every cache keeps: a contract to subclass, run against the real server.

::

    class TestRocks(CacheContract):
        @pytest.fixture
        def stand(self, rocks_server):
            return Stand(
                cache=Rocks(servers=(rocks_server.address,)),
                scope=Scope(Kind.PREFIX, ("shop:",)),
                selected=("shop:1", "shop:2"),
                spared=("blog:1",),
                put=rocks_server.client.set,
                is_there=rocks_server.client.exists,
                stop=rocks_server.stop,
            )
"""

# ruff: noqa: S101, D102 - a contract is made of assertions, and a test's name says what it shows

from collections.abc import Callable, Mapping
from dataclasses import FrozenInstanceError, dataclass, field, fields
from pathlib import Path

import pytest

from cachekit.caches.base import Cache, Change, Conditions, Place, Status, Surveyable
from cachekit.deadline import Deadline
from cachekit.errors import CachekitError
from cachekit.model import Node
from cachekit.outcomes import StepOutcome, judged
from cachekit.scope import Kind, Scope

DEADLINE_SECONDS = 20.0


@dataclass(frozen=True, kw_only=True)
class Stand:
    """A cache with its running server, and how an application writes and reads there.

    `scope` selects exactly the `selected` names, none of the `spared`.
    """

    cache: Cache
    scope: Scope
    selected: tuple[str, ...]
    spared: tuple[str, ...]
    put: Callable[[str], object]
    is_there: Callable[[str], bool]
    stop: Callable[[], object]
    nodes: Mapping[str, Node] = field(default_factory=dict)

    @property
    def place(self) -> Place:
        """The first place of the cache."""
        return self.cache.places(self.nodes)[0]

    def filled(self) -> "Stand":
        """Put everything in."""
        for name in (*self.selected, *self.spared):
            self.put(name)
        assert self.there() == {*self.selected, *self.spared}, "the stand itself does not work"
        return self

    def there(self) -> set[str]:
        """Tell what an application finds."""
        return {name for name in (*self.selected, *self.spared) if self.is_there(name)}


class CacheContract:
    """Effects as the reading application sees them, and evidence for them."""

    @pytest.fixture
    def conditions(self, tmp_path: Path) -> Conditions:
        return Conditions(deadline=Deadline(DEADLINE_SECONDS), state_dir=tmp_path / "state")

    def clear(self, stand: Stand, conditions: Conditions) -> Change:
        return stand.cache.clear(stand.place, stand.scope, conditions)

    def test_is_a_frozen_cache(self, stand: Stand) -> None:
        cache = stand.cache
        assert isinstance(cache, Cache)
        assert isinstance(cache.layer, int)
        assert cache.scopes <= set(Kind)
        with pytest.raises(FrozenInstanceError):
            setattr(cache, fields(cache)[0].name, None)  # type: ignore[arg-type]

    def test_a_clear_removes_what_its_scope_selects_and_nothing_else(
        self, stand: Stand, conditions: Conditions
    ) -> None:
        assert stand.cache.refusal(stand.scope, conditions) == ""
        stand.filled()
        change = self.clear(stand, conditions)
        assert stand.there() == set(stand.spared)
        assert judged(change)[0] is StepOutcome.DONE
        assert change.removed in (len(stand.selected), None)

    def test_a_second_clear_removes_nothing_or_cannot_tell(
        self, stand: Stand, conditions: Conditions
    ) -> None:
        self.clear(stand.filled(), conditions)
        change = self.clear(stand, conditions)
        assert change.removed in (0, None)
        assert stand.there() == set(stand.spared)

    def test_a_survey_counts_and_changes_nothing(
        self, stand: Stand, conditions: Conditions
    ) -> None:
        if not isinstance(stand.cache, Surveyable):
            return
        stand.filled()
        survey = stand.cache.survey(stand.place, stand.scope, conditions)
        assert survey.found in (len(stand.selected), None)
        assert stand.there() == {*stand.selected, *stand.spared}

    def test_a_status_changes_nothing(self, stand: Stand, conditions: Conditions) -> None:
        stand.filled()
        status = stand.cache.status(stand.place, conditions)
        assert isinstance(status, Status)
        assert stand.there() == {*stand.selected, *stand.spared}

    def test_a_dead_server_is_named(self, stand: Stand, conditions: Conditions) -> None:
        place = stand.place
        stand.stop()
        with pytest.raises(CachekitError, match=place.name.replace(".", r"\.")):
            self.clear(stand, conditions)
        with pytest.raises(CachekitError, match=place.name.replace(".", r"\.")):
            stand.cache.status(place, conditions)
