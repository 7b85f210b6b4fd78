"""Settings files as text, for tests of what they may say and of how faults are told."""

import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from cachekit import config
from cachekit.errors import ConfigError
from cachekit.settings import Settings

SITE = "site: https://shop.example\n"

Load = Callable[..., Settings]
Faults = Callable[..., list[str]]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Load settings from text, as ./cachekit.yaml."""
    monkeypatch.chdir(tmp_path)

    def load_text(text: str, **environ: str) -> Settings:
        Path("cachekit.yaml").write_text(text, encoding="utf-8")
        return config.load(Path("cachekit.yaml"), environ)

    return load_text


@pytest.fixture
def faults(load: Load) -> Faults:
    """List the messages that a settings file earns."""

    def faults_of(text: str, **environ: str) -> list[str]:
        try:
            load(text, **environ)
        except ConfigError as error:
            return [str(problem) for problem in error.problems]
        return []

    return faults_of


@cache
def _schema() -> Any:
    schema = config.json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return schema


@pytest.fixture
def schema() -> Any:
    return _schema()


class _Editors(yaml.SafeLoader):
    """Reads YAML 1.2, as editors do: `on` is a key like any other."""


_Editors.yaml_implicit_resolvers = {
    first: [each for each in resolvers if each[0] != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Editors.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("true|false"), list("tf"))


def for_editors(text: str) -> Any:
    """Read settings as an editor does before it looks at the schema."""
    return json.loads(json.dumps(yaml.load(text, _Editors)))
