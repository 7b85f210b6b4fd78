"""What runs on a node, run by the shells that nodes have; no ssh is needed for that."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cachekit.transports.ssh.remote import BOOTSTRAP, READY, Answer, answer, end_mark, program

NONCE = "0123456789abcdef"
TELL = "import os, sys; sys.stdout.buffer.write(b'\\0'.join(map(os.fsencode, sys.argv[1:])))"
# The login shell, and what it finds as `sh`. Those beyond the first two are used where they are.
LOGIN_SHELLS = ["sh", *filter(shutil.which, ["bash", "zsh", "ksh", "mksh", "fish", "tcsh"])]
INNER_SHELLS = [[path] for path in map(shutil.which, ["sh", "bash", "mksh"]) if path]
if busybox := shutil.which("busybox"):
    INNER_SHELLS.append([busybox, "sh"])


def run(
    argv: list[str], stdin: bytes = b"", *, shell: str = "sh", path: str | None = None
) -> Answer:
    """Do what sshd does with the command, and what cachekit does with the answer."""
    done = subprocess.run(
        [shell, "-c", BOOTSTRAP],
        input=program(argv, 20, NONCE) + stdin,
        capture_output=True,
        check=True,
        env={**os.environ, **({"PATH": path} if path else {})},
    )
    noise, ready, received = done.stdout.partition(READY)
    assert (noise, ready) == (b"", READY)
    found = answer(received, NONCE)
    assert found is not None, done
    return found


def told(arguments: list[bytes], **options: str) -> list[bytes]:
    argv = [sys.executable, "-c", TELL, *map(os.fsdecode, arguments)]
    return run(argv, **options).stdout.split(b"\0")  # type: ignore[arg-type]


@given(
    st.lists(st.binary().map(lambda raw: raw.replace(b"\0", b"")), min_size=1, max_size=4)
    | st.lists(st.text("_ \n\t'\"\\$`!%-a\x01\x7fé", max_size=12).map(str.encode), min_size=1)
)
@settings(max_examples=60, deadline=None)
def test_arguments_arrive_as_they_are(arguments: list[bytes]) -> None:
    assert told(arguments) == arguments


@pytest.mark.parametrize("shell", LOGIN_SHELLS)
def test_whatever_the_login_shell_is(shell: str) -> None:
    every = [bytes([byte]) for byte in range(1, 256)] + [bytes(range(1, 256)) + b"\n\n"]
    assert told(every, shell=shell) == every
    assert run(["sh", "-c", "cat; exit 7"], b"\0\xff\n", shell=shell) == Answer(b"\0\xff\n", 7)


@pytest.mark.parametrize("inner", INNER_SHELLS, ids=lambda inner: Path(inner[0]).name)
def test_whatever_sh_is(inner: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "sh").write_text(f'#!/bin/sh\nexec {" ".join(inner)} "$@"\n')
    (folder / "sh").chmod(0o755)
    path = f"{folder}:{os.environ['PATH']}"
    every = [bytes([byte]) for byte in range(1, 256)] + [bytes(range(1, 256)) + b"\n\n"]
    assert told(every, path=path) == every
    assert run(["sh", "-c", "cat; exit 7"], b"\0\xff\n", path=path) == Answer(b"\0\xff\n", 7)


def test_a_node_without_timeout(tmp_path: Path) -> None:
    for name in ("sh", "cat"):
        found = shutil.which(name)
        assert found is not None
        (tmp_path / name).symlink_to(found)
    path = str(tmp_path)
    shell = str(tmp_path / "sh")
    assert run(["sh", "-c", "cat; exit 7"], b"in", shell=shell, path=path) == Answer(b"in", 7)


def test_a_command_that_is_not_there() -> None:
    assert run(["cachekit-no-such"], b"in") == Answer(b"", None)


def test_nothing_runs_without_the_line() -> None:
    done = subprocess.run(["sh", "-c", BOOTSTRAP], input=b"", capture_output=True, check=False)
    assert done.stdout == READY
    cut = program(["echo", "ran"], 20, NONCE)[:-1]
    done = subprocess.run(["sh", "-c", BOOTSTRAP], input=cut, capture_output=True, check=False)
    assert done.stdout == READY


def test_an_answer_without_its_end() -> None:
    assert answer(b"half of it", NONCE) is None
    assert answer(f"half of it{NONCE}:0".encode(), NONCE) is None
    assert answer(b"all" + f"{NONCE}:0".encode() + end_mark(NONCE), NONCE) == Answer(b"all", 0)
