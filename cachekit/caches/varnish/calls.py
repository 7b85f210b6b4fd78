"""How a VCL is asked to clear by HTTP, as data: one Call for each kind of scope."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from cachekit.caches.varnish.bans import check_header_name
from cachekit.scope import Kind

KindName = Literal["everything", "release", "tag", "url", "url-prefix", "url-regex"]

_PLACEHOLDER = re.compile(r"\{([a-z]+)\}")
_OF_PAGES = frozenset({"ban", "host", "url"})
_WORDS: Mapping[str, frozenset[str]] = {
    Kind.EVERYTHING: frozenset({"ban"}),
    Kind.RELEASE: frozenset({"ban", "release"}),
    Kind.TAG: frozenset({"ban", "tags", "keys"}),
    Kind.URL: _OF_PAGES,
    Kind.URL_PREFIX: _OF_PAGES,
    Kind.URL_REGEX: _OF_PAGES,
}


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request that a VCL takes for a clear.

    It goes to the page itself with `to_page`, else to `/`; `more` names a header that takes four
    further pages of the same host. In `headers`, `{host}`, `{url}`,
    `{tags}` and `{release}` stand for regular expressions of what is meant, `{ban}` for a whole ban
    expression, `{keys}` for plain tags. `answer` is a regular expression for status line and
    headers of the reply; a group `removed` in it is a number of objects, a group `marks` names the
    headers that the VCL puts on objects. It counts as evidence unless `proves` is false, for a VCL
    that says so whatever happened.
    """

    method: str
    to_page: bool = False
    more: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    answer: str = ""
    proves: bool = True

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Z]+", self.method):
            raise ValueError("method: expected one in capitals, such as PURGE or BAN")
        if self.more:
            check_header_name(self.more)
        for name, value in self.headers.items():
            check_header_name(name)
            if not value.isprintable():
                raise ValueError(f"headers: {name} contains a control character")
        try:
            re.compile(self.answer)
        except re.error as error:
            raise ValueError(f"answer: {error}") from error

    @property
    def placeholders(self) -> frozenset[str]:
        """The words that its headers want."""
        return frozenset(
            word for value in self.headers.values() for word in _PLACEHOLDER.findall(value)
        )

    def header_lines(self, words: Mapping[str, str]) -> list[str]:
        """Write its headers, the words filled in."""
        return [
            f"{name}: {_PLACEHOLDER.sub(lambda match: words[match[1]], value)}"
            for name, value in self.headers.items()
        ]


Calls = Mapping[str, Call]


def check_requests(calls: Mapping[KindName, Call]) -> None:
    """Refuse calls that want words which there are not. Raises ValueError."""
    for kind, call in calls.items():
        known = frozenset() if call.to_page else _WORDS[kind]
        wanted = call.placeholders
        if unknown := wanted - known:
            raise ValueError(
                f"requests: {kind}: {_shown(unknown)} is not known here"
                + (f"; there are {_shown(known)}" if known else ", it goes to the page itself")
            )
        if "keys" in wanted and len(wanted) > 1:
            raise ValueError(f"requests: {kind}: {{keys}} stands alone")
        if call.to_page and kind != "url":
            raise ValueError(f"requests: {kind}: only `url` can go `to_page`")


def _shown(words: frozenset[str]) -> str:
    return ", ".join(f"{{{word}}}" for word in sorted(words))
