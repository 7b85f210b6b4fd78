"""`clear`, `prime` and `status` on a cache of a third party: one module and one line of its own.

The cache is a folder of files on the node, reached through the transport like any other.
"""

import json
import os
import pty
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.command import Cachekit, Finished
from tests.servers.process import wait_until

MODULE = '''
from dataclasses import dataclass
from typing import ClassVar

from cachekit.caches.base import Change, Status, Survey, on_nodes
from cachekit.errors import RefusedError
from cachekit.scope import Kind


@dataclass(frozen=True, kw_only=True)
class Boxes:
    """Files in a folder, named by their keys."""

    layer: ClassVar[int] = 30
    scopes: ClassVar[frozenset[Kind]] = frozenset({Kind.EVERYTHING, Kind.KEY})
    prime_from: ClassVar[frozenset[str]] = frozenset({"file"})
    sharded: ClassVar[bool] = False

    on: tuple[str, ...]
    folder: str
    proves: bool = True
    max_keys: int | None = None
    max_share: float | None = None

    def places(self, nodes):
        return on_nodes(self.on, nodes)

    def refusal(self, scope, conditions):
        return ""

    def clear(self, place, scope, conditions):
        found = self._found(place, scope, conditions)
        self._run(place, conditions, "rm", "-f", *found)
        left = len(self._found(place, scope, conditions)) if self.proves else None
        return Change(found=len(found), removed=len(found), left=left)

    def survey(self, place, scope, conditions):
        found = self._found(place, scope, conditions)
        return Survey(found=len(found), total=len(found), examples=tuple(found[:3]))

    def status(self, place, conditions):
        return Status(items=len(self._listed(place, conditions)), hazards=("it is made of wood",))

    def prime(self, places, filling, conditions):
        self._run(places[0], conditions, "touch", self.folder + "/primed")
        return Change(found=1, stored=1, left=0)

    def _found(self, place, scope, conditions):
        names = self._listed(place, conditions)
        keys = names if scope.kind is Kind.EVERYTHING else [n for n in names if n in scope.values]
        return [f"{self.folder}/{key}" for key in keys]

    def _listed(self, place, conditions):
        return self._run(place, conditions, "ls", self.folder).split()

    def _run(self, place, conditions, *argv):
        done = place.transport.run(argv, deadline=conditions.deadline)
        if done.status:
            raise RefusedError(place.name, done.stderr.decode().strip())
        return done.stdout.decode()
'''

SETTINGS = """\
site: https://shop.example
nodes:
  web1: {address: 127.0.0.1, groups: [web]}
  web2: {address: 127.0.0.2, groups: [web]}
  far: 10.0.0.1
caches:
  boxes: {type: boxes, on: [web], folder: FOLDER}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("a", "b", "c"):
        (folder / name).touch()
    return folder


@pytest.fixture
def boxes(cachekit: Cachekit, folder: Path, tmp_path: Path) -> Callable[..., Finished]:
    """Run a command with the third party's package installed, as pip leaves it behind."""
    site = tmp_path / "site"
    (site / "boxes-1.0.dist-info").mkdir(parents=True)
    (site / "boxes.py").write_text(MODULE)
    (site / "boxes-1.0.dist-info" / "METADATA").write_text("Name: boxes\nVersion: 1.0\n")
    (site / "boxes-1.0.dist-info" / "entry_points.txt").write_text(
        "[cachekit.caches]\nboxes = boxes:Boxes\n"
    )
    cachekit.environment["PYTHONPATH"] = f"{site}:{os.environ.get('PYTHONPATH', '')}"
    (tmp_path / "cachekit.yaml").write_text(SETTINGS.replace("FOLDER", str(folder)))

    def run(command: str, *arguments: str, **keys: str) -> Finished:
        text = (tmp_path / "cachekit.yaml").read_text()
        for key, value in keys.items():
            text = text.replace("folder:", f"{key}: {value}, folder:")
        (tmp_path / "cachekit.yaml").write_text(text)
        return cachekit.run(command, "--state-dir", str(tmp_path / "state"), *arguments)

    return run


