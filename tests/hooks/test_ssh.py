"""The plain script, run by bash over ssh."""

import pytest

from tests.command import Finished
from tests.hooks.shop import HOOKS, WHERE, Shop

pytestmark = pytest.mark.end_to_end


def deploy(shop: Shop, *arguments: str) -> Finished:
    script = str(HOOKS / "ssh" / "deploy.sh")
    return shop.run([script, *arguments], NODES="web1 web2", WHERE=str(WHERE))


def test_a_no_go_ends_the_script_with_its_code_before_the_switch(shop: Shop) -> None:
    first = shop.commit("one")
    done = deploy(shop)
    assert done.code == 0, done.stdout
    assert [shop.live(name) for name in shop.machines] == ["one", "one"]
    told = {"tool": "ssh", "actor": "ann", "nodes": "web1,web2", "plan": "deploy"}
    assert shop.last_run() == told | {"release": first, "code": 0}

    second = shop.commit("two", "/broken")
    done = deploy(shop, second, "--format", "junit", "--output", "cachekit.xml")
    assert done.code == 1
    assert "<failure" in (shop.folder / "cachekit.xml").read_text()
    assert shop.last_run() == told | {"release": second, "previous": first, "code": 1}
    assert [shop.live(name) for name in shop.machines] == ["one", "one"]


def test_degraded_is_accepted_only_where_it_is_said(shop: Shop) -> None:
    shop.write_settings("  deploy: [{warm: top, gate: {min_ok: {go: 100%, floor: 10%}}}]")
    shop.commit("one", "/broken")
    assert deploy(shop, "HEAD").code == 3
    assert deploy(shop, "HEAD", "--soft-fail=3").code == 0
    assert shop.live("web1") == "one"
    assert shop.last_run()["code"] == 3


def test_a_node_that_cannot_be_reached_ends_it_before_anything_is_switched(shop: Shop) -> None:
    shop.commit("one")
    shop.machines["web2"].refuse_logins()
    done = deploy(shop)
    assert done.code == 255
    assert not shop.runs()
    assert not (shop.machines["web1"].srv / "shop" / "current").is_symlink()
