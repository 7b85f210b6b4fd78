"""The hook is PHP, and PHP of old: nodes run what their distribution has."""

import re
import subprocess
from pathlib import Path

import pytest

from cachekit.caches.apc.call import Step, program
from tests.servers.process import require_program

HOOK = Path(__file__).parents[2] / "cachekit" / "caches" / "apc" / "hook"
PARTS = sorted(HOOK.rglob("*.php"))

# What came after 7.0, as far as it can be told by its looks.
NEWER = {
    "nullable types (7.1)": r"[(,:]\s*\?\w+\s*[\$&{;]",
    "types (7.1 up)": r"\)\s*:\s*(void|iterable|object|mixed|never|static)\b",
    "union types (8.0)": r"\w+\|\w+ \$\w+|\)\s*:\s*\w+\|",
    "several exceptions (7.1)": r"catch \([^)]*\|",
    "visible constants (7.1)": r"(public|protected|private) const",
    "short lists (7.1)": r"(?m)^\s*\[[^\]]*\]\s*=[^=>]|as \[",
    "typed properties (7.4)": r"(public|protected|private)( static)? \??(?!static)\w+ \$",
    "arrow functions (7.4)": r"\bfn\s*\(",
    "operators (7.4 up)": r"\?\?=|\?->",
    "a comma after the last argument (7.3)": r"\w\([^()\[\]]*,\s*\)",
    "words (8.0 up)": r"\bmatch\s*\(|\benum \w+|\breadonly\b|#\[",
    "offsets from the end (7.1)": r"\w\[-\d+\]",
    "functions (7.1 up)": r"\b(str_(contains|starts_with|ends_with)|array_key_(first|last))\(",
}


@pytest.mark.parametrize("part", PARTS, ids=lambda part: str(part.relative_to(HOOK)))
def test_each_part_is_php_of_seven_point_zero(part: Path) -> None:
    lint([require_program("php"), "-n", "-l", str(part)])
    source = part.read_text()
    found = {name: match[0] for name, form in NEWER.items() if (match := re.search(form, source))}
    assert not found
    assert max(map(len, source.splitlines())) <= 100


def test_what_is_sent_is_php_whatever_it_carries() -> None:
    steps = [Step("ask", bytes(range(256)) + b"'\\'?><?php \\")]
    lint([require_program("php"), "-n", "-l"], program({"nonce": "'\\", "tmp": "?>"}, steps))


def lint(argv: list[str], source: bytes = b"") -> None:
    done = subprocess.run(argv, input=source, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout
