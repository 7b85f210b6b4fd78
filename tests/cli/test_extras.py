"""`--html` and `--prometheus`: beside the report, each complete or not at all."""

import os
from pathlib import Path

import pytest

from tests.command import Cachekit, Finished
from tests.servers.origin import Origin

URL = "http://shop.example/"


def warmed(cachekit: Cachekit, origin: Origin, *options: str) -> Finished:
    return cachekit.warm("--url", URL, "--node", origin.address, *options)


def files(cachekit: Cachekit) -> set[str]:
    return {path.name for path in cachekit.folder.iterdir()} - {"state"}


def test_both_are_written_beside_the_report(cachekit: Cachekit, origin: Origin) -> None:
    done = warmed(cachekit, origin, "--html", "a.html", "--prometheus", "a.prom")
    assert done.code == 0, done.stderr
    assert done.stdout.startswith("GO")
    assert files(cachekit) == {"a.html", "a.prom"}
    assert (cachekit.folder / "a.html").read_text().startswith("<!DOCTYPE html>")
    metrics = (cachekit.folder / "a.prom").read_text()
    assert 'cachekit_run_outcome{site="http://shop.example",plan="",outcome="done"} 1' in metrics
    umask = os.umask(0)
    os.umask(umask)
    # The collector is another user.
    assert (cachekit.folder / "a.prom").stat().st_mode & 0o777 == 0o666 & ~umask


@pytest.mark.parametrize("option", ["--html", "--prometheus"])
def test_what_cannot_be_written_is_refused_before_anything_is_asked(
    cachekit: Cachekit, origin: Origin, option: str
) -> None:
    done = warmed(cachekit, origin, option, "nowhere/file")
    assert done.code == 2
    assert f"{option} nowhere/file: cannot be written: No such file or directory" in done.stderr
    assert not origin.requests


def test_of_a_dry_run_there_is_nothing_to_report(cachekit: Cachekit, origin: Origin) -> None:
    done = warmed(cachekit, origin, "--html", "a.html", "--dry-run")
    assert done.code == 2
    assert "--html: there is nothing to report of a --dry-run" in done.stderr
    assert not files(cachekit)


def test_a_full_disk_is_an_error_and_leaves_the_report_alone(
    cachekit: Cachekit, origin: Origin
) -> None:
    # By a link, lest a mistake replaces the device itself on the machine that runs this.
    (cachekit.folder / "full").symlink_to("/dev/full")
    done = warmed(cachekit, origin, "--html", "full", "--prometheus", "a.prom")
    assert done.code == 1
    assert "--html full: cannot be written: No space left on device" in done.stderr
    assert done.stdout.startswith("GO")
    assert "<html" not in done.stdout
    assert files(cachekit) == {"full"}


def test_a_pipe_gets_the_page_and_nothing_before_it(cachekit: Cachekit, origin: Origin) -> None:
    pipe = cachekit.folder / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    done = warmed(cachekit, origin, "--html", str(pipe))
    page = os.read(reader, 65536)
    os.close(reader)
    assert done.code == 0, done.stderr
    assert page.startswith(b"<!DOCTYPE html>")
    assert Path(pipe).is_fifo()
