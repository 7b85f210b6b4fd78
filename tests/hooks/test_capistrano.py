"""The hook for Capistrano, run by `cap` over ssh."""

import pytest

from tests.command import Finished
from tests.hooks.shop import HOOKS, WHERE, Shop
from tests.servers.origin import Origin
from tests.servers.process import require_program

pytestmark = pytest.mark.end_to_end

CAPFILE = f"""\
require "capistrano/setup"
require "capistrano/deploy"
require "capistrano/scm/git"
install_plugin Capistrano::SCM::Git
load "{HOOKS}/capistrano/cachekit.rake"
"""
DEPLOY = """\
set :application, "shop"
set :repo_url, "file://{repository}"
set :branch, "main"
set :deploy_to, "{where}"
set :format, :simpletext
set :ssh_options, {{ config: "{ssh_config}" }}
server "web1", roles: %w[web]
server "web2", roles: %w[web]
"""

# The link is switched by the plan, on each node while no visitor comes there.
ROLL = """\
  deploy:
    - roll: web
      golive: ready
      steps:
        - run: >-
            sh -c 'cd /srv/shop;
            ln -sfn "$PWD/$(dirname $(grep -lx {release} releases/*/REVISION | tail -n 1))" current'
        - {warm: top}
"""


@pytest.fixture
def capistrano(shop: Shop) -> Shop:
    require_program("cap")
    shop.write("Capfile", CAPFILE)
    shop.write("config/deploy/production.rb", "")
    configure(shop)
    return shop


def configure(shop: Shop, *lines: str) -> None:
    text = DEPLOY.format(repository=shop.repository, where=WHERE, ssh_config=shop.ssh_config)
    shop.write("config/deploy.rb", text + "\n".join(lines) + "\n")


def cap(shop: Shop, *arguments: str) -> Finished:
    return shop.run(["cap", "production", *arguments])


def deployed(shop: Shop, page: str) -> str:
    revision = shop.commit(page)
    done = cap(shop, "deploy")
    assert done.code == 0, done.stdout
    assert [shop.live(name) for name in shop.machines] == [page, page]
    return revision


def test_the_hook_tells_what_is_deployed_and_its_no_go_keeps_the_old_release_live(
    capistrano: Shop,
) -> None:
    first = deployed(capistrano, "one")
    told = {
        "tool": "capistrano",
        "environment": "production",
        "actor": "ann",
        "nodes": "web1,web2",
        "plan": "deploy",
    }
    assert capistrano.last_run() == told | {"release": first, "code": 0}

    second = capistrano.commit("two", "/broken")
    done = cap(capistrano, "deploy")
    assert done.code == 1
    assert "cachekit deploy: no-go: a step failed" in done.stdout
    failed = {"release": second, "previous": first, "code": 1}
    assert capistrano.last_run() == told | failed
    assert [capistrano.live(name) for name in capistrano.machines] == ["one", "one"]


def test_plans_after_the_switch_and_after_a_rollback(capistrano: Shop) -> None:
    capistrano.write_settings("  after: [{warm: top}]\n  rollback: [{warm: top}]")
    configure(
        capistrano,
        "set :cachekit_before, nil",
        'set :cachekit_after, "after"',
        'set :cachekit_rollback, "rollback"',
        "set :cachekit_options, %w[--format junit --output cachekit.xml]",
    )
    first = deployed(capistrano, "one")
    second = deployed(capistrano, "two")
    assert 'name="cachekit run after"' in (capistrano.folder / "cachekit.xml").read_text()

    done = cap(capistrano, "deploy:rollback")
    assert done.code == 0, done.stdout
    assert capistrano.live("web1") == "one"
    back = capistrano.last_run()
    assert (back["plan"], back["rollback"]) == ("rollback", "true")
    assert (back["release"], back["previous"]) == (first, second)


def test_a_plan_that_switches_the_link_node_by_node_warms_before_live(
    capistrano: Shop,
) -> None:
    capistrano.write_settings(ROLL)
    configure(capistrano, 'Rake::Task["deploy:symlink:release"].clear_actions')
    ready = [machine.srv / "ready" for machine in capistrano.machines.values()]
    for path in ready:
        path.touch()
    deployed(capistrano, "one")
    assert [path.exists() for path in ready] == [True, True]

    capistrano.commit("two", "/broken")
    assert cap(capistrano, "deploy").code == 1
    assert [capistrano.live(name) for name in capistrano.machines] == ["two", "one"]
    assert [path.exists() for path in ready] == [False, True]


def test_a_dry_run_only_plans(capistrano: Shop, origin: Origin) -> None:
    capistrano.commit("one")
    done = cap(capistrano, "deploy", "--dry-run")
    assert done.code == 0, done.stdout
    assert "PLAN  deploy" in done.stdout
    assert not capistrano.runs()
    assert not origin.requests
