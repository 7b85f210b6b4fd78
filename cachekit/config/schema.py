"""The JSON Schema of cachekit.yaml, for editors: made from the classes that decode the file."""

from collections.abc import Iterable
from contextlib import suppress
from fractions import Fraction
from typing import Any, get_args

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from cachekit import registry
from cachekit.config.pieces import adapter
from cachekit.model import Node, NodeAddress, Variant
from cachekit.quantities import Bytes, Seconds, Share
from cachekit.settings import Settings, WarmList, WarmSettings
from cachekit.thresholds import Verify

Schema = dict[str, Any]

_SHORT_THRESHOLD = {"type": ["string", "number"]}
_ANNOTATIONS = ("default", "description", "examples")
_FROM_ENVIRONMENT = {"type": "string", "pattern": r"\$\{"}
# Any other bare number could be a percentage or a fraction.
_ZERO = {"const": 0}
# People write these words, and the field that wants a boolean takes them.
_BOOLEAN_WORDS = {"enum": ["yes", "no", "on", "off"]}


def build_schema() -> Schema:
    """Describe the whole file, with the sources of URLs that are installed now."""
    sources, caches = _installed(registry.SOURCES), _installed(registry.CACHES)
    actors = _installed(registry.GOLIVE)
    own = [Settings, WarmSettings, Node, WarmList, Variant]
    described, definitions = _described(
        [*own, *sources.values(), *caches.values(), *actors.values()]
    )
    _with_short_thresholds(definitions)
    settings, warm, node, warm_list, variant, *rest = described
    plugged = iter(rest)
    named = {
        "nodes": _node(node),
        "warmlists": {"anyOf": [_list(name, next(plugged), warm_list) for name in sources]},
        "caches": {"anyOf": [_typed(name, next(plugged)) for name in caches]},
        "golive": {"anyOf": [_typed(name, next(plugged)) for name in actors]},
        "plans": _plan(definitions),
    }
    for key, schema in named.items():
        settings["properties"][key]["additionalProperties"] = schema
    warm["properties"]["variants"]["additionalProperties"] = _variant(variant)
    used = {key: value for key, value in definitions.items() if value not in described}
    relaxed = _relaxed({**settings, "$defs": {**used, "WarmSettings": warm}})
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "cachekit.yaml"}
    return schema | relaxed


class _AsWritten(GenerateJsonSchema):
    """Shows defaults as people would write them, and no titles made from names."""

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        inner = self.generate_inner(schema["schema"])
        if "default" not in schema:
            return inner
        return {**inner, "default": _written(schema["default"], _pattern_in(inner))}

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def handle_invalid_for_json_schema(
        self, schema: CoreSchema, error_info: str
    ) -> JsonSchemaValue:
        return {}  # anything goes where a type has no schema, as `source` of a warm list


def _installed(group: str) -> dict[str, Any]:
    """Import what is installed; a broken package is told of when the settings name it."""
    found = {}
    for name in registry.names(group):
        with suppress(ImportError, AttributeError):
            found[name] = registry.load(group, name)
    return found


def _described(kinds: Iterable[Any]) -> tuple[list[Schema], Schema]:
    schema = adapter(tuple[tuple(kinds)]).json_schema(schema_generator=_AsWritten)  # type: ignore[misc]
    definitions: Schema = schema["$defs"]
    references = schema["prefixItems"][0]["prefixItems"]
    names = [reference["$ref"].rpartition("/")[2] for reference in references]
    return [definitions[name] for name in names], definitions


def _node(node: Schema) -> Schema:
    """Describe a node: the name is its key, and the address alone is enough."""
    return {"anyOf": [node["properties"]["address"], _without(node, "name")]}


def _variant(variant: Schema) -> Schema:
    """Describe a variant: its headers stand beside `personal`."""
    properties = variant["properties"]
    return {
        "description": variant["description"],
        "type": "object",
        "properties": {"personal": properties["personal"]},
        "additionalProperties": properties["headers"]["additionalProperties"],
    }


def _list(name: str, source: Schema, warm_list: Schema) -> Schema:
    """Describe a warm list: the keys of its source stand beside the common ones."""
    common = _without(warm_list, "source")
    required = {name, *source.get("required", ())}
    properties = {**common["properties"], **source["properties"]}
    return {**source, "properties": properties, "required": sorted(required)}


