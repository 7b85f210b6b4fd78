"""A look at a plan tells what each step would touch, and touches nothing."""

from pathlib import Path

from cachekit.deploy.survey import survey
from cachekit.reports import runs
from cachekit.step_settings import ClearStep
from tests import shelves
from tests.plans import compiled, rolling

CLEAR = ClearStep(clear=("objects",))


def test_a_clear_tells_its_blast_radius(tmp_path: Path) -> None:
    cache = shelves.GuardedShelf(found=10)
    found = survey(compiled(rolling(CLEAR), caches={"objects": cache}), tmp_path)
    text = runs.forecast(found)
    assert "objects at web1: 10 of 100 entries" in text
    assert "blast radius: 40 entries at 4 places, 10% of the 400 there" in text
    assert not cache.asked
    assert found.exit_code == 0


def test_what_cannot_be_counted_is_said(tmp_path: Path) -> None:
    found = survey(compiled(CLEAR, caches={"objects": shelves.Shelf()}), tmp_path)
    assert "4 steps cannot be counted beforehand" in runs.forecast(found)
