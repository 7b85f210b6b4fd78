"""What every cache keeps that holds releases apart: a contract to subclass, on the real server.

::

    class TestRocksReleases(ReleasesContract):
        @pytest.fixture
        def stand(self, rocks_server):
            def stored(release, name):
                return prefix_of("shop:{release}:", release) + name

            yield ReleaseStand(
                cache=Rocks(servers=(rocks_server.address,), namespace="shop:{release}:"),
                put=lambda release, name: rocks_server.client.set(stored(release, name)),
                is_there=lambda release, name: rocks_server.client.exists(stored(release, name)),
                stop=rocks_server.stop,
            )
"""

# ruff: noqa: S101, D102 - a contract is made of assertions, and a test's name says what it shows

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from cachekit.caches.base import Cache, Conditions, Releasing
from cachekit.caches.releases import ReleaseEntries, Releases, Role
from cachekit.deadline import Deadline
from cachekit.errors import ConfigError
from cachekit.execution import Limits, execute
from cachekit.model import Node
from cachekit.outcomes import ActionReport, StepOutcome
from cachekit.plan import Plan, Selection, plan_clear, plan_releases
from cachekit.releases import entries_of, named, per_release
from cachekit.scope import Kind, Scope
from cachekit.settings import Settings
from cachekit.testing.caches import DEADLINE_SECONDS
from cachekit.warming.stop import Stop

OLD, PREVIOUS, LIVE = "r40", "r41", "r42"
NAMES = ("a", "b", "menu:é")
ALL = Selection()


@dataclass(frozen=True, kw_only=True)
class ReleaseStand:
    """A cache that is per release with its running server, and how an application uses it there.

    `put` and `is_there` take a release and the name of an entry.
    """

    cache: Cache
    put: Callable[[str, str], object]
    is_there: Callable[[str, str], bool]
    stop: Callable[[], object]
    nodes: Mapping[str, Node] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        """Settings with this cache alone."""
        return Settings(site="https://shop.example", nodes=self.nodes, caches={"it": self.cache})

    def counted(self, release: str, conditions: Conditions) -> set[int | None]:
        """Count the entries of a release at all places, as a rollback does."""
        (cache,) = per_release(self.settings).values()
        places = cache.places(self.nodes)
        return set(entries_of(cache, places, release, conditions).values())

    def filled(self) -> "ReleaseStand":
        """Put the same entries in for three releases."""
        for release in (OLD, PREVIOUS, LIVE):
            for name in NAMES:
                self.put(release, name)
        assert self.there() == {OLD, PREVIOUS, LIVE}, "the stand itself does not work"
        return self

    def there(self) -> set[str]:
        """Tell of which releases an application finds all entries; some only is a failure."""
        found = {
            release: [self.is_there(release, name) for name in NAMES]
            for release in (OLD, PREVIOUS, LIVE)
        }
        assert all(len(set(each)) == 1 for each in found.values()), found
        return {release for release, each in found.items() if all(each)}

    def listed(self, conditions: Conditions) -> dict[str, ReleaseEntries]:
        """List what is there by release, as `cachekit releases` does."""
        plan = plan_releases(self.settings, ALL)
        report = named(run(plan, conditions), conditions, (OLD,))
        (step,) = report.steps
        assert isinstance(step.found, Releases), step.reason
        return {each.release: each for each in step.found.entries}


