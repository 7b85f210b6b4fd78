"""How a VCL is asked to clear by HTTP, as data: one Call for each kind of scope."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from cachekit.caches.varnish.bans import check_header_name
from cachekit.scope import Kind

PresetName = Literal["cachekit", "cachekit-xkey", "fos", "fos-xkey", "purge", "magento", "drupal"]
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

    It goes to the page itself with `to_page`, else to `/`. In `headers`, `{host}`, `{url}`,
    `{tags}` and `{release}` stand for regular expressions of what is meant, `{ban}` for a whole ban
    expression, `{keys}` for plain tags. `answer` is a regular expression for status line and
    headers of the reply; a group `removed` in it is a number of objects. It counts as evidence
    unless `proves` is false, for a VCL that says so whatever happened.
    """

    method: str
    to_page: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    answer: str = ""
    proves: bool = True

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Z]+", self.method):
            raise ValueError("method: expected one in capitals, such as PURGE or BAN")
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


@dataclass(frozen=True, kw_only=True)
class Preset:
    """The calls that a known VCL takes; `soft` has those that let pages expire instead."""

    calls: Calls
    soft: Calls = field(default_factory=dict)
    separators: str = ", "


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


def _alike(call: Call, *kinds: KindName) -> dict[str, Call]:
    return {str(kind): call for kind in kinds}


_BAN = Call(method="BAN", headers={"x-cachekit-ban": "{ban}"}, answer=r"\nx-cachekit: banned\r")


def _purge(name: str, value: str, said: str, **facts: bool) -> Call:
    answer = rf"\nx-cachekit: {said} (?P<removed>\d+)\r"
    return Call(method="PURGE", headers={name: value}, answer=answer, **facts)


_CACHEKIT = _alike(_BAN, "everything", "release", "tag", "url-prefix", "url-regex") | {
    "url": _purge("x-cachekit-purge", "hard", "purged", to_page=True)
}
_CACHEKIT_SOFT = {"url": _purge("x-cachekit-purge", "soft", "expired", to_page=True)}

_FOS_ALL = {"X-Host": ".*", "X-Url": ".*", "X-Content-Type": ".*"}
_FOS_BANNED = r"\AHTTP/\S+ 200 Banned"
_FOS_PAGES = Call(
    method="BAN", headers=_FOS_ALL | {"X-Host": "{host}", "X-Url": "{url}"}, answer=_FOS_BANNED
)
_PURGED = Call(method="PURGE", to_page=True, answer=r"\AHTTP/\S+ 200 Purged")
_FOS: Calls = {
    "everything": Call(method="BAN", headers=_FOS_ALL, answer=_FOS_BANNED),
    "tag": Call(method="BAN", headers=_FOS_ALL | {"X-Cache-Tags": "{tags}"}, answer=_FOS_BANNED),
    "url": _PURGED,
    "url-prefix": _FOS_PAGES,
    # It says so for an expression that Varnish refuses, too.
    "url-regex": Call(method="BAN", headers=_FOS_PAGES.headers, answer=_FOS_BANNED, proves=False),
}


def _fos_keys(header: str, said: str) -> Call:
    answer = rf"\AHTTP/\S+ 200 .*{said} (?P<removed>\d+) objects"
    return Call(method="PURGEKEYS", headers={header: "{keys}"}, answer=answer)


PRESETS: Mapping[PresetName, Preset] = {
    "cachekit": Preset(calls=_CACHEKIT, soft=_CACHEKIT_SOFT),
    "cachekit-xkey": Preset(
        calls=_CACHEKIT | {"tag": _purge("x-cachekit-xkey", "{keys}", "purged")},
        soft=_CACHEKIT_SOFT | {"tag": _purge("x-cachekit-xkey-soft", "{keys}", "expired")},
    ),
    "fos": Preset(calls=_FOS, separators=","),
    "fos-xkey": Preset(
        calls={**_FOS, "tag": _fos_keys("xkey-purge", "Purged")},
        soft={"tag": _fos_keys("xkey-softpurge", "expired")},
    ),
    "purge": Preset(calls={"url": _PURGED}),
    "magento": Preset(
        calls={
            "everything": Call(
                method="PURGE",
                headers={"X-Magento-Tags-Pattern": ".*"},
                answer=r"\AHTTP/\S+ 200 Purged",
            ),
            "tag": Call(
                method="PURGE",
                headers={"X-Magento-Tags-Pattern": "{tags}"},
                answer=r"\AHTTP/\S+ 200 Purged",
            ),
        },
        separators=",",
    ),
    "drupal": Preset(
        calls={
            "tag": Call(
                method="BAN", headers={"Cache-Tags": "{tags}"}, answer=r"\AHTTP/\S+ 200 Ban added"
            ),
            "url": _PURGED,
        },
        separators=" ",
    ),
}
