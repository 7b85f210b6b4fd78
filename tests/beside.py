"""A process that uses a file cache again and again beside a test, and counts how it went."""

import json
import os
import select
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Self


def read(top: Path, number: int) -> None:
    """Look into the cache, which must never be missing, nor one of its directories."""
    os.listdir(top)  # noqa: PTH208 - as fast as it gets
    os.listdir(top / f"d{number % 4}")  # noqa: PTH208


def look(top: Path, _number: int) -> None:
    """Look into the cache, whatever is in it."""
    os.listdir(top)  # noqa: PTH208


def write(top: Path, number: int) -> None:
    """Write as caches do: beside the name, then renamed over it."""
    name = top / f"d{number % 4}" / f"new{number % 300}"
    name.with_suffix(".tmp").write_text("new")
    name.with_suffix(".tmp").rename(name)


def sweep(top: Path, number: int) -> None:
    """Remove and write files that a clear removes as well."""
    name = top / f"d{number % 4}" / f"page{number % 40}.html"
    name.unlink(missing_ok=True)
    name.write_text("again")


class Beside:
    """Runs one of the functions above in a process of its own until the `with` ends.

    `counts` then has how often it was `done`, and how often it met which error.
    """

    def __init__(self, work: Callable[[Path, int], None], top: Path) -> None:
        self.counts: Counter[str] = Counter()
        self._argv = [sys.executable, "-m", "tests.beside", work.__name__, str(top)]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._argv,
            cwd=Path(__file__).parent.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"started\n"
        return self

    def __exit__(self, *exc: object) -> None:
        # The end of its stdin is its signal to end.
        said, _ = self._process.communicate(timeout=30.0)
        self.counts.update(json.loads(said))


def main(work: Callable[[Path, int], None], top: Path) -> None:
    """Work until stdin ends."""
    counts: Counter[str] = Counter()
    number = 0
    sys.stdout.write("started\n")
    sys.stdout.flush()
    while not select.select([sys.stdin], [], [], 0)[0]:
        try:
            work(top, number)
            counts["done"] += 1
        except OSError as error:
            counts[type(error).__name__] += 1
        number += 1
    sys.stdout.write(json.dumps(counts))


if __name__ == "__main__":
    main(
        {"read": read, "look": look, "write": write, "sweep": sweep}[sys.argv[1]], Path(sys.argv[2])
    )
