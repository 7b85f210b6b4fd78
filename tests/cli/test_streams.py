"""Streams that are closed, full, of another encoding, or that nobody reads: no run ends by them."""

import fcntl
import json
import os
import pty
import subprocess
import sys
import termios
from collections.abc import Iterator

import pytest

from tests.command import Cachekit, Finished
from tests.servers.origin import Origin
from tests.servers.process import wait_until

URL = "http://shop.example/"


def redirected(cachekit: Cachekit, redirection: str, *arguments: str) -> Finished:
    """Run the command as a shell does with this redirection."""
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {redirection}', "sh", *cachekit.argv(*arguments)],
        check=False,
        cwd=cachekit.folder,
        env=cachekit.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="latin-1",
        timeout=60,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert "Exception ignored" not in done.stderr, done.stderr
    return Finished(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def arguments(cachekit: Cachekit, origin: Origin) -> Iterator[tuple[str, ...]]:
    origin.page("/bad", status=500)
    state = ("--state-dir", str(cachekit.state_dir))
    yield ("warm", *state, "--url", URL, "--node", origin.address)
    assert len(origin.requests) >= 2, "the run ended before it was done"


@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- 2>&-", ">&-", "<&- >&- 2>&-"])
def test_closed_streams_change_nothing(
    cachekit: Cachekit, arguments: tuple[str, ...], closed: str
) -> None:
    done = redirected(cachekit, closed, *arguments)
    assert done.code == 0, done.stderr
    assert done.stdout.startswith("GO" if " >&-" not in f" {closed}" else "")


@pytest.mark.parametrize("options", [(), ("-v", "--min-ok", "50%", "--url", URL + "bad")])
def test_progress_that_cannot_be_written_ends_no_run(
    cachekit: Cachekit, arguments: tuple[str, ...], options: tuple[str, ...]
) -> None:
    done = redirected(cachekit, "2>/dev/full", *arguments, *options)
    assert done.code == 0
    assert done.stdout.startswith("GO")


def test_progress_that_nobody_reads_ends_no_run(
    cachekit: Cachekit, arguments: tuple[str, ...]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.Popen(
        cachekit.argv(*arguments),
        cwd=cachekit.folder,
        env=cachekit.environment,
        stdout=subprocess.PIPE,
        stderr=writer,
        text=True,
    )
    os.close(writer)
    stdout, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert stdout.startswith("GO")


@pytest.mark.parametrize("output_format", ["text", "jsonl"])
def test_a_report_that_stdout_does_not_take_is_said(
    cachekit: Cachekit, arguments: tuple[str, ...], output_format: str
) -> None:
    done = redirected(cachekit, ">/dev/full", *arguments, "--format", output_format)
    assert done.code == 1
    assert "cachekit: standard output: cannot be written: No space left on device" in done.stderr


def test_a_pipe_that_does_not_wait_is_waited_for(cachekit: Cachekit) -> None:
    reader, writer = os.pipe()
    size = fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writer, False)
    process = subprocess.Popen(cachekit.argv("schema"), cwd=cachekit.folder, stdout=writer)
    os.close(writer)

    def is_full() -> bool:
        waiting = fcntl.ioctl(reader, termios.FIONREAD, bytes(4))
        return int.from_bytes(waiting, sys.byteorder) >= size

    assert wait_until(is_full, seconds=30)
    with os.fdopen(reader, "rb") as file:
        assert json.loads(file.read())
    assert process.wait(30) == 0


@pytest.mark.parametrize("output_format", ["text", "json", "junit"])
def test_a_report_in_any_encoding(
    cachekit: Cachekit, arguments: tuple[str, ...], output_format: str
) -> None:
    cachekit.environment["PYTHONIOENCODING"] = "latin-1"
    done = redirected(cachekit, "", *arguments, "--url", "/bäd€", "--format", output_format)
    assert done.code == 0, done.stderr
    named = {"text": "/bäd\\u20ac", "json": "/b\\u00e4d\\u20ac", "junit": "encoding='us-ascii'"}
    assert named[output_format] in done.stdout
    assert done.stdout.isascii() or output_format == "text"


def test_a_terminal_shows_a_bar_and_then_the_report(
    cachekit: Cachekit, arguments: tuple[str, ...]
) -> None:
    terminal, line = pty.openpty()
    cachekit.environment |= {"TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(
        cachekit.argv(*arguments),
        cwd=cachekit.folder,
        env=cachekit.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=line,
        text=True,
    )
    os.close(line)
    stdout, _ = process.communicate(timeout=60)
    shown = os.read(terminal, 65536).decode()
    os.close(terminal)
    assert process.returncode == 0
    assert stdout.startswith("GO")
    assert "\x1b[?25l" in shown, "no bar"
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l"), "the cursor stays hidden"
    assert "verify pass: 1 done" in shown


def test_a_library_needs_no_stdin(cachekit: Cachekit, origin: Origin) -> None:
    host, _, port = origin.address.rpartition(":")
    program = (
        "import cachekit, pathlib\n"
        "settings = cachekit.Settings(\n"
        "    site='http://shop.example',\n"
        f"    nodes={{'a': cachekit.Node(name='a', address=cachekit.Address('{host}', {port}))}},\n"
        "    warmlists={'top': cachekit.WarmList(source=cachekit.Urls(urls=('/',)))},\n"
        ")\n"
        "print(cachekit.warm(settings, pathlib.Path('state')).outcome)\n"
    )
    done = subprocess.run(
        ["sh", "-c", '"$@" <&-', "sh", sys.executable, "-c", program],
        check=False,
        cwd=cachekit.folder,
        env=cachekit.environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "go\n", done.stderr