def _typed(name: str, adapter: Schema) -> Schema:
    """Describe a cache or an actor: its type stands beside the keys of its adapter."""
    properties = {"type": {"const": name}, **adapter["properties"]}
    return {**adapter, "properties": properties, "required": ["type", *adapter.get("required", ())]}


def _plan(definitions: Schema) -> Schema:
    """Describe a plan: a mapping, or its list of steps alone."""
    plan, roll = definitions["PlanSettings"], definitions["RollStep"]["properties"]
    steps: list[Schema] = plan["properties"]["steps"]["items"]["items"]["anyOf"]
    for key in ("steps", "finally"):
        plan["properties"][key] = _stages(steps)
    barred = ("GoLiveStep", "RollStep")
    roll["steps"] = _stages([step for step in steps if not step["$ref"].endswith(barred)])
    plan["required"] = ["steps"]
    return {"anyOf": [_stages(steps), {"$ref": "#/$defs/PlanSettings"}]}


def _stages(steps: list[Schema]) -> Schema:
    """Describe stages: a stage is a step, or a list of those that run side by side."""
    stage = {"type": "array", "items": {"anyOf": steps}, "minItems": 1}
    return {"type": "array", "items": {"anyOf": [*steps, stage]}, "minItems": 1}


def _without(schema: Schema, name: str) -> Schema:
    properties = {key: value for key, value in schema["properties"].items() if key != name}
    required = [key for key in schema.get("required", ()) if key != name]
    return {**schema, "properties": properties, "required": required}


def _marker_pattern(annotation: Any) -> str:
    pattern: str = get_args(annotation)[1].pattern
    return pattern


_SECONDS, _SHARE, _BYTES, _VERIFY, _ADDRESS = map(
    _marker_pattern, (Seconds, Share, Bytes, Verify, NodeAddress)
)


def _pattern_in(schema: Schema) -> str | None:
    options = schema.get("anyOf", ())
    found = [schema.get("pattern"), *map(_pattern_in, options)]
    return next(filter(None, found), None)


def _written(default: Any, pattern: str | None) -> Any:
    if isinstance(default, Fraction):
        percent = f"{float(default * 100):g}%"
        return percent if pattern == _SHARE else {0: "off", 1: "all"}[int(default)]
    if pattern == _SECONDS and default is not None:
        return f"{default:g}s"
    if pattern == _BYTES and default is not None:
        return f"{default // 1024**2}M" if default % 1024**2 == 0 else default
    return list(default) if isinstance(default, tuple) else default


def _with_short_thresholds(definitions: Schema) -> None:
    """Describe a threshold's short form, one value for `go` and `floor`, by that of `go`."""
    for gate in definitions.values():
        for schema in gate.get("properties", {}).values():
            options = schema.get("anyOf", [])
            if _SHORT_THRESHOLD in options:
                name = options[1]["$ref"].rpartition("/")[2]
                options[0] = definitions[name]["properties"]["go"]


def _relaxed(schema: Schema) -> Schema:
    """Accept what the loader accepts: `${ENV}` anywhere, words for text, and no bare percentage."""
    relaxed = {key: value for key, value in schema.items() if key != "title"}
    for key in ("properties", "$defs"):
        if key in relaxed:
            relaxed[key] = {name: _relaxed(inner) for name, inner in relaxed[key].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(relaxed.get(key), dict):
            relaxed[key] = _relaxed(relaxed[key])
    notes = {key: relaxed.pop(key) for key in _ANNOTATIONS if key in relaxed}
    alternatives = _alternatives(relaxed)
    return (alternatives[0] if len(alternatives) == 1 else {"anyOf": alternatives}) | notes


def _alternatives(schema: Schema) -> list[Schema]:
    if "anyOf" in schema:
        options = schema["anyOf"]
        if (pattern := _pattern_in(schema)) in (_SHARE, _VERIFY, _ADDRESS):
            options = [each for each in options if each.get("type") != "number"]
            options += [_ZERO] if pattern == _SHARE else []
        found = [
            each for option in map(_relaxed, options) for each in option.get("anyOf", [option])
        ]
        return [each for index, each in enumerate(found) if each not in found[:index]]
    if schema == {"type": "string"}:
        return [{"type": ["string", "number", "boolean"]}]
    if schema.get("type") == "boolean":
        return [schema, _BOOLEAN_WORDS, _FROM_ENVIRONMENT]
    if schema.get("type") in ("integer", "number") or "pattern" in schema or "enum" in schema:
        return [schema, _FROM_ENVIRONMENT]
    return [schema]