def there(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_clear_proves_what_it_did(boxes: Callable[..., Finished], folder: Path) -> None:
    done = boxes("clear", "boxes", "--key", "a", "--key", "b", "--yes", "--node", "web1")
    assert done.code == 0, done.stderr
    assert there(folder) == {"c"}
    assert done.stdout.startswith("DONE  clear key a, b\n")
    assert "boxes  web1      2        2     0" in done.stdout
    assert "done    boxes at web1" in done.stderr


def test_json_has_the_same_facts(boxes: Callable[..., Finished]) -> None:
    done = boxes("clear", "--everything", "--yes", "--node", "web2", "--format", "json")
    (step,) = done.report["steps"]
    assert (done.report["outcome"], done.report["exit_code"]) == ("done", 0)
    assert (step["cache"], step["place"], step["outcome"]) == ("boxes", "web2", "done")
    assert (step["found"]["found"], step["found"]["left"]) == (3, 0)


def test_without_a_terminal_nothing_is_cleared_unasked(
    boxes: Callable[..., Finished], folder: Path
) -> None:
    done = boxes("clear", "--everything")
    assert done.code == 2
    assert "would go" in done.stderr
    assert "--yes clears without asking" in done.stderr
    assert there(folder) == {"a", "b", "c"}


@pytest.mark.parametrize(("answer", "left"), [(b"y\n", set[str]()), (b"n\n", {"a", "b", "c"})])
def test_a_terminal_is_asked(
    boxes: Callable[..., Finished],
    cachekit: Cachekit,
    folder: Path,
    answer: bytes,
    left: set[str],
) -> None:
    assert boxes("status").code == 0
    master, terminal = pty.openpty()
    process = cachekit.start("clear", "--everything", "--node", "web1", stdin=terminal)
    os.write(master, answer)
    _, errors = process.communicate(timeout=60)
    os.close(master)
    os.close(terminal)
    assert "clear this?" in errors
    assert ("nothing was cleared: the answer was no" in errors) == bool(left)
    assert process.returncode == (2 if left else 0)
    assert there(folder) == left


@pytest.mark.parametrize("command", [("clear", "--dry-run"), ("plan", "clear")])
def test_a_plan_changes_nothing(
    boxes: Callable[..., Finished], cachekit: Cachekit, folder: Path, command: tuple[str, ...]
) -> None:
    assert boxes("status").code == 0
    done = cachekit.run(*command, "--everything")
    assert (done.code, there(folder)) == (0, {"a", "b", "c"})
    assert "nothing was changed" in done.stdout
    assert "for example:" in done.stdout
    assert "blast radius: 6 entries at 2 places, 100% of the 6 there" in done.stdout


def test_a_prime_is_planned_without_priming(boxes: Callable[..., Finished], folder: Path) -> None:
    records = folder.parent / "records.jsonl"
    records.write_text('{"key": "a", "value": 1}\n{"key": "b", "value": 2}\n')
    done = boxes("prime", "boxes", "--from", f"file:{records}", "--dry-run")
    assert done.code == 0
    assert done.stdout.startswith("PLAN PRIME file:")
    assert "boxes  web1        2  done" in done.stdout
    assert "nothing was changed" in done.stdout
    assert there(folder) == {"a", "b", "c"}
    missing = boxes("prime", "boxes", "--from", "file:/nonexistent", "--dry-run")
    assert missing.code == 1
    assert "/nonexistent: cannot be read" in missing.stdout


def test_a_guard_of_the_settings_holds(boxes: Callable[..., Finished], folder: Path) -> None:
    done = boxes("clear", "--everything", "--yes", "--node", "web1", max_keys="2")
    assert done.code == 1
    assert "3 entries would go, more than max_keys 2" in done.stdout
    assert there(folder) == {"a", "b", "c"}
    planned = boxes("clear", "--everything", "--dry-run", "--node", "web1")
    assert planned.code == 1
    assert "more than max_keys 2" in planned.stdout
    assert boxes("clear", "--everything", "--yes", "--node", "web1", "--force").code == 0


def test_what_cannot_be_known_is_exit_3(boxes: Callable[..., Finished]) -> None:
    done = boxes("clear", "--everything", "--yes", "--node", "web1", proves="false")
    assert done.code == 3
    assert done.stdout.startswith("UNKNOWN")


def test_one_node_that_fails_is_exit_1(boxes: Callable[..., Finished], folder: Path) -> None:
    folder.rename(folder.with_name("gone"))
    done = boxes("clear", "--everything", "--yes")
    assert done.code == 1
    assert "boxes at web1: ls: cannot access" in done.stdout
    assert "0 of 2 steps done" in done.stdout


def test_prime_and_status(boxes: Callable[..., Finished], folder: Path) -> None:
    assert boxes("prime", "boxes", "--from", "file:any").code == 0
    assert "primed" in there(folder)
    done = boxes("status")
    assert done.code == 0
    assert "boxes at web1: it is made of wood" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("clear", "--yes"), "say what to clear by one kind of scope, found none"),
        (("clear", "--everything", "--key", "a"), "found --everything and --key"),
        (("clear", "--key", ""), "--key is empty; is a variable not set?"),
        (("clear", "--key", "a", "--deadline", "0"), "--deadline: expected a time greater than 0"),
        (("clear", "--tag", "a"), "boxes: takes no --tag; no cache of the settings does"),
        (("clear", "boxs", "--everything"), "did you mean 'boxes'?"),
        (("clear", "--everything", "--node", "far"), "no cache is at the chosen nodes"),
        (("prime", "--from", "nowhere"), "--from: expected file:PATH"),
        (("prime", "--from", "donor:x"), "cannot be primed from donor:; it takes file"),
        (("status", "--group", "edge"), "--group edge: no group is called so"),
    ],
)
def test_mistakes_are_exit_2(
    boxes: Callable[..., Finished], arguments: tuple[str, ...], said: str
) -> None:
    done = boxes(*arguments)
    assert done.code == 2, done.stdout
    assert said in done.stderr


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("type: boxs", "expected `type:` to be one of"),
        ("on: [far]", "caches.boxes: node far: 10.0.0.1 is another machine; give it `ssh:"),
        ("on: [wed]", "on: no node or group is called wed"),
        ("fodder: x", "unknown key; did you mean 'folder'?"),
    ],
)
def test_wrong_settings_of_a_cache_are_named_by_line(
    boxes: Callable[..., Finished], tmp_path: Path, wrong: str, said: str
) -> None:
    key = wrong.partition(":")[0]
    line = "  boxes: {type: boxes, on: [web], folder: /tmp}\n"
    old = {"type": "type: boxes", "on": "on: [web]", "fodder": "folder: /tmp"}[key]
    text = SETTINGS.rpartition("  boxes:")[0] + line.replace(old, wrong)
    (tmp_path / "cachekit.yaml").write_text(text)
    done = boxes("status")
    assert done.code == 2
    assert "cachekit.yaml:7:" in done.stderr
    assert said in done.stderr


def test_the_report_of_an_interrupted_action_tells_the_exit_code_of_the_process(
    boxes: Callable[..., Finished], cachekit: Cachekit, tmp_path: Path
) -> None:
    assert boxes("status").code == 0
    slow = tmp_path / "bin" / "ls"
    slow.parent.mkdir()
    slow.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\nsleep 1\n")
    slow.chmod(0o755)
    cachekit.environment["PATH"] = f"{slow.parent}:{os.environ['PATH']}"
    arguments = ("--state-dir", str(tmp_path / "state"), "--format", "json")
    process = cachekit.start("status", *arguments)
    assert wait_until((tmp_path / "started").exists, seconds=30)
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 143, stderr
    assert json.loads(stdout)["exit_code"] == 143
