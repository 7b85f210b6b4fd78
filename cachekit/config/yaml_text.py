"""YAML text as plain data that still knows where every value stands and which came from outside."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import yaml

from cachekit.errors import Problem

KeyPath = tuple[str | int, ...]

_PLACEHOLDER = re.compile(r"(\$?)\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\})?")
_OPENING = re.compile(r"[\[{]|[-?]\s+(?=[-?]\s)")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_NULLS = ("", "~", "null", "Null", "NULL")
_MAX_DEPTH = 40
_MAX_VALUES = 2_000_000  # aliases of aliases multiply: a kilobyte of YAML can mean billions

# The C parser is seven times faster. No resolver: what a scalar means is decided here.
_Loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where something stands; `via` is where an alias or merge key brought it in."""

    line: int
    column: int
    via: "Place | None" = None


@dataclass(slots=True)
class Document:
    """One YAML file: its data, the place of each value and key, and the problems of its text.

    `environment` names the variables a value was made from; such values are never shown.
    """

    name: str
    data: object = None
    values: dict[KeyPath, Place] = field(default_factory=dict)
    keys: dict[KeyPath, Place] = field(default_factory=dict)
    environment: dict[KeyPath, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def place(self, path: KeyPath, *, key: bool = False) -> Place:
        """Find where a value stands, or its key; what is not there stands where its parent does."""
        for length in range(len(path), 0, -1):
            wanted = self.keys if key or length < len(path) else self.values
            if place := wanted.get(path[:length]) or self.values.get(path[:length]):
                return place
        return self.values.get((), Place(1, 1))

    def problem(self, place: Place, message: str) -> Problem:
        """Make a problem of this file."""
        if place.via:
            message += f" (brought in at line {place.via.line})"
        return Problem(f"{self.name}:{place.line}:{place.column}", message)


def parse(text: str, name: str, environ: Mapping[str, str]) -> Document:
    """Read one document, collecting every problem of its text in `problems`."""
    document = Document(name)
    try:
        _refuse_depth(text)
        root = _Loader(text).get_single_node()
        if root is not None:
            document.data = _Builder(document, environ).build(root, (), None)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = _place(mark) if mark else Place(1, 1)
        unquoted = "${" in "".join(text.splitlines()[place.line - 1 : place.line])
        hint = "; a ${NAME} between { } or [ ] needs quotes" if unquoted else ""
        document.problems.append(document.problem(place, f"not YAML: {error.problem}{hint}"))
    except yaml.reader.ReaderError as error:
        place = _place_of_offset(text, error.position)
        message = f"not YAML: character U+{_code(error.character):04X} is not allowed"
        document.problems.append(document.problem(place, message))
    except _TooMuchError:
        message = "nested too deeply or too large; an alias may contain itself"
        document.problems.append(document.problem(Place(1, 1), message))
    return document


def show_path(path: KeyPath) -> str:
    """Write a key path for people: `nodes.web1.groups[0]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            plain = re.fullmatch(r"[\w-]+", part)
            text += ("." if text else "") + (part if plain else repr(part))
    return text


class _TooMuchError(Exception):
    pass


class _Builder:
    """Turns composed nodes into data.

    Only what reads back as written is a number (`1.10`, `0777`, `1_000`, `1:30` stay text), and
    `true`, `no`, `off` and dates are text: the field that takes it knows what it wants.
    """

    def __init__(self, document: Document, environ: Mapping[str, str]) -> None:
        self.document = document
        self.environ = environ
        self.count = 0

    def build(self, node: yaml.Node, path: KeyPath, via: Place | None) -> object:
        self.count += 1
        if len(path) > _MAX_DEPTH or self.count > _MAX_VALUES:
            raise _TooMuchError
        self.document.values[path] = _place(node.start_mark, via)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, via)
        if isinstance(node, yaml.SequenceNode):
            return self._sequence(node, path, via)
        return self._scalar(node, path) if isinstance(node, yaml.ScalarNode) else None

    def _mapping(self, node: yaml.MappingNode, path: KeyPath, via: Place | None) -> object:
        data: dict[str, object] = {}
        for key, value, merged in self._pairs(node, path, via):
            here = (*path, key.value)
            if key.value not in data:
                self.document.keys[here] = place = _place(key.start_mark, merged)
                data[key.value] = self.build(value, here, _alias(value, key, place) or merged)
            elif merged == via:  # a merged key is meant to be overridden, a repeated one is not
                self._repeated(key, here)
        return data

    def _pairs(
        self, node: yaml.MappingNode, path: KeyPath, via: Place | None
    ) -> Iterator[tuple[yaml.ScalarNode, yaml.Node, Place | None]]:
        merges = []
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._complain(_place(key.start_mark, via), path, "a key must be a single word")
            elif key.value == "<<" and not key.style:
                merges.append((key, value))
            else:
                yield key, value, via
        for key, value in merges:
            yield from self._merged(key, value, path)

    def _merged(
        self, key: yaml.ScalarNode, value: yaml.Node, path: KeyPath
    ) -> Iterator[tuple[yaml.ScalarNode, yaml.Node, Place | None]]:
        place = _place(key.start_mark)
        if len(path) > _MAX_DEPTH:
            raise _TooMuchError
        for mapping in value.value if isinstance(value, yaml.SequenceNode) else [value]:
            if isinstance(mapping, yaml.MappingNode):
                yield from self._pairs(mapping, (*path, "<<"), place)
            else:
                self._complain(place, path, "'<<' expects an alias of a mapping, such as *base")

    def _repeated(self, key: yaml.ScalarNode, path: KeyPath) -> None:
        first = self.document.keys[path].line
        self._complain(_place(key.start_mark), path, f"repeated key; it stands in line {first} too")

    def _sequence(self, node: yaml.SequenceNode, path: KeyPath, via: Place | None) -> object:
        start = _place(node.start_mark)
        return [
            self.build(item, (*path, index), _alias(item, node, start) or via)
            for index, item in enumerate(node.value)
        ]

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> object:
        text: str = node.value
        if "${" in text:
            text = self._substitute(text, path)
        if node.style:  # quoted, or a block
            return text
        if text in _NULLS:
            return None
        return text if path in self.document.environment else _number(text)

    def _substitute(self, text: str, path: KeyPath) -> str:
        names = []

        def replace(match: re.Match[str]) -> str:
            escaped, name, default = match.groups()
            if escaped:
                return match[0][1:]
            names.append(f"${{{name}}}")
            return self._variable(name, default, path)

        text = _PLACEHOLDER.sub(replace, text)
        if names:
            self.document.environment[path] = " and ".join(dict.fromkeys(names))
        return text

    def _variable(self, name: str | None, default: str | None, path: KeyPath) -> str:
        place = self.document.values[path]
        if name is None:
            message = "found '${', expected ${NAME} or ${NAME:-default}; write $${ for a plain ${"
            self._complain(place, path, message)
            return ""
        value = self.environ.get(name)
        if value is None and default is None:
            message = f"${{{name}}} is not set; set it, or write ${{{name}:-default}}"
            self._complain(place, path, message)
        return value or default or ""

    def _complain(self, place: Place, path: KeyPath, message: str) -> None:
        shown = f"{show_path(path)}: {message}" if path else message
        self.document.problems.append(self.document.problem(place, shown))


def _refuse_depth(text: str) -> None:
    # libyaml composes by recursion and overruns the C stack at some 50,000 levels.
    if len(_OPENING.findall(text)) < 10_000:
        return
    depth = 0
    for event in yaml.parse(text, _Loader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:
            raise _TooMuchError


def _number(text: str) -> object:
    if not _NUMBER.fullmatch(text) or len(text) > 300:
        return text
    number = float(text) if "." in text else int(text)
    return number if str(number) == text else text


def _alias(node: yaml.Node, parent: yaml.Node, place: Place) -> Place | None:
    # An alias has no mark of its own, but its anchor always stands before the place it is used at.
    return place if node.start_mark.index < parent.start_mark.index else None


def _place(mark: yaml.Mark, via: Place | None = None) -> Place:
    return Place(mark.line + 1, mark.column + 1, via)


def _place_of_offset(text: str, offset: int) -> Place:
    before = text[:offset]
    return Place(before.count("\n") + 1, offset - before.rfind("\n"))


def _code(character: int | str) -> int:
    return character if isinstance(character, int) else ord(character[0])
