"""One run at a time per site and node."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from cachekit.errors import JournalError, LockedError
from cachekit.lock import locked

SITE = "http://shop.example"
HOLDER = """
import sys
from pathlib import Path
from cachekit.lock import locked
with locked(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(state_dir: Path, *addresses: str) -> Iterator["subprocess.Popen[str]"]:
    """Let another process hold the lock until the end, or until it is killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(state_dir), SITE, *addresses],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def free(state_dir: Path, *addresses: str, site: str = SITE) -> bool:
    try:
        with locked(state_dir, site, addresses):
            return True
    except LockedError:
        return False


def test_a_second_process_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    with holder(tmp_path, "10.0.0.1") as process:
        with pytest.raises(LockedError) as caught, locked(tmp_path, SITE, ["10.0.0.1"]):
            pass
        assert f"{SITE} on 10.0.0.1 is being warmed by process {process.pid} since 20" in str(
            caught.value
        )
        assert caught.value.exit_code == 75


def test_a_lock_dies_with_its_process(tmp_path: Path) -> None:
    with holder(tmp_path, "10.0.0.1", "10.0.0.2") as process:
        assert not free(tmp_path, "10.0.0.2")
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
        assert free(tmp_path, "10.0.0.1", "10.0.0.2")


def test_all_nodes_or_none(tmp_path: Path) -> None:
    with holder(tmp_path, "10.0.0.2"):
        assert not free(tmp_path, "10.0.0.1", "10.0.0.2", "10.0.0.3")
        assert free(tmp_path, "10.0.0.1", "10.0.0.3"), "what was taken must be given back"


def test_other_nodes_and_other_sites_are_free(tmp_path: Path) -> None:
    with locked(tmp_path, SITE, ["10.0.0.1"]):
        assert free(tmp_path, "10.0.0.1:8080")
        assert free(tmp_path, "10.0.0.1", site="https://shop.example")
        assert not free(tmp_path, "10.0.0.1")
    assert free(tmp_path, "10.0.0.1")


def test_one_address_twice_is_locked_once(tmp_path: Path) -> None:
    assert free(tmp_path, "unix:/run/a.sock", "unix:/run/a.sock")


def test_names_that_look_alike_on_disk_are_told_apart(tmp_path: Path) -> None:
    with ExitStack() as held:
        for address in ("a/b", "a-b", "a:b", "[::1]:1", "[::11]:", "x" * 300, "x" * 301):
            held.enter_context(locked(tmp_path, SITE, [address]))


def test_a_lock_is_given_back_after_an_error(tmp_path: Path) -> None:
    def fail() -> None:
        with locked(tmp_path, SITE, ["10.0.0.1"]):
            (path,) = (tmp_path / "locks").iterdir()
            assert json.loads(path.read_text())["pid"] == os.getpid()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert free(tmp_path, "10.0.0.1")


def test_a_stale_or_damaged_file_holds_up_nobody(tmp_path: Path) -> None:
    assert free(tmp_path, "10.0.0.1")
    (path,) = (tmp_path / "locks").iterdir()
    path.write_text('{"pid": 1, "since": "for ever"}')
    assert free(tmp_path, "10.0.0.1")


@pytest.mark.parametrize("text", ["", "{", "[]", "5", '{"pid": 1}'])
def test_a_holder_without_a_name_is_another_process(tmp_path: Path, text: str) -> None:
    with locked(tmp_path, SITE, ["10.0.0.1"]):
        (path,) = (tmp_path / "locks").iterdir()
        path.write_text(text)
        with (
            pytest.raises(LockedError, match="by another process"),
            locked(tmp_path, SITE, ["10.0.0.1"]),
        ):
            pass


def test_a_place_that_cannot_be_written_is_an_error_with_advice(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(JournalError, match="choose another --state-dir"),
        locked(tmp_path / "file", SITE, ["10.0.0.1"]),
    ):
        pass


def test_a_lock_is_waited_for_until_its_holder_ends(tmp_path: Path) -> None:
    with holder(tmp_path, "10.0.0.1") as process:

        def stopped() -> bool:
            """End the holder once somebody waits for it."""
            process.kill()
            return False

        with locked(tmp_path, SITE, ["10.0.0.1", "10.0.0.2"], patience=60, stopped=stopped):
            assert not free(tmp_path, "10.0.0.1")
    assert free(tmp_path, "10.0.0.1", "10.0.0.2")


def test_patience_ends_with_the_holder_named(tmp_path: Path) -> None:
    with (
        holder(tmp_path, "10.0.0.2") as process,
        pytest.raises(LockedError, match=f"warmed by process {process.pid} since"),
        locked(tmp_path, SITE, ["10.0.0.1", "10.0.0.2"], patience=0.3),
    ):
        pass
    assert free(tmp_path, "10.0.0.1")


def test_patience_ends_when_the_run_is_to_stop(tmp_path: Path) -> None:
    with (
        holder(tmp_path, "10.0.0.1"),
        pytest.raises(LockedError),
        locked(tmp_path, SITE, ["10.0.0.1"], patience=3600, stopped=lambda: True),
    ):
        pass
