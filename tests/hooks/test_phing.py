"""The hook for Phing, run by `phing`."""

import shutil
from pathlib import Path

import pytest

from tests.command import Finished
from tests.hooks.shop import HOOKS, Shop
from tests.servers.process import require_program

pytestmark = pytest.mark.end_to_end


def phing(shop: Shop, **properties: str) -> Finished:
    where = {"where": str(shop.folder / "site"), "source": str(shop.repository)}
    given = [f"-D{name}={value}" for name, value in (where | properties).items()]
    (shop.folder / "site" / "releases").mkdir(parents=True, exist_ok=True)
    for name in ("build.xml", "cachekit.xml"):  # Phing works in the folder of the first
        shutil.copy(HOOKS / "phing" / name, shop.folder)
    return shop.run([require_program("phing"), *given])


def live(shop: Shop) -> Path:
    return (shop.folder / "site" / "current").resolve()


def test_a_no_go_fails_the_build_before_the_switch(local_shop: Shop) -> None:
    local_shop.commit("one")
    done = phing(local_shop, release="r1")
    assert done.code == 0, done.stdout
    assert (live(local_shop) / "index.html").read_text() == "one"
    told = {"tool": "phing", "actor": "ann", "plan": "deploy"}
    assert local_shop.last_run() == told | {"release": "r1", "code": 0}

    local_shop.commit("two", "/broken")
    done = phing(local_shop, release="r2")
    assert done.code != 0
    assert "cachekit deploy: no-go: a step failed" in done.stdout
    assert local_shop.last_run() == told | {"release": "r2", "previous": "r1", "code": 1}
    assert live(local_shop).name == "r1"


def test_what_cannot_work_is_said_and_options_are_passed_on(local_shop: Shop) -> None:
    local_shop.commit("one")
    options = {"cachekit.options": "--format junit --output cachekit.xml"}
    assert phing(local_shop, release="r1", **options).code == 0
    assert "<testsuites" in (local_shop.folder / "cachekit.xml").read_text()
    done = phing(local_shop, release="r2", **{"cachekit.plan": "deplyo"})
    assert "cachekit deplyo: the settings or the plan cannot work" in done.stdout
    assert live(local_shop).name == "r1"
