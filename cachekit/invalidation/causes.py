"""What a change of files comes to, before it is made minimal: each line with its causes."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from cachekit.errors import Problem
from cachekit.invalidation.changes import ChangeKind, FileChange
from cachekit.invalidation.patterns import fill, places, quoted_glob, quoted_regex, quoted_url
from cachekit.model import Site, UrlRefusedError
from cachekit.scope import Kind, Scope

_QUOTED: Mapping[Kind, Callable[[str], str]] = {
    Kind.URL: quoted_url,
    Kind.URL_PREFIX: quoted_url,
    Kind.URL_REGEX: quoted_regex,
    Kind.GLOB: quoted_glob,
}


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a line is in the plan: this file, by this rule."""

    change: FileChange
    rule: str

    def __str__(self) -> str:
        return f"{self.change} by {self.rule}"


Causes = tuple[Cause, ...]


@dataclass(frozen=True, slots=True)
class Scoped:
    """One thing to clear: one value of one kind in one cache."""

    cache: str
    kind: Kind
    value: str = ""

    @property
    def scope(self) -> Scope:
        """What is cleared, as caches take it."""
        return Scope(self.kind, () if self.kind is Kind.EVERYTHING else (self.value,))

    def __str__(self) -> str:
        of_release = "its entries of " if self.kind is Kind.RELEASE else ""
        return f"{self.cache}: {of_release}{self.scope}"


@dataclass
class Draft:
    """Gathers lines; what no cache could take, or the site does not own, is a problem.

    A URL whose path would be taken for a host is left out, and no problem of the other lines.
    """

    site: Site
    clears: dict[Scoped, list[Cause]] = field(default_factory=dict)
    warms: dict[str, list[Cause]] = field(default_factory=dict)
    problems: dict[Problem, None] = field(default_factory=dict)
    left_out: dict[Problem, None] = field(default_factory=dict)

    def clear(
        self, cache: str, kind: Kind, text: str, captures: Mapping[str, str], cause: Cause
    ) -> str:
        """Add one thing to clear; give its value, "" where it was refused."""
        value = fill(text, captures, _QUOTED.get(kind, str))
        try:
            if kind in (Kind.URL, Kind.URL_PREFIX):
                if self._leaves_out(text, value, cause):
                    return ""
                value = self._absolute(value)
            scoped = Scoped(cache, kind, value)
            _ = scoped.scope
        except ValueError as error:
            self._refuse(cause, f"{cache}: {value!r}: {error}")
            return ""
        self.clears.setdefault(scoped, []).append(cause)
        return value

    def warm(self, text: str, captures: Mapping[str, str], cause: Cause) -> str:
        """Add one URL to warm, and give it; "" where it was refused, or of a file that is gone.

        What is made of the name of a deleted file may be gone with it.
        """
        if cause.change.kind is ChangeKind.DELETED and places(text):
            return ""
        url = fill(text, captures, quoted_url)
        if self._leaves_out(text, url, cause):
            return ""
        try:
            url = self._absolute(url)
        except UrlRefusedError as error:
            self._refuse(cause, f"warm: {text!r}: {error}")
            return ""
        self.warms.setdefault(url, []).append(cause)
        return url

    def _leaves_out(self, text: str, url: str, cause: Cause) -> bool:
        """Leave out what becomes `//host/path` by what was captured, and not by the rule itself."""
        if text.startswith("//") or not url.startswith("//"):
            return False
        message = (
            f"{text} becomes {url}, where // would begin a host; list it without //, or"
            " correct the rule"
        )
        self.left_out[Problem(str(cause), message)] = None
        return True

    def _absolute(self, url: str) -> str:
        return os.fsdecode(self.site.absolute(os.fsencode(url)))

    def _refuse(self, cause: Cause, message: str) -> None:
        self.problems[Problem(str(cause), message)] = None


def merged(causes: Iterable[Iterable[Cause]]) -> Causes:
    """Put causes together, each once, in their order."""
    return tuple(dict.fromkeys(cause for some in causes for cause in some))
