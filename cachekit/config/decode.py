"""A settings document → Settings; whatever is wrong with it is found in one pass."""

import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from cachekit import checks, registry
from cachekit.checks import KeyPath, did_you_mean, nearest
from cachekit.config.pieces import Fault, decode
from cachekit.config.yaml_text import Document, Place, show_path
from cachekit.errors import Problem
from cachekit.model import Node, Variant
from cachekit.settings import Settings, WarmList, WarmSettings
from cachekit.sources.url_list import ListedUrl, UrlFile, Urls

YAML_LISTS = (".yaml", ".yml")
_SECTIONS = ("nodes", "warmlists", "warm")
_USERINFO = re.compile(r"//[^/?#\s]*@")
_LONGEST_SHOWN = 60


def decode_settings(document: Document, open_list: "OpenList") -> tuple[Settings, list[Problem]]:
    """Decode the whole file.

    With problems, the settings hold what could be decoded and serve only to find more of them.
    """
    reader = _Reader(document)
    settings = reader.settings()
    ...
