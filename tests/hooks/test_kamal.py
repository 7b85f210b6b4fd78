"""The hooks for Kamal, run as Kamal runs them: an executable with variables in its environment."""

import pytest

from tests.hooks.shop import HOOKS, Shop

pytestmark = pytest.mark.end_to_end

# As `kamal deploy -d production` sets them.
VARIABLES = {
    "KAMAL_RECORDED_AT": "2026-04-27T09:30:00Z",
    "KAMAL_PERFORMER": "ann@shop.example",
    "KAMAL_SERVICE": "shop",
    "KAMAL_VERSION": "3f78685",
    "KAMAL_SERVICE_VERSION": "shop@3f78685",
    "KAMAL_DESTINATION": "production",
    "KAMAL_HOSTS": "web1,web2",
    "KAMAL_LOCK": "true",
    "KAMAL_COMMAND": "deploy",
}


def test_before_any_container_a_plan_is_run_for_the_version(local_shop: Shop) -> None:
    local_shop.commit("one")
    local_shop.write_settings("  prepare: [{warm: top}]")
    hook = [str(HOOKS / "kamal" / "pre-deploy")]
    assert local_shop.run(hook, **VARIABLES).code == 0
    assert local_shop.last_run() == {
        "tool": "kamal",
        "release": "3f78685",
        "nodes": "web1,web2",
        "environment": "production",
        "actor": "ann@shop.example",
        "plan": "prepare",
        "code": 0,
    }
    local_shop.commit("two", "/broken")
    assert local_shop.run(hook, **VARIABLES).code == 1


def test_a_group_of_hosts_is_warmed_before_the_next_boots(local_shop: Shop) -> None:
    local_shop.commit("one", "/about")
    hook = [str(HOOKS / "kamal" / "post-app-boot")]
    done = local_shop.run(hook, **(VARIABLES | {"KAMAL_HOSTS": "web2"}))
    assert done.code == 0, done.stdout
    assert "2 URLs x 1 node = 2 targets" in done.stdout
    done = local_shop.run(hook, **VARIABLES)
    assert "2 URLs x 2 nodes = 4 targets" in done.stdout
