"""One mapping of the file → one frozen dataclass, by pydantic; its errors in the file's words."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, get_args, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from cachekit.checks import KeyPath
from cachekit.near_misses import nearest

CONFIG = ConfigDict(
    extra="forbid",
    # The reader keeps `1.10` as text: a number made text again is what was written.
    coerce_numbers_to_str=True,
    allow_inf_nan=False,
    arbitrary_types_allowed=True,  # the field `source` of a warm list takes any source
    hide_input_in_errors=True,
)
NOTHING: Mapping[str, object] = MappingProxyType({})

_UNKNOWN = ("unexpected_keyword_argument", "extra_forbidden")
_EXPECTED = {
    "a list": ("list_type", "tuple_type"),
    "a mapping": ("dataclass_type", "dict_type", "mapping_type"),
    "a number": ("float_type", "float_parsing", "finite_number"),
    "a path": ("path_type",),
    "a regular expression": ("pattern_type", "pattern_regex"),
    "a whole number": ("int_type", "int_parsing", "int_parsing_size", "int_from_float"),
    "text": ("string_type",),
    "true or false": ("bool_type", "bool_parsing"),
}
_SECTIONS = _EXPECTED["a list"] + _EXPECTED["a mapping"]
_EXPECTED_BY_KIND = {kind: text for text, kinds in _EXPECTED.items() for kind in kinds}


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong at a key path; of a message "expected …" the value found is worth naming."""

    path: KeyPath
    message: str
    at_key: bool = False


@cache
def adapter(kind: Any) -> TypeAdapter[tuple[Any]]:
    """Build the decoder of a type; inside a tuple, the rules hold for nested dataclasses too."""
    return TypeAdapter(tuple[kind], config=CONFIG)


def decode(
    kind: Any,
    data: object,
    given: Mapping[str, object] = NOTHING,
    also_known: Iterable[str] = (),
) -> tuple[Any, list[Fault]]:
    """Decode data, with fields `given` that the file does not hold.

    With faults, the value is what can be decoded without the faulty parts, or None. Keys that are
    `also_known` are suggested for unknown ones, beside those of the type.
    """
    faults = [Fault((name,), "unknown key", at_key=True) for name in given if _has(data, name)]
    whole: object = {**data, **given} if isinstance(data, Mapping) else data
    value, errors = _validate(kind, whole)
    if empty := [error for error in errors if _is_empty_section(error, whole)]:
        whole = _pruned(whole, empty)
        value, errors = _validate(kind, whole)
    if not errors:
        return value, faults
    known = _Known(kind, frozenset(also_known), frozenset(given))
    faults += _faults(errors, known)
    return _validate(kind, _pruned(whole, errors))[0], faults


def _is_empty_section(error: "_Error", data: object) -> bool:
    # A section whose items are all commented out counts as left out.
    is_key = error.path and not any(isinstance(part, int) for part in error.path)
    return bool(is_key) and error.kind in _SECTIONS and _at(data, error.path) is None


@dataclass(frozen=True, slots=True)
class _Error:
    """An error of pydantic, its location split into real keys and the branch of a union."""

    kind: str
    path: KeyPath
    branch: tuple[KeyPath, str | int] | None
    expected: str


def _validate(kind: Any, data: object) -> tuple[Any, list[_Error]]:
    try:
        return adapter(kind).validate_python((data,))[0], []
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        return None, list(_meant([_error(each, data) for each in details]))


def _error(details: ErrorDetails, data: object) -> _Error:
    path: KeyPath = ()
    branch = None
    location = details["loc"][1:]
    for part in location[:-1] if details["type"] == "missing" else location:
        if _has(_at(data, path), part):
            path = (*path, part)
        elif branch is None:
            # Not in the data: a type of a union, or a key that a short form was widened to.
            branch = (path, part)
    if details["type"] == "missing":
        path = (*path, location[-1])
    expected = _expected(details, path)
    return _Error(details["type"], path, branch, _without_values(expected, _at(data, path)))


