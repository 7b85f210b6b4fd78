"""A rollback flushes nothing that keeps releases apart, and fills only what is not warm."""

from dataclasses import dataclass
from pathlib import Path

from cachekit.caches.base import Conditions, Place, Survey
from cachekit.caches.releases import Releases
from cachekit.deploy.compile import compile_plan
from cachekit.errors import UnreachableError
from cachekit.runs import RunReport
from cachekit.scope import Scope
from cachekit.step_settings import ClearStep, PrimeStep
from tests import plans, shelves
from tests.plans import FACTS


@dataclass(frozen=True, kw_only=True)
class Namespaces(shelves.PrimableShelf):
    """A cache that has so many entries of the release, None where it cannot be asked."""

    entries: int | None = 0
    per_release: bool = True

    def survey(self, place: Place, scope: Scope, conditions: Conditions) -> Survey:
        if self.entries is None:
            raise UnreachableError(place.name, "no route to host")
        return Survey(found=self.entries)

    def releases(self, place: Place, conditions: Conditions) -> Releases:
        raise NotImplementedError


CLEAR, PRIME = ClearStep(clear=("objects",)), PrimeStep(prime=("objects",), source="file:x.jsonl")


def run(
    cache: Namespaces, step: ClearStep | PrimeStep, state_dir: Path, rollback: str = "true"
) -> RunReport:
    settings = plans.settings(step, caches={"objects": cache})
    return plans.run(compile_plan(settings, "deploy", {**FACTS, "rollback": rollback}), state_dir)


def test_what_is_still_warm_is_not_primed(tmp_path: Path) -> None:
    cache = Namespaces(on=("web1",), entries=1200)
    report = run(cache, PRIME, tmp_path)
    assert not cache.asked
    assert report.steps[0].evidence == ("objects at web1: still warm: 1,200 entries of r2",)
    assert report.exit_code == 0


def test_what_is_gone_is_primed(tmp_path: Path) -> None:
    cache = Namespaces(on=("web1",))
    assert run(cache, PRIME, tmp_path).exit_code == 0
    assert cache.asked == [("web1", "file:x.jsonl")]


def test_a_cache_that_keeps_releases_apart_is_never_flushed(tmp_path: Path) -> None:
    for entries in (1200, 0, None):
        cache = Namespaces(on=("web1",), entries=entries)
        report = run(cache, CLEAR, tmp_path)
        assert not cache.asked
        assert "not flushed" in report.steps[0].evidence[0]


def test_where_it_cannot_be_known_a_prime_adds(tmp_path: Path) -> None:
    cache = Namespaces(on=("web1",), entries=None)
    run(cache, PRIME, tmp_path)
    assert cache.asked


def test_a_deploy_forward_does_as_it_is_written(tmp_path: Path) -> None:
    cache = Namespaces(on=("web1",), entries=1200)
    run(cache, CLEAR, tmp_path, rollback="")
    assert cache.asked


def test_a_cache_that_all_releases_share_is_cleared(tmp_path: Path) -> None:
    cache = Namespaces(on=("web1",), entries=1200, per_release=False)
    run(cache, CLEAR, tmp_path)
    assert cache.asked
