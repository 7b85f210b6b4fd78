"""SIGINT and SIGTERM at any time: an end in order, and an exit code that says so."""

import json
import signal
import subprocess
from pathlib import Path

import pytest

from tests.command import Cachekit
from tests.servers.origin import Origin
from tests.servers.process import wait_until

URL = "http://shop.example/"
BOTH = pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"]
)


@pytest.fixture
def scratch(cachekit: Cachekit) -> Path:
    """Where the command keeps its temporary files."""
    folder = cachekit.folder / "tmp"
    folder.mkdir()
    cachekit.environment["TMPDIR"] = str(folder)
    return folder


@BOTH
@pytest.mark.parametrize("source", ["--list", "--sitemap"])
def test_a_signal_while_planning_leaves_nothing_behind(
    cachekit: Cachekit,
    origin: Origin,
    scratch: Path,
    source: str,
    number: signal.Signals,
    code: int,
) -> None:
    origin.page("/s.xml", delay=60)
    given = {"--list": "-", "--sitemap": URL + "s.xml"}[source]
    arguments = ("--site", URL, source, given, "--node", origin.address, "--output", "report")
    process = cachekit.start("warm", *arguments, stdin=subprocess.PIPE)
    assert process.stdin is not None
    if source == "--list":
        # More than a pipe holds, so it is being read; it has no end, so it is waited for.
        process.stdin.write("/a\n" * 100_000)
        process.stdin.flush()
    else:
        assert wait_until(lambda: bool(origin.requests), seconds=30)
    assert list(scratch.iterdir())
    process.send_signal(number)
    code_found = process.wait(timeout=30)
    _, stderr = process.communicate()
    assert code_found == code
    assert stderr == f"cachekit: ended by {number.name}\n"
    assert not list(scratch.iterdir())
    assert not (cachekit.folder / "report").exists()


def test_a_list_on_stdin_does_not_outlast_the_budget(cachekit: Cachekit, scratch: Path) -> None:
    arguments = ("--site", URL, "--list", "-", "--node", "127.0.0.1:1", "--budget", "500ms")
    with cachekit.start("warm", *arguments, stdin=subprocess.PIPE) as process:
        # Its end never comes: stdin stays open until the process has ended.
        assert process.wait(timeout=30) == 1
        assert process.stderr is not None
        said = process.stderr.read()
    assert said == "cachekit: the time budget of 0.5 s was spent before anything was asked\n"
    assert not list(scratch.iterdir())


@BOTH
@pytest.mark.parametrize("output_format", ["text", "json"])
def test_a_report_of_an_interrupted_run_tells_the_exit_code_of_the_process(
    cachekit: Cachekit, origin: Origin, output_format: str, number: signal.Signals, code: int
) -> None:
    origin.page("/slow", delay=60)
    arguments = ("--state-dir", str(cachekit.state_dir), "--node", origin.address, "--url", URL)
    process = cachekit.start("warm", *arguments, "--url", "/slow", "--format", output_format)
    assert wait_until(lambda: origin.count(b"/slow") > 0, seconds=30)
    process.send_signal(number)
    assert process.stderr is not None
    assert any("again to cut it" in line for line in process.stderr)
    process.send_signal(number)
    stdout, _ = process.communicate(timeout=30)
    assert process.returncode == code
    if output_format == "json":
        assert json.loads(stdout)["exit_code"] == code
    else:
        assert "; 1 target not asked (--resume" in stdout
