"""Patterns over paths that capture what they match, and texts in which captures stand."""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from urllib.parse import quote

_TOKEN = re.compile(r"\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\]|.", re.DOTALL)
_WILD = {
    "**/": "(?:.*/)?",
    "**": ".*",
    "*": "[^/]*",
    "?": "[^/]",
    "(": "(",
    ")": ")",
}
_PLACE = re.compile(r"\{\{|\}\}|\{(\w+)\}")
_WHOLE = "0"
_IN_URLS = "/-._~!$&'()*+,;=:@"  # RFC 3986 §3.3, and what separates segments


class PathPattern:
    """A glob over a whole path, or `re:` and a regular expression that is looked for in it.

    In a glob `*` and `?` stay within a segment, `**` crosses them, and round brackets capture.
    Raises ValueError.
    """

    def __init__(self, written: str) -> None:
        self.written = written
        is_regex = written.startswith("re:")
        text = written.removeprefix("re:") if is_regex else rf"\A{_translated(written)}\Z"
        try:
            self._regex = re.compile(text, re.DOTALL)
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"expected another pattern than {written}: {error}") from error
        numbers = map(str, range(self._regex.groups + 1))
        self.captures = frozenset((*numbers, *self._regex.groupindex))

    def match(self, path: str) -> Mapping[str, str] | None:
        """Give what was captured, by number and name; `0` is the whole path. None is no match."""
        found = self._regex.search(path)
        if found is None:
            return None
        numbered = {str(number): text or "" for number, text in enumerate(found.groups(), 1)}
        named = {name: text or "" for name, text in found.groupdict().items()}
        return {_WHOLE: path, **numbered, **named}


pattern = lru_cache(maxsize=4096)(PathPattern)


def places(text: str) -> set[str]:
    """Find the captures that a text wants."""
    return {found[1] for found in _PLACE.finditer(text) if found[1] is not None}


def fill(text: str, captures: Mapping[str, str], quoted: Callable[[str], str] = str) -> str:
    """Put captures in their places, each as `quoted`; `{{` and `}}` stand for single braces."""
    return _PLACE.sub(
        lambda found: found[0][0] if found[1] is None else quoted(captures[found[1]]), text
    )


def quoted_url(text: str) -> str:
    """Write a piece of a path so that it means itself within a URL, byte for byte."""
    return quote(text, safe=_IN_URLS, errors="surrogateescape")


def quoted_regex(text: str) -> str:
    """Write a piece of a path so that it means itself within a regular expression over URLs."""
    return re.escape(quoted_url(text))


def quoted_glob(text: str) -> str:
    """Write a piece of a path so that it means itself within a glob."""
    return re.sub(r"([*?[])", r"[\1]", text)


def _translated(glob: str) -> str:
    return "".join(map(_piece, _TOKEN.findall(glob)))


def _piece(token: str) -> str:
    if token in _WILD:
        return _WILD[token]
    if len(token) == 1:
        return re.escape(token)
    negated, inner = token[1] == "!", token[1:-1].removeprefix("!")
    escaped = re.sub(r"([\\\[\]^&~|])", r"\\\1", inner)
    return f"(?!/)[{'^' if negated else ''}{escaped}]"
