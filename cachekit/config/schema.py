"""The JSON Schema of cachekit.yaml, for editors: made from the classes that decode the file."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from fractions import Fraction
from pathlib import Path
from typing import Any, get_args

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from cachekit import registry
from cachekit.config.pieces import adapter
from cachekit.model import Node, NodeAddress, Variant
from cachekit.quantities import Bytes, Seconds, Share
from cachekit.settings import Settings, Verify, WarmList, WarmSettings

_SchemaDict = dict[str, Any]
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_REFERENCE = "#/$defs/{model}"
_VARIABLE = r"\$\{"


def build_schema() -> _SchemaDict:
    """Describe the whole file; sources that are installed later are in the next schema."""
    kinds = {"settings": Settings, "warm": WarmSettings, "node": Node, "variant": Variant}
    kinds |= {"list": WarmList, **{f"source {name}": kind for name, kind in _sources().items()}}
    inputs = [(name, "validation", _unwrapped(kind)) for name, kind in kinds.items()]
    ...


