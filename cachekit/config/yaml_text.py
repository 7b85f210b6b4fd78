"""YAML text as plain data that still knows where every value stands and which came from outside."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from cachekit.checks import KeyPath
from cachekit.config.document import Document, Place

_PLACEHOLDER = re.compile(r"(\$?)\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\})?")
_OPENING = re.compile(r"[\[{]|[-?]\s+(?=[-?]\s)")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_NULLS = ("", "~", "null", "Null", "NULL")
_MAX_DEPTH = 40
_MAX_ALIASED = 100_000  # values; aliases of aliases multiply, and a kilobyte can mean billions

# The C parser is seven times faster. No resolver: what a scalar means is decided here.
_Loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


def read(path: Path, environ: Mapping[str, str]) -> Document:
    """Read a file. Raises OSError; all else that is wrong is reported in the document."""
    try:
        return parse(path.read_bytes().decode("utf-8-sig"), str(path), environ)
    except UnicodeDecodeError as error:
        document = Document(str(path))
        place = _place_of_offset(error.object[: error.start].decode(errors="replace"), error.start)
        document.give_up(place, "not UTF-8; save the file in this encoding")
        return document


def parse(text: str, name: str, environ: Mapping[str, str]) -> Document:
    """Read one document; what is wrong with its text is reported in it."""
    document = Document(name)
    try:
        _refuse_depth(text)
        root = _Loader(text).get_single_node()
        if root is not None:
            document.data = _Builder(document, environ, len(text) + _MAX_ALIASED).build(
                root, (), None
            )
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = _place(mark) if mark else Place(1, 1)
        unquoted = "${" in "".join(text.splitlines()[place.line - 1 : place.line])
        hint = "; a ${NAME} between { } or [ ] needs quotes" if unquoted else ""
        document.give_up(place, f"not YAML: {error.problem}{hint}")
    except yaml.reader.ReaderError as error:
        message = f"not YAML: character U+{_code(error.character):04X} is not allowed"
        document.give_up(_place_of_offset(text, error.position), message)
    except _TooMuchError:
        message = "nested too deeply or too large; an alias may contain itself"
        document.give_up(Place(1, 1), message)
    return document


class _TooMuchError(Exception):
    pass


class _Builder:
    """Turns composed nodes into data.

    Only what reads back as written is a number (`1.10`, `0777`, `1_000`, `1:30` stay text), and
    `true`, `no`, `off` and dates are text: the field that takes it knows what it wants.
    """

    def __init__(self, document: Document, environ: Mapping[str, str], most: int) -> None:
        self.document = document
        self.environ = environ
        self.left = most

    def build(self, node: yaml.Node, path: KeyPath, via: Place | None) -> object:
        self.left -= 1
        if len(path) > _MAX_DEPTH or self.left < 0:
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
            if here not in self.document.keys:
                self.document.keys[here] = place = _place(key.start_mark, merged)
                built = self.build(value, here, _alias(value, key, place) or merged)
                # What a variable leaves empty is left out: `previous: ${PREVIOUS:-}`.
                if built is not None or here not in self.document.environment:
                    data[key.value] = built
            elif merged == via:  # a merged key is meant to be overridden, a repeated one is not
                self._repeated(key, here)
        return data

    def _pairs(
        self, node: yaml.MappingNode, path: KeyPath, via: Place | None
    ) -> Iterator[tuple[yaml.ScalarNode, yaml.Node, Place | None]]:
        merges = []
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                place = _place(key.start_mark, via)
                self.document.report_at(place, path, "a key must be a single word")
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
                message = "'<<' expects an alias of a mapping, such as *base"
                self.document.report_at(place, path, message)

    def _repeated(self, key: yaml.ScalarNode, path: KeyPath) -> None:
        first = self.document.keys[path].line
        message = f"repeated key; it stands in line {first} too"
        self.document.report_at(_place(key.start_mark), path, message)

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
        if path in self.document.environment:
            return text or None
        return None if text in _NULLS else _number(text)

    def _substitute(self, text: str, path: KeyPath) -> str:
        used: dict[str, bool] = {}

        def replace(match: re.Match[str]) -> str:
            escaped, name, default = match.groups()
            if escaped:
                return match[0][1:]
            value = self.environ.get(name, default) if name else None
            used[f"${{{name or ''}}}"] = value is not None
            return value or default or ""

        text = _PLACEHOLDER.sub(replace, text)
        if used:
            self.document.environment[path] = " and ".join(used)
        if unset := [name for name, is_set in used.items() if not is_set]:
            self.document.report(path, _unset(unset))
        return text


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


def _unset(names: list[str]) -> str:
    if "${}" in names:
        return "found '${', expected ${NAME} or ${NAME:-default}; write $${ for a plain ${"
    return f"{' and '.join(names)} not set; set it, or write {names[0][:-1]}:-default}}"


def _alias(node: yaml.Node, parent: yaml.Node, place: Place) -> Place | None:
    # An alias has no mark of its own, but its anchor always stands before the place it is used at.
    return place if node.start_mark.index < parent.start_mark.index else None


def _place(mark: yaml.Mark, via: Place | None = None) -> Place:
    return Place(mark.line + 1, mark.column + 1, via)


def _place_of_offset(text: str, offset: int) -> Place:
    before = text[:offset]
    return Place(before.count("\n") + 1, len(before) - before.rfind("\n"))


def _code(character: int | str) -> int:
    return character if isinstance(character, int) else ord(character[0])
