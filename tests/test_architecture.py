"""Imports run one way, and each library lives behind one door (design §4)."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "cachekit"

# A module may import from its own row and from rows above it.
ORDER = (
    ("errors", "quantities", "deadline", "near_misses", "invalidation.patterns", "scheduling.cron"),
    ("model", "scope", "lock"),
    ("replay", "transports", "git"),
    ("sources.base", "caches.base", "caches.releases", "golive.base", "registry"),
    ("results", "events", "outcomes", "runs", "context", "documents", "thresholds"),
    ("caches", "sources", "golive"),
    ("settings", "step_settings", "invalidation_settings", "checks"),
    ("scheduling",),
    ("warming",),
    ("plan",),
    ("config", "execution", "releases"),
    ("chunks", "lost_nodes", "renewal"),
    ("invalidation",),
    ("deploy",),
    ("reports",),
    ("__init__", "testing", "demo"),
    ("cli",),
    ("__main__",),
)

FENCES = {
    "click": {"cli"},
    "jinja2": {"reports"},
    "markupsafe": {"reports"},
    "rich": {"cli"},
    "yaml": {"config"},
    "pydantic": {"config"},
    "pydantic_core": {"config"},
    "pycurl": {"replay"},
    "lxml": {"sources"},
    "hdrh": {"warming"},
    "pymemcache": {"caches"},
    "redis": {"caches"},
    "httpx": {"golive"},
}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)
        yield name, ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rank(module: str) -> int:
    ranks = {name: row for row, names in enumerate(ORDER) for name in names}
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        if (found := ranks.get(".".join(parts[:length]))) is not None:
            return found
    pytest.fail(f"cachekit.{module} has no place in the order of imports")


def test_imports_run_one_way() -> None:
    known = {name for name, _ in modules()}
    wrong = [
        f"{name} imports {target}"
        for name, tree in modules()
        for target in sorted({i.removeprefix("cachekit.") for i in imported(tree)} & known)
        if rank(target) > rank(name) and name != "__init__"
    ]
    assert not wrong


def test_each_library_lives_behind_one_door() -> None:
    wrong = [
        f"{name} imports {library}"
        for name, tree in modules()
        for library in {i.partition(".")[0] for i in imported(tree)} & FENCES.keys()
        if name.partition(".")[0] not in FENCES[library]
    ]
    assert not wrong


def test_nothing_prints_but_the_command_line() -> None:
    wrong = [
        f"{name}:{node.lineno}"
        for name, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]
    assert not wrong


def loaded(*arguments: str) -> set[str]:
    code = f"import sys; sys.argv = ['cachekit', *{arguments!r}]\n"
    code += "import cachekit\n" if not arguments else "from cachekit.cli.main import _run; _run()\n"
    code += "print('LOADED', *sorted(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return set(result.stdout.partition("LOADED")[2].split())


@pytest.mark.parametrize("arguments", [(), ("--help",), ("warm", "--help")])
def test_help_and_import_are_cheap(arguments: tuple[str, ...]) -> None:
    heavy = {"pydantic", "rich", "pycurl", "lxml", "yaml", "hdrh", "jinja2", "ssl", "httpx"}
    assert not loaded(*arguments) & heavy
