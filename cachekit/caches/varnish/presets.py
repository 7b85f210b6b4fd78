"""What known VCLs take for a clear."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from cachekit.caches.varnish.calls import Call, Calls, KindName

PresetName = Literal["cachekit", "cachekit-xkey", "fos", "fos-xkey", "purge", "magento", "drupal"]


@dataclass(frozen=True, kw_only=True)
class Preset:
    """The calls that a known VCL takes; `soft` has those that let pages expire instead."""

    calls: Calls
    soft: Calls = field(default_factory=dict)
    separators: str = ", "


def _alike(call: Call, *kinds: KindName) -> dict[str, Call]:
    return {str(kind): call for kind in kinds}


_BAN = Call(
    method="BAN",
    headers={"x-cachekit-ban": "{ban}"},
    answer=r"\nx-cachekit: banned(?:; marks: (?P<marks>[^\r]*))?\r",
)


def _purge(name: str, value: str, said: str) -> Call:
    answer = rf"\nx-cachekit: {said} (?P<removed>\d+)\r"
    return Call(method="PURGE", headers={name: value}, answer=answer)


def _purge_pages(value: str, said: str) -> Call:
    call = _purge("x-cachekit-purge", value, said)
    return replace(call, to_page=True, more="x-cachekit-more")


_CACHEKIT = _alike(_BAN, "everything", "release", "tag", "url-prefix", "url-regex") | {
    "url": _purge_pages("hard", "purged")
}
_CACHEKIT_SOFT = {"url": _purge_pages("soft", "expired")}

_FOS_ALL = {"X-Host": ".*", "X-Url": ".*", "X-Content-Type": ".*"}
_FOS_BANNED = r"\AHTTP/\S+ 200 Banned"
_FOS_PAGES = Call(
    method="BAN", headers=_FOS_ALL | {"X-Host": "{host}", "X-Url": "{url}"}, answer=_FOS_BANNED
)
_SAYS_PURGED = r"\AHTTP/\S+ 200 Purged"
_PURGED = Call(method="PURGE", to_page=True, answer=_SAYS_PURGED)
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
                method="PURGE", headers={"X-Magento-Tags-Pattern": ".*"}, answer=_SAYS_PURGED
            ),
            "tag": Call(
                method="PURGE", headers={"X-Magento-Tags-Pattern": "{tags}"}, answer=_SAYS_PURGED
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
