"""`--output`: complete or not at all, in files of every kind, and never lost."""

import os
from pathlib import Path

import pytest

from cachekit.cli.output import report_to
from cachekit.errors import OutputError
from tests.command import Cachekit
from tests.servers.origin import Origin

URL = "http://shop.example/"


def test_a_pipe_stays_a_pipe_and_gets_the_report(cachekit: Cachekit, origin: Origin) -> None:
    fifo = cachekit.folder / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    done = cachekit.warm("--url", URL, "--node", origin.address, "--output", str(fifo))
    report = os.read(reader, 65536)
    os.close(reader)
    assert done.code == 0, done.stderr
    assert report.startswith(b"GO")
    assert fifo.is_fifo()


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_stays_a_link_and_its_target_gets_the_report(tmp_path: Path, exists: bool) -> None:
    target, link = tmp_path / "kept" / "report", tmp_path / "link"
    target.parent.mkdir()
    if exists:
        target.write_text("old")
    link.symlink_to(target)
    with report_to(link) as report:
        report.finish("new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert [path.name for path in target.parent.iterdir()] == ["report"]


def test_what_is_not_finished_leaves_the_old_report(tmp_path: Path) -> None:
    path = tmp_path / "report"
    path.write_text("old")
    with report_to(path) as report:
        report.add("new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_directory_is_refused_before_anything_is_asked(
    cachekit: Cachekit, origin: Origin
) -> None:
    done = cachekit.warm("--url", URL, "--node", origin.address, "--output", ".")
    assert done.code == 2
    assert "--output .: cannot be written: Is a directory" in done.stderr
    assert not origin.requests


def test_a_device_that_takes_nothing_leaves_the_report_on_stdout(
    cachekit: Cachekit, origin: Origin
) -> None:
    # By a link, lest a mistake replaces the device itself on the machine that runs this.
    (cachekit.folder / "full").symlink_to("/dev/full")
    arguments = ("--url", URL, "--node", origin.address, "--output", "full")
    for output_format in ("json", "jsonl"):
        done = cachekit.warm(*arguments, "--format", output_format)
        assert done.code == 1
        assert "--output full: cannot be written: No space left on device" in done.stderr
        assert '"outcome": "go"' in done.stdout


def test_a_report_that_cannot_be_put_into_place_is_on_stdout(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "report"
    with report_to(path) as report:
        path.mkdir()  # meanwhile, by somebody else
        with pytest.raises(OutputError, match=f"--output {path}: cannot be written"):
            report.finish("GO\n")
    assert capsys.readouterr().out == "GO\n"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_of_the_run_is_not_blamed_on_the_output(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="of the run"), report_to(tmp_path / "report"):
        raise OSError(5, "of the run")
    assert not list(tmp_path.iterdir())
