"""The module for Ansible, run by `ansible-playbook`, here and over ssh."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.command import Finished
from tests.hooks.shop import HOOKS, Shop
from tests.servers.origin import Origin
from tests.servers.process import require_program

pytestmark = pytest.mark.end_to_end

SECRET = "s3cret-of-the-cookie"


def ansible(shop: Shop, *arguments: str, **environment: str) -> Finished:
    argv = [require_program("ansible-playbook"), *arguments]
    library = {
        "ANSIBLE_LIBRARY": str(HOOKS / "ansible" / "library"),
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
        # No connection outlives the play, and no socket's path is too long.
        "ANSIBLE_SSH_ARGS": "-o ControlMaster=no",
        "ANSIBLE_PIPELINING": "true",
    }
    return shop.run(argv, **library, **environment)


def results(shop: Shop, *tasks: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Run tasks with the module here, and return their results as Ansible has them."""
    steps: list[dict[str, Any]] = []
    for number, task in enumerate(tasks):
        options = {"plan": "deploy", "release": "r2", "previous": "r1", **task}
        check = {"check_mode": options.pop("check", False)}
        steps.append({"cachekit": options, "register": f"r{number}", "ignore_errors": True} | check)
    found = ", ".join(f"r{number}" for number in range(len(tasks)))
    told = {"content": f"{{{{ [{found}] | to_json }}}}", "dest": str(shop.folder / "results.json")}
    play = {"hosts": "localhost", "gather_facts": False, "tasks": [*steps, {"copy": told}]}
    shop.write("play.yml", yaml.safe_dump([play]))
    done = ansible(shop, "play.yml", "-vvv")
    assert done.code == 0, done.stdout
    assert SECRET not in done.stdout
    found_results: list[dict[str, Any]] = json.loads((shop.folder / "results.json").read_text())
    return found_results


def test_a_run_is_a_change_and_one_that_finds_all_warm_is_none(local_shop: Shop) -> None:
    local_shop.commit("one")
    first, second = results(local_shop, {}, {})
    assert (first["changed"], second["changed"]) == (True, False)
    assert (first["rc"], first["outcome"], first["failed"]) == (0, "done", False)
    assert first["msg"] == "deploy: done"
    last = local_shop.last_run()
    assert second["run"] == local_shop.runs()[0]["run"]
    assert (last["tool"], last["release"], last["previous"]) == ("ansible", "r2", "r1")


def test_check_mode_predicts_a_change_and_makes_none(local_shop: Shop, origin: Origin) -> None:
    local_shop.commit("one")
    local_shop.write_settings(
        "  deploy: [{warm: top}]\n"
        '  idle: [{run: "touch made", when: "{previous} == x"}, {wait: 10ms}]\n'
        "  wrong: [{clear: all}]"
    )
    would, idle, wrong = results(
        local_shop,
        {"check": True},
        {"check": True, "plan": "idle"},
        {"check": True, "plan": "wrong"},
    )
    assert (would["changed"], would["outcome"]) == (True, "planned")
    assert not idle["changed"]
    assert (wrong["failed"], wrong["rc"]) == (True, 2)
    assert not origin.requests
    assert not local_shop.runs()


def test_no_go_fails_and_degraded_fails_unless_it_is_accepted(local_shop: Shop) -> None:
    local_shop.commit("two", "/broken")
    local_shop.write_settings(
        "  deploy: [{warm: top}]\n  easy: [{warm: top, gate: {min_ok: {go: 100%, floor: 10%}}}]"
    )
    failed, degraded, accepted = results(
        local_shop, {}, {"plan": "easy"}, {"plan": "easy", "accept_degraded": True}
    )
    assert (failed["failed"], failed["rc"], failed["outcome"]) == (True, 1, "failed")
    assert "step 1 (warm top)" in failed["msg"]
    assert "min_ok: 50%" in failed["msg"]
    assert (degraded["failed"], degraded["rc"]) == (True, 3)
    assert (accepted["failed"], accepted["rc"]) == (False, 3)
    assert accepted["warnings"][0].startswith("degraded: easy: step 1 (warm top)")


def test_what_cannot_work_is_told_and_secrets_are_not(local_shop: Shop) -> None:
    local_shop.commit("one")
    local_shop.write_settings("  deploy: [{run: \"sh -c 'echo ${COOKIE} >&2; exit 1'\"}]")
    unset, told = results(local_shop, {}, {"variables": {"COOKIE": SECRET}})
    assert (unset["failed"], unset["rc"], unset["changed"]) == (True, 2, False)
    assert "COOKIE" in unset["msg"]
    assert told["rc"] == 1
    assert SECRET not in json.dumps(told)


def inventory(shop: Shop) -> Path:
    hosts = {name: {"ansible_ssh_common_args": f"-F {shop.ssh_config}"} for name in shop.machines}
    hosts_of = {"web": {"hosts": hosts, "vars": {"ansible_python_interpreter": "/usr/bin/python3"}}}
    return shop.write("inventory.yml", yaml.safe_dump(hosts_of))


def test_the_play_stops_before_the_switch(shop: Shop) -> None:
    given = {"repository": str(shop.repository), "cachekit_folder": str(shop.folder)}

    def deploy(release: str) -> Finished:
        variables = json.dumps(given | {"release": release})
        play = str(HOOKS / "ansible" / "deploy.yml")
        return ansible(shop, "-i", str(inventory(shop)), play, "-e", variables)

    first = shop.commit("one")
    done = deploy(first)
    assert done.code == 0, done.stdout
    assert [shop.live(name) for name in shop.machines] == ["one", "one"]

    second = shop.commit("two", "/broken")
    done = deploy(second)
    assert done.code != 0
    assert "min_ok: 50%" in done.stdout
    last = shop.last_run()
    assert (last["release"], last["previous"], last["code"]) == (second, first, 1)
    assert [shop.live(name) for name in shop.machines] == ["one", "one"]
