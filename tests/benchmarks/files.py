"""A file cache exchanged for an empty tree beside `rm -rf`, alone and while others use it."""

import os
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

from cachekit.caches.base import Conditions
from cachekit.caches.files import Files
from cachekit.deadline import Deadline
from cachekit.errors import CachekitError
from cachekit.model import Node, parse_address
from cachekit.scope import EVERYTHING
from tests import beside
from tests.benchmarks.harness import Bar, Bench, at_most, print_table
from tests.beside import Beside

TITLE = "60,000 files of 60 bytes in 256 directories, all cleared, beside rm -rf"

FILES, DIRECTORIES = 60_000, 256
NODE = Node(name="web1", address=parse_address("127.0.0.1"))
BARS = {"usable": 0.01, "total": 1.3}


def measure(bench: Bench) -> list[Bar]:
    """Clear both ways, round after round; compare the medians of the times."""
    trees = _trees(bench.new_path("-trees"))
    rm, usable, called, total = (
        median(seconds)
        for seconds in zip(*(_round(bench, trees) for _ in range(bench.rounds)), strict=True)
    )
    rows = {
        "rm -rf": rm,
        "cachekit: empty tree made and exchanged": usable,
        "cachekit: from the call until exchanged (sh and python3 start)": called,
        "cachekit: from the call until the old tree is gone": total,
    }
    print_table(
        ("", "ms", "of rm -rf"),
        [(name, f"{1000 * each:,.1f}", f"{each / rm:.2%}") for name, each in rows.items()],
    )
    reads, blind, failed = _under_traffic(next(trees), bench.rounds)
    print(f"{bench.rounds} clears while one process read {reads:,} times and one wrote")
    return [
        at_most("files: empty tree made and exchanged / rm -rf", usable / rm, BARS["usable"]),
        at_most("files: whole clear / rm -rf", total / rm, BARS["total"]),
        at_most("files: reads that saw nothing", blind, 0),
        at_most("files: clears that failed under a writer", failed, 0),
    ]


def _trees(folder: Path) -> Iterator[Path]:
    """Fill one tree after the other, where the disk has room.

    ext4 does not give an inode again for a minute or more after it was freed, and searches past
    those: a directory takes 10 times as long where the round before has removed 60,000 files. With
    this attribute each tree gets a region of its own.
    """
    folder.mkdir()
    subprocess.run(["chattr", "+T", folder], check=False, stderr=subprocess.DEVNULL)
    for number in range(1000):
        top = folder / str(number) / "views"
        _fill(top)
        yield top


def _fill(top: Path) -> None:
    for number in range(DIRECTORIES):
        (top / f"d{number}").mkdir(parents=True, exist_ok=True)
    for number in range(FILES):
        (top / f"d{number % DIRECTORIES}" / f"page{number}").write_bytes(b"x" * 60)
    # What is still to be written does not count for whom comes next.
    os.sync()


def _round(bench: Bench, trees: Iterator[Path]) -> tuple[float, float, float, float]:
    """Give the seconds of rm, and cachekit's: of the exchange, from the call to it, in all."""
    top = next(trees)
    bench.await_quiet()
    began = time.perf_counter()
    subprocess.run(["rm", "-rf", top], check=True)
    rm = time.perf_counter() - began
    top = next(trees)
    bench.await_quiet()
    with ThreadPoolExecutor(1) as pool:
        exchanged = pool.submit(_await_another, top, top.stat().st_ino)
        began = time.perf_counter()
        answer = _clear(top)
        total = time.perf_counter() - began
        assert answer["removed"] == FILES
        return rm, answer["usable"], exchanged.result() - began, total


def _await_another(top: Path, inode: int) -> float:
    """Wait until another directory is there, and give the time."""
    while top.stat().st_ino == inode:
        time.sleep(0.0005)
    return time.perf_counter()


def _clear(top: Path) -> dict[str, Any]:
    files = Files(on=("web1",), path=top, adopt=True)
    (place,) = files.places({"web1": NODE})
    conditions = Conditions(deadline=Deadline(120), state_dir=top)
    return files._ask("clear", place, EVERYTHING, str(top), conditions)


def _under_traffic(top: Path, clears: int) -> tuple[int, int, int]:
    """Clear while a process reads and another writes; give reads, those that failed, and clears."""
    failed = 0
    with Beside(beside.read, top) as reader, Beside(beside.write, top):
        for clear in range(clears):
            if clear:
                _fill(top)
            try:
                failed += bool(_clear(top)["not_removed"])
            except CachekitError as error:
                print(error)
                failed += 1
    reads = reader.counts.total()
    return reads, reads - reader.counts["done"], failed
