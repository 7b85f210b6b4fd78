"""command: what the user's own commands say, and what becomes of them."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cachekit.caches.base import Conditions
from cachekit.deadline import Deadline
from cachekit.errors import CommandError
from cachekit.golive.base import Standing
from cachekit.golive.command import Command
from cachekit.model import Node, parse_address
from tests.servers.sshd import Sshd
from tests.shelves import conditions

pytestmark = [pytest.mark.server, pytest.mark.end_to_end]

HERE = Node(name="web1", address=parse_address("127.0.0.1:8080"))
TELL = """import os, sys
print(sys.argv[1:], *(os.environ['CACHEKIT_' + name] for name in sys.argv[-1].split()))
"""
PYTHON = (sys.executable, "-c")


def soon(seconds: float = 60) -> Conditions:
    return conditions(deadline=Deadline(seconds), release="r42")


def command(**keys: Any) -> Command:
    written: dict[str, Any] = {"enable": ("true",), "disable": ("true",)}
    for key, value in keys.items():
        is_line = isinstance(value, str) and key != "where"
        written[key] = (value,) if is_line else value
    return Command(**written)


def test_words_are_filled_in_one_by_one() -> None:
    words = ("{node}:{release}", "at {address}, {host}", "{other} {}", "NODE RELEASE STANDING")
    node = Node(name="web 1'; x", address=HERE.address)
    (said,) = command(enable=(*PYTHON, TELL, *words)).put_in(node, soon()).evidence
    assert said == (
        """`enable` ended with status 0: ["web 1'; x:r42", 'at 127.0.0.1:8080, 127.0.0.1',"""
        """ '{other} {}', 'NODE RELEASE STANDING'] web 1'; x r42 in"""
    )


def test_it_runs_on_the_node_if_told_so(ssh_node: Callable[..., Sshd]) -> None:
    sshd = ssh_node()
    node = Node(name="web9", address=parse_address("192.0.2.1"), ssh=sshd.name)
    script = ("sh", "-c", 'echo "${SSH_CONNECTION:+far} $CACHEKIT_NODE $CACHEKIT_STANDING"')
    (here,) = command(disable=script).take_out(node, soon()).evidence
    (there,) = command(disable=script, where="node").take_out(node, soon()).evidence
    assert here.endswith(": web9 out")
    assert there.endswith(": far web9 out")


class TestAsk:
    def test_it_is_repeated_until_it_agrees(self, tmp_path: Path) -> None:
        """A load balancer that takes a while: the third answer is the one that is wanted."""
        count = f"echo >>{tmp_path}/asked; test $(wc -l <{tmp_path}/asked) -lt 3"
        turn = command(ask=("sh", "-c", count)).take_out(HERE, soon())
        assert turn.standing is Standing.OUT
        assert (tmp_path / "asked").read_text() == "\n\n\n"

    def test_its_word_goes_over_that_of_the_other_command(self) -> None:
        turn = command(ask="false", within=0.1).put_in(HERE, soon())
        assert turn.standing is Standing.OUT
        assert turn.evidence == (
            "`enable` ended with status 0: it printed nothing",
            "`ask` ended with status 1: it printed nothing",
        )

    @pytest.mark.parametrize("status", [2, 127, 137])
    def test_another_status_is_no_answer(self, status: int) -> None:
        turn = command(ask=("sh", "-c", f"exit {status}"), within=0.1).take_out(HERE, soon())
        assert turn.standing is Standing.UNKNOWN
        assert f"`ask` ended with status {status}" in turn.warnings[0]

    def test_one_that_cannot_be_run_is_no_answer(self) -> None:
        turn = command(ask="/nonexistent/lb").standing(HERE, soon())
        assert turn.standing is Standing.UNKNOWN
        assert "No such file or directory" in turn.warnings[0]


class TestFaults:
    def test_a_status_other_than_0_and_what_was_said(self) -> None:
        fails = ("sh", "-c", "echo no such pool >&2; exit 4")
        expected = "node web1: `enable` ended with status 4: no such pool"
        with pytest.raises(CommandError, match=f"^{expected}$"):
            command(enable=fails).put_in(HERE, soon())

    def test_what_it_prints_does_nothing_to_a_terminal(self) -> None:
        fails = ("sh", "-c", r"printf '\033[2J'; exit 1")
        with pytest.raises(CommandError, match=r"status 1: \\x1b\[2J$"):
            command(enable=fails).put_in(HERE, soon())

    def test_one_that_hangs_is_ended(self) -> None:
        with pytest.raises(CommandError, match=r"node web1: .*not done within 1 s"):
            command(disable="sleep 600").take_out(HERE, soon(1))

    def test_its_words_are_not_shown(self) -> None:
        """They may hold what came from `${TOKEN}`."""
        hidden = command(enable="false --token s3cret", disable="sh -c 'sleep 600' s3cret")
        with pytest.raises(CommandError) as failed:
            hidden.put_in(HERE, soon())
        with pytest.raises(CommandError) as ended:
            hidden.take_out(HERE, soon(1))
        assert "s3cret" not in f"{failed.value} {ended.value} {hidden}"
