"""What README and docs show works as shown: commands on the demo's site, examples in Python."""

import os
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from cachekit.caches.namespace import prefix_of
from tests.servers.memcached import Memcached
from tests.servers.process import free_port_on

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
RUN = re.compile(r"<!-- run: exit (\d+) -->\n```\n(.*?)```\n(?:\n```\n(.*?)```)?", re.DOTALL)
RUN_PLAN = RUN.pattern.replace("run: exit", "run plan: exit")
RUN_WITH_MEMCACHED = RUN.pattern.replace("run: exit", "run with memcached: exit")
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


@pytest.mark.parametrize("block", RUN.findall(README) + re.findall(RUN_PLAN, README, re.DOTALL))
def test_commands_end_and_print_as_shown(
    block: tuple[str, str, str], demo_port: int, tmp_path: Path
) -> None:
    def here(text: str) -> str:
        return text.replace("8088", str(demo_port)).replace("/tmp/shop-", f"{tmp_path}/shop-")

    code, command, shown = map(here, block)
    (tmp_path / "cachekit.yaml").write_text(here(settings_shown("plan")))
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "XDG_STATE_HOME": str(tmp_path),
    }
    state = f" --state-dir {tmp_path}"
    done = subprocess.run(
        command.rstrip() + state,
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
    moments = r"\d{8}T[\d.]+Z|\d{4}-\d\d-\d\d[T ][\d:.+Z]+"
    plain = re.sub(rf"{moments}|[\d.]+ m?s\b|:\d{{4,5}}\b", "", text)
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


@dataclass(frozen=True)
class Installed:
    """A third party's package, as pip leaves it behind."""

    site: Path

    @classmethod
    def of(cls, site: Path, group: str, name: str, module: str) -> "Installed":
        (line,) = re.findall(rf'\n{name} = "(.*)"\n', README)
        path, _, _ = line.partition(":")
        file = site.joinpath(*path.split(".")).with_suffix(".py")
        file.parent.mkdir(parents=True)
        (file.parent / "__init__.py").touch()
        file.write_text(module)
        information = site / "third-1.dist-info"
        information.mkdir()
        (information / "METADATA").write_text("Metadata-Version: 2.1\nName: third\nVersion: 1\n")
        (information / "entry_points.txt").write_text(f"[{group}]\n{name} = {line}\n")
        return cls(site)

    def run(self, *arguments: str | Path) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "cachekit", *map(str, arguments)],
            check=False,
            env=os.environ | {"PYTHONPATH": str(self.site)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def test_the_source_in_the_readme_is_installed_by_one_module_and_one_line(tmp_path: Path) -> None:
    _, source = python_blocks(README)
    rocket = Installed.of(tmp_path / "site", "cachekit.sources", "countdown", source)
    settings = tmp_path / "cachekit.yaml"
    settings.write_text(
        textwrap.dedent("""\
            site: http://shop.example
            nodes: {web1: "127.0.0.1:1"}
            warmlists: {rocket: {countdown: 10, limit: 3}}
        """)
    )
    shown = rocket.run("warm", "--dry-run", "--settings", settings)
    assert "3 URLs x 1 node = 3 targets" in shown
    assert "http://shop.example/10\n" in shown


def test_the_adapter_in_the_readme_is_installed_by_one_module_and_one_line(tmp_path: Path) -> None:
    adapter, _ = python_blocks(README)
    pictures = Installed.of(tmp_path / "site", "cachekit.caches", "thumbnails", adapter)
    folder = tmp_path / "thumbnails"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        (folder / name).touch()
    settings = tmp_path / "cachekit.yaml"
    settings.write_text(
        textwrap.dedent(f"""\
            site: http://shop.example
            state_dir: {tmp_path}/state
            nodes: {{web1: 127.0.0.1}}
            caches: {{pictures: {{type: thumbnails, on: web1, folder: {folder}}}}}
        """)
    )
    assert "pictures  web1        ?      2" in pictures.run("status", "--settings", settings)
    shown = pictures.run("clear", "--everything", "--yes", "--settings", settings)
    assert shown.startswith("DONE  clear everything\n")
    assert "pictures  web1      2        2     0" in shown
    assert not list(folder.iterdir())


def settings_shown(what: str) -> str:
    text: str
    (text,) = re.findall(rf"<!-- {what} -->\n```yaml\n(.*?)```", README, re.DOTALL)
    return text


@pytest.mark.server
@pytest.mark.parametrize("block", re.findall(RUN_WITH_MEMCACHED, README, re.DOTALL))
def test_a_clear_prints_as_shown(block: tuple[str, str, str], tmp_path: Path) -> None:
    code, command, shown = block
    with Memcached() as server:
        server.put([prefix_of("shop:{release}:", "r40") + str(number) for number in range(2500)])
        text = settings_shown("caches").replace("127.0.0.1:11211", server.address)
        (tmp_path / "cachekit.yaml").write_text(text + f"state_dir: {tmp_path}\n")
        words = shlex.split(command)
        done = subprocess.run(
            [sys.executable, "-m", *words],
            check=False,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == int(code), done.stderr
    assert without_figures(done.stdout) == without_figures(shown)


def options_of(command: click.Command) -> set[str]:
    """Collect the options of a command and of all below it."""
    known = {
        option
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            known |= options_of(found)
    return known


def test_every_option_that_the_documents_name_exists() -> None:
    from cachekit.cli.main import cachekit

    known = {"--help", "--version", "--resolve", "--scan", "--pattern", *options_of(cachekit)}
    documents = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    named = {
        option for path in documents for option in OPTION.findall(path.read_text(encoding="utf-8"))
    }
    assert named - known == set()
