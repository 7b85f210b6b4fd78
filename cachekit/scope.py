"""What to clear: one kind of selection with its values."""

import re
import warnings
from dataclasses import dataclass
from enum import StrEnum

from cachekit.quantities import parse_seconds


class Kind(StrEnum):
    """How the entries of a cache are selected."""

    EVERYTHING = "everything"
    RELEASE = "release"
    KEY = "key"
    PREFIX = "prefix"
    GLOB = "glob"
    TAG = "tag"
    URL = "url"
    URL_PREFIX = "url-prefix"
    URL_REGEX = "url-regex"
    PATH = "path"
    OLDER_THAN = "older-than"


_WITHOUT_CONTROL = (Kind.TAG, Kind.URL, Kind.URL_PREFIX, Kind.URL_REGEX, Kind.RELEASE)


@dataclass(frozen=True, slots=True)
class Scope:
    """One kind and its values, any of which selects.

    Values are text; bytes that are no UTF-8 stand in it as surrogates, as in `os.fsdecode`.
    Raises ValueError for a value that would select everything or nothing by mistake.
    """

    kind: Kind
    values: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind is Kind.EVERYTHING:
            return
        if not self.values:
            raise ValueError(f"--{self.kind} wants a value")
        if self.kind is Kind.OLDER_THAN and len(self.values) > 1:
            raise ValueError("--older-than is given twice; say one age")
        for value in self.values:
            _check(self.kind, value)

    def __str__(self) -> str:
        return " ".join((self.kind.value, ", ".join(self.values))).strip()

    @property
    def seconds(self) -> float:
        """The age of an OLDER_THAN scope."""
        return parse_seconds(self.values[0])


EVERYTHING = Scope(Kind.EVERYTHING)


def _check(kind: Kind, value: str) -> None:
    if not value.strip():
        raise ValueError(f"--{kind} is empty; is a variable not set? (all would be --everything)")
    if kind is Kind.OLDER_THAN:
        parse_seconds(value)
    if kind is Kind.GLOB and not value.strip("*"):
        raise ValueError(f"--glob {value} selects everything; use --everything")
    if kind in _WITHOUT_CONTROL and re.search(r"[\x00-\x1f\x7f]", value):
        raise ValueError(f"--{kind} contains a control character")
    if kind is Kind.URL_REGEX:
        _check_regex(value)


def _check_regex(value: str) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # what else `[[` may mean some day
            pattern = re.compile(value)
    except re.error as error:
        raise ValueError(f"--url-regex {value}: {error}") from error
    if pattern.search("") is not None:
        raise ValueError(f"--url-regex {value} matches everything; use --everything")
