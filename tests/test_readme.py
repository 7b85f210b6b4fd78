"""What README and docs show works as shown: commands on the demo's site, examples in Python."""

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.process import free_port_on

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
RUN = re.compile(r"<!-- run: exit (\d+) -->\n```\n(.*?)```\n(?:\n```\n(.*?)```)?", re.DOTALL)
OPTION = re.compile(r"(?<![-|])--[a-z][a-z0-9-]+")


def python_blocks(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


@pytest.fixture
def demo_port() -> Iterator[int]:
    """Keep the demo's site up on a port of its own, its nodes cold."""
    port = free_port_on(["127.0.0.2", "127.0.0.3"])
    command = [sys.executable, "-m", "cachekit", "demo", "--keep", "--port", str(port)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as site:
        assert site.stdout is not None
        assert any("stays up" in line for line in site.stdout)
        yield port
        site.terminate()
        site.communicate(timeout=20)


@pytest.mark.parametrize("block", RUN.findall(README))
def test_commands_end_and_print_as_shown(
    block: tuple[str, str, str], demo_port: int, tmp_path: Path
) -> None:
    code, command, shown = block
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "XDG_STATE_HOME": str(tmp_path),
    }
    state = f" --state-dir {tmp_path}"
    done = subprocess.run(
        command.replace("8088", str(demo_port)).rstrip() + state,
        check=False,
        shell=True,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == int(code), done.stderr
    printed = without_figures(done.stdout)
    missing = [line for line in without_figures(shown) if line not in printed]
    assert not missing, done.stdout


def without_figures(text: str) -> list[str]:
    """Leave out times, ports and spacing, which differ from run to run."""
    plain = re.sub(r"[\d.]+ m?s\b|:\d{4,5}\b", "", text)
    plain = re.sub(r"  +", "  ", plain)
    return [" ".join(line.split()) for line in plain.splitlines() if line.strip()]


def test_there_is_something_to_run() -> None:
    assert RUN.findall(README)


def test_the_library_example_works(demo_port: int, tmp_path: Path) -> None:
    (example,) = python_blocks((ROOT / "docs" / "library.md").read_text(encoding="utf-8"))
    done = subprocess.run(
        [sys.executable, "-c", example.replace("8088", str(demo_port))],
        check=True,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "go 2 of 2\n"


def test_the_source_in_the_readme_is_installed_by_one_module_and_one_line(tmp_path: Path) -> None:
    (source,) = python_blocks(README)
    (line,) = re.findall(r'countdown = "(.*)"\n', README)
    package = tmp_path / "site"
    (package / "rocket").mkdir(parents=True)
    (package / "rocket" / "__init__.py").touch()
    (package / "rocket" / "sources.py").write_text(source)
    information = package / "rocket-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: rocket\nVersion: 1\n")
    (information / "entry_points.txt").write_text(f"[cachekit.sources]\ncountdown = {line}\n")
    settings = tmp_path / "cachekit.yaml"
    settings.write_text(
        textwrap.dedent("""\
            site: http://shop.example
            nodes: {web1: "127.0.0.1:1"}
            warmlists: {rocket: {countdown: 10, limit: 3}}
        """)
    )
    done = subprocess.run(
        [sys.executable, "-m", "cachekit", "warm", "--dry-run", "--settings", str(settings)],
        check=False,
        env=os.environ | {"PYTHONPATH": str(package)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "3 URLs x 1 node = 3 targets" in done.stdout
    assert "http://shop.example/10\n" in done.stdout


def test_every_option_that_the_documents_name_exists() -> None:
    from cachekit.cli.main import cachekit

    known = {"--help", "--version", "--resolve"}
    for name in cachekit.list_commands(None):  # type: ignore[arg-type]  # the context is not used
        command = cachekit.get_command(None, name)  # type: ignore[arg-type]
        assert command is not None
        known |= {option for parameter in command.params for option in parameter.opts}
    documents = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    named = {
        option for path in documents for option in OPTION.findall(path.read_text(encoding="utf-8"))
    }
    assert named - known == set()