def _expected(details: ErrorDetails, path: KeyPath) -> str:
    context, kind = details.get("ctx", {}), details["type"]
    if kind == "value_error":
        return str(context["error"]) if path else f"not valid: {context['error']}"
    if kind in _EXPECTED_BY_KIND:
        return f"expected {_EXPECTED_BY_KIND[kind]}"
    if "expected" in context:  # of an enumeration: 'file', 'priority' or 'lastmod'
        return f"expected {context['expected'].replace(chr(39), '')}"
    return details["msg"].replace("Input should be", "expected")


def _without_values(message: str, data: object) -> str:
    """Take out what a source quotes in its messages: it may be a secret."""
    values = data.values() if isinstance(data, Mapping) else [data]
    for value in values if not message.startswith("expected") else ():
        if isinstance(value, str) and len(value) > 3:
            message = message.replace(value, "…")
    return message


def _meant(errors: Sequence[_Error]) -> Iterator[_Error]:
    """Keep, of a union, the branch that was meant: one that fits at its place and fails deeper."""
    misfits = {error.branch for error in errors if error.branch and error.path == error.branch[0]}
    fitting = {error.branch[0] for error in errors if error.branch and error.branch not in misfits}
    for error in errors:
        if error.branch is None or error.branch not in misfits or error.branch[0] not in fitting:
            yield error


def _faults(errors: Sequence[_Error], known: "_Known") -> Iterator[Fault]:
    meant = {}
    mismatches: dict[KeyPath, dict[str, None]] = {}
    for error in errors:
        if error.kind in _UNKNOWN:
            *parent, key = error.path
            near = nearest(str(key), known.at(tuple(parent)))
            meant[(*parent, near)] = key
            hint = f"; did you mean {near!r}?" if near else ""
            yield Fault(error.path, f"unknown key{hint}", at_key=True)
        elif error.kind != "missing":
            mismatches.setdefault(error.path, {})[error.expected] = None
    for error in errors:
        # Who mistypes a required key hears of it once.
        if error.kind == "missing" and error.path not in meant:
            yield Fault(error.path, "missing; this key is required", at_key=True)
    for path, expected in mismatches.items():
        yield Fault(path, " or ".join(expected).replace(" or expected ", " or "))


@dataclass(frozen=True, slots=True)
class _Known:
    """The keys that may stand in a piece of the file."""

    kind: Any
    also: frozenset[str]
    given: frozenset[str]

    def at(self, path: KeyPath) -> set[str]:
        """List the keys that dataclasses know at a place of the piece."""
        kinds = _dataclasses(self.kind)
        for part in path:
            hints = [get_type_hints(each).get(str(part)) for each in kinds]
            inner = [each for hint in hints if hint for each in _dataclasses(hint)]
            kinds = inner if any(hints) else kinds
        keys = {key for each in kinds for key in keys_of(each)}
        return keys if path else (keys | self.also) - self.given


def keys_of(kind: Any) -> set[str]:
    """List the keys of a dataclass: its fields, but for those that Python has no name for."""
    return {field.metadata.get("alias", field.name) for field in fields(kind)}


def _dataclasses(hint: Any) -> list[Any]:
    if is_dataclass(hint):
        return [hint]
    return [each for argument in get_args(hint) for each in _dataclasses(argument)]


def _has(data: object, part: str | int) -> bool:
    if isinstance(data, Mapping):
        return part in data
    return isinstance(data, list) and isinstance(part, int) and part < len(data)


def _at(data: Any, path: KeyPath) -> object:
    for part in path:
        data = data[part] if _has(data, part) else None
    return data


def _pruned(data: object, errors: Iterable[_Error]) -> object:
    """Leave out what is faulty: the nearest key of a mapping at or above each error."""
    for error in errors:
        path = error.path[:-1] if error.kind == "missing" else error.path
        indices = [index for index, part in enumerate(path) if isinstance(part, int)]
        data = _removed(data, path[: indices[0]] if indices else path)
    return data


def _removed(data: object, path: KeyPath) -> object:
    if not path or not isinstance(data, Mapping) or path[0] not in data:
        return data if path else None
    rest = {key: value for key, value in data.items() if key != path[0]}
    if len(path) > 1:
        rest[path[0]] = _removed(data[path[0]], path[1:])
    return rest
