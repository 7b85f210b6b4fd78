"""The unit that warms a node after its boot."""

import configparser
import subprocess

import pytest

from tests.hooks.shop import HOOKS, Shop
from tests.servers.process import require_program

UNIT = (HOOKS / "systemd" / "cachekit-boot.service").read_text()
COMMAND = "/usr/local/bin/cachekit"


def test_systemd_finds_nothing_wrong_with_the_unit(local_shop: Shop) -> None:
    unit = local_shop.write(
        "cachekit-boot.service", UNIT.replace(COMMAND, f"{local_shop.folder}/bin/cachekit")
    )
    argv = [require_program("systemd-analyze"), "verify", "--man=no", str(unit)]
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.end_to_end
def test_its_command_warms_the_node_and_then_puts_it_in(local_shop: Shop) -> None:
    local_shop.commit("one")
    local_shop.write_settings("  boot: [{warm: top, on: web1}, {golive: ready, on: web1}]")
    unit = configparser.ConfigParser(interpolation=None)
    unit.read_string(UNIT)
    settings = str(local_shop.folder / "cachekit.yaml")
    command = unit["Service"]["ExecStart"].replace("/etc/cachekit/cachekit.yaml", settings)
    command = command.replace(COMMAND, "cachekit")
    ready = local_shop.folder / "ready"

    local_shop.commit("two", "/broken")
    assert local_shop.run(command.split()).code == 1
    assert not ready.exists()
    local_shop.commit("one")
    assert local_shop.run(command.split()).code == 0
    assert ready.exists()
