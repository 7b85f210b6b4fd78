"""Runs the `cachekit` command as its users do: another process, its own state directory."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Finished:
    """How one run of the command ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def report(self) -> dict[str, Any]:
        data: dict[str, Any] = json.loads(self.stdout)
        return data


class Cachekit:
    """The command, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state_dir = folder / "state"
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("CACHEKIT_", "GITHUB_"))},
            "COVERAGE_PROCESS_START": os.environ.get("COVERAGE_PROCESS_START", ""),
        }

    def argv(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "cachekit", *arguments]

    def start(
        self, *arguments: str, stdin: int | None = subprocess.DEVNULL
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.argv(*arguments),
            cwd=self.folder,
            env=self.environment,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, stdin: str = "", timeout: float = 60) -> Finished:
        done = subprocess.run(
            self.argv(*arguments),
            check=False,
            cwd=self.folder,
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Finished(done.returncode, done.stdout, done.stderr)

    def warm(self, *arguments: str, stdin: str = "", timeout: float = 60) -> Finished:
        return self.run(
            "warm", "--state-dir", str(self.state_dir), *arguments, stdin=stdin, timeout=timeout
        )

    def write_list(self, urls: Sequence[str], name: str = "list.txt") -> Path:
        path = self.folder / name
        path.write_text("".join(f"{url}\n" for url in urls), encoding="utf-8")
        return path
