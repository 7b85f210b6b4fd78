"""`python -m tests.benchmarks [NAME…] [--rounds N]`: measure, print, exit 1 if a bar is missed."""

import argparse
import compileall
import importlib
import os
import platform
import shutil
import sys
import tempfile
import time
from pathlib import Path

import pycurl

import cachekit
from tests.benchmarks.harness import Bar, Bench, print_bars

NAMES = (
    "throughput",
    "latency",
    "auto",
    "memory",
    "startup",
    "many_nodes",
    "memcache",
    "files",
    "apc",
    "redis",
    "ssh_nodes",
    "varnish",
    "benefit",
)


def main() -> int:
    """Measure what is named, one after the other."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(NAMES)}")
    parser.add_argument("--rounds", type=int, default=3, help="undisturbed rounds [3]")
    parser.add_argument(
        "--patience", type=float, default=300.0, help="seconds to wait for a quiet machine [300]"
    )
    options = parser.parse_args()
    unknown = set(options.names) - set(NAMES)
    if unknown:
        parser.error(f"no measurement named {', '.join(unknown)}")
    _print_machine()
    # As pip does when it installs: the first run must not pay for compiling.
    compileall.compile_dir(Path(cachekit.__file__).parent, quiet=2)
    bars: list[Bar] = []
    for name in options.names or NAMES:
        bars += _measured(name, options.rounds, options.patience)
    print(f"\nall bars{_load()}")
    print_bars(bars)
    return int(not all(bar.met for bar in bars))


def _measured(name: str, rounds: int, patience: float) -> list[Bar]:
    module = importlib.import_module(f"tests.benchmarks.{name}")
    print(f"\n{name}: {module.TITLE}{_load()}", flush=True)
    began = time.monotonic()
    scratch = Path(tempfile.mkdtemp(prefix="ck-bench-"))
    try:
        bars: list[Bar] = module.measure(Bench(scratch=scratch, rounds=rounds, patience=patience))
    finally:
        shutil.rmtree(scratch)
    print_bars(bars)
    print(f"({time.monotonic() - began:.0f} s)", flush=True)
    return bars


def _print_machine() -> None:
    model = "unknown CPU"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    print(
        f"{os.cpu_count()} cores ({model}), Linux {platform.release()},"
        f" Python {platform.python_version()}, {pycurl.version.split(' OpenSSL')[0]};"
        " client and server share the cores"
    )


def _load() -> str:
    return f" [load {os.getloadavg()[0]:.2f}]"


if __name__ == "__main__":
    sys.exit(main())
