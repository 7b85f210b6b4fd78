"""command keeps the contract of a go-live actor: a script that tells a real HAProxy what to do."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cachekit.golive.command import Command
from cachekit.testing.golive import GoLiveContract, Rotation
from tests.servers.balanced import Balanced

pytestmark = pytest.mark.server

# What an administrator has: `lb SOCKET (enable|disable|ask) SERVER`.
LB = """\
import csv, os, socket, sys
def tell(command):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(sys.argv[1])
        connection.sendall(command.encode() + b"\\n")
        return connection.makefile("r").read()
action, server = sys.argv[2:]
wanted = {"enable": "in", "disable": "out", "ask": ""}[action]
assert (os.environ["CACHEKIT_STANDING"], os.environ["CACHEKIT_NODE"]) == (wanted, server)
assert os.environ["CACHEKIT_RELEASE"] == "r42"
if action == "ask":
    rows = csv.DictReader(tell("show stat -1 4 -1").splitlines())
    status = next(row["status"] for row in rows if row["svname"] == server)
    print(status)
    sys.exit(status == "MAINT")
print(tell(f"set server pages/{server} state {'ready' if wanted == 'in' else 'maint'}").strip())
"""


class CommandContract(GoLiveContract):
    asks = True

    @pytest.fixture
    def rotation(self, tmp_path: Path) -> Iterator[Rotation]:
        script = tmp_path / "lb"
        script.write_text(LB)
        with Balanced() as balanced:
            lb = f"{sys.executable} {script} {balanced.haproxy.socket_path}"
            actor = Command(
                enable=(f"{lb} enable {{node}}",),
                disable=(*lb.split(), "disable", "{node}"),
                ask=(f"{lb} ask '{{node}}'",) if self.asks else (),
            )
            yield Rotation(
                actor=actor,
                nodes=balanced.nodes,
                reaches=balanced.reaches,
                stop=balanced.haproxy.kill,
                asks=self.asks,
            )


class TestCommand(CommandContract):
    pass


class TestCommandWithoutAQuestion(CommandContract):
    asks = False
