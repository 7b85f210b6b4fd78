"""The hook for Fabric, run by `fab` over ssh."""

import pytest

from tests.command import Finished
from tests.hooks.shop import HOOKS, Shop
from tests.servers.process import require_program

pytestmark = pytest.mark.end_to_end


def fab(shop: Shop, *arguments: str) -> Finished:
    found = ["--ssh-config", shop.ssh_config, "--search-root", str(HOOKS / "fabric")]
    return shop.run([require_program("fab"), *found, *arguments], PYTHONDONTWRITEBYTECODE="1")


def test_a_no_go_ends_the_task_with_its_code_before_the_switch(shop: Shop) -> None:
    first = shop.commit("one")
    done = fab(shop, "deploy")
    assert done.code == 0, done.stdout
    assert [shop.live(name) for name in shop.machines] == ["one", "one"]
    told = {"tool": "fabric", "actor": "ann", "nodes": "web1,web2", "plan": "deploy"}
    assert shop.last_run() == told | {"release": first, "code": 0}

    second = shop.commit("two", "/broken")
    done = fab(shop, "deploy")
    assert done.code == 1
    assert "cachekit deploy: no-go: a step failed" in done.stdout
    assert shop.last_run() == told | {"release": second, "previous": first, "code": 1}
    assert [shop.live(name) for name in shop.machines] == ["one", "one"]
