"""`cachekit init` and `cachekit schema`."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from cachekit.cli.init import init
from cachekit.cli.schema import schema
from cachekit.errors import ConfigError, ExitCode


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.chdir(tmp_path)
    return CliRunner(catch_exceptions=False)


def test_init_says_what_it_wrote_and_what_comes_next(cli: CliRunner) -> None:
    result = cli.invoke(init, ["--site", "https://x.example"])
    assert result.exit_code == ExitCode.OK
    assert result.output == (
        "wrote cachekit.yaml\n"
        "wrote warmlists/top.txt\n"
        "Put your nodes and URLs into them, then try: cachekit check\n"
    )
    assert "site: https://x.example\n" in Path("cachekit.yaml").read_text()


def test_init_elsewhere(cli: CliRunner) -> None:
    cli.invoke(init, ["--settings", "etc/shop.yaml"])
    assert Path("etc/shop.yaml").exists()
    assert Path("etc/warmlists/top.txt").exists()


def test_init_never_overwrites(cli: CliRunner) -> None:
    cli.invoke(init)
    with pytest.raises(ConfigError, match=r"^cachekit\.yaml exists already") as caught:
        cli.invoke(init)
    assert caught.value.exit_code == ExitCode.USAGE


def test_schema_prints_json(cli: CliRunner) -> None:
    result = cli.invoke(schema)
    assert json.loads(result.stdout)["title"] == "cachekit.yaml"