class ReleasesContract:
    """Releases side by side: told apart, reaped one by one, the live and the previous one never."""

    @pytest.fixture
    def conditions(self, tmp_path: Path) -> Conditions:
        deadline = Deadline(DEADLINE_SECONDS)
        return Conditions(
            deadline=deadline, state_dir=tmp_path / "state", release=LIVE, previous=PREVIOUS
        )

    def reap(self, stand: ReleaseStand, release: str, conditions: Conditions) -> ActionReport:
        scope = Scope(Kind.RELEASE, (release,))
        return run(plan_clear(stand.settings, ALL, scope, conditions), conditions)

    def test_it_is_per_release(self, stand: ReleaseStand) -> None:
        assert isinstance(stand.cache, Releasing)
        assert stand.cache.per_release
        assert Kind.RELEASE in stand.cache.scopes

    def test_releases_are_told_apart_and_nothing_is_changed(
        self, stand: ReleaseStand, conditions: Conditions
    ) -> None:
        listed = stand.filled().listed(conditions)
        assert {release: each.items for release, each in listed.items()} == dict.fromkeys(
            (LIVE, PREVIOUS, OLD), len(NAMES)
        )
        assert [each.role for each in listed.values()] == [Role.LIVE, Role.PREVIOUS, Role.OLD]
        assert all(each.size is None or each.size > 0 for each in listed.values())
        for each in listed.values():
            assert None in (each.newest, each.oldest) or 0 <= each.newest <= each.oldest < 3600  # type: ignore[operator]
        assert stand.there() == {OLD, PREVIOUS, LIVE}

    def test_a_release_without_entries_is_told(
        self, stand: ReleaseStand, conditions: Conditions
    ) -> None:
        stand.filled()
        later = replace(conditions, release="r43", previous=LIVE)
        assert stand.listed(later)["r43"].items == 0

    def test_a_rollback_learns_what_is_still_warm(
        self, stand: ReleaseStand, conditions: Conditions
    ) -> None:
        stand.filled()
        assert stand.counted(PREVIOUS, conditions) == {len(NAMES)}
        assert stand.counted("r39", conditions) == {0}

    def test_an_old_release_is_reaped_and_nothing_else(
        self, stand: ReleaseStand, conditions: Conditions
    ) -> None:
        report = self.reap(stand.filled(), OLD, conditions)
        assert report.outcome is StepOutcome.DONE, report
        assert stand.there() == {PREVIOUS, LIVE}
        assert not getattr(stand.listed(conditions).get(OLD), "items", 0)

    def test_what_a_listing_says_reaps_it(
        self, stand: ReleaseStand, conditions: Conditions
    ) -> None:
        stand.filled()
        report = run(plan_releases(stand.settings, ALL), conditions)
        (step,) = named(report, conditions, ()).steps
        assert isinstance(step.found, Releases)
        (old,) = (each for each in step.found.entries if each.role is Role.OLD)
        plan = plan_clear(stand.settings, Selection(caches=(step.cache,)), old.scope, conditions)
        assert run(plan, conditions).outcome is StepOutcome.DONE
        assert stand.there() == {PREVIOUS, LIVE}

    @pytest.mark.parametrize("kept", [LIVE, PREVIOUS])
    def test_the_live_and_the_previous_release_are_refused(
        self, stand: ReleaseStand, conditions: Conditions, kept: str
    ) -> None:
        stand.filled()
        with pytest.raises(ConfigError, match=f"release {kept} is live or kept for rollback"):
            self.reap(stand, kept, conditions)
        assert stand.there() == {OLD, PREVIOUS, LIVE}

    @pytest.mark.parametrize("release", [OLD, PREVIOUS, LIVE])
    def test_without_a_known_live_release_all_are_refused(
        self, stand: ReleaseStand, conditions: Conditions, release: str
    ) -> None:
        stand.filled()
        with pytest.raises(ConfigError, match="which release is live"):
            self.reap(stand, release, replace(conditions, release=""))
        assert stand.there() == {OLD, PREVIOUS, LIVE}

    def test_without_a_previous_release_an_old_one_is_reaped_alone(
        self, stand: ReleaseStand, conditions: Conditions
    ) -> None:
        stand.filled()
        self.reap(stand, OLD, replace(conditions, previous=""))
        assert stand.there() == {PREVIOUS, LIVE}

    def test_a_dead_server_is_not_known(self, stand: ReleaseStand, conditions: Conditions) -> None:
        stand.filled().stop()
        (step,) = run(plan_releases(stand.settings, ALL), conditions).steps
        assert step.outcome is StepOutcome.FAILED
        assert stand.counted(PREVIOUS, conditions) == {None}


def run(plan: Plan, conditions: Conditions) -> ActionReport:
    """Run a plan as the command line does."""
    limits = Limits(step_seconds=DEADLINE_SECONDS)
    return execute(plan, conditions, limits=limits, stop=Stop(None))
