"""What a response's headers say about the cache it came through, and every reason it is no hit.

Which header of which product means what: see docs/verdicts.md. A site's own rules come first, then
the standard (RFC 9211), then products, the nearest to the client before those whose headers pass
through from behind.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from cachekit.model import Verdict
from cachekit.settings import VerdictRule
from cachekit.warming.headers import directives_of, header_values, lifetime

_MEMO_SIZE = 1000
_SHOWN = 300
_NEVER_STORED = {"private", "no-store", "no-cache"}
# Ends at the end of the value too: a header may be hostile, and this must stay linear.
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*(?:"|\\?\Z)')


@dataclass(frozen=True, slots=True)
class Signal:
    """What one header said.

    `shown` is the header as evidence for people; a reason may come with it.
    """

    verdict: Verdict
    shown: str = ""
    reason: str = ""


NO_SIGNAL = Signal(Verdict.UNKNOWN)


def _cache_status(value: str) -> Verdict:
    """Read the last member of RFC 9211's list: the cache nearest to the client."""
    member = _QUOTED.sub('""', value).rpartition(",")[2]
    parts = [part.partition("=") for part in member.lower().split(";")[1:]]
    parameters = {name.strip(): argument.strip() for name, _, argument in parts}
    if parameters.get("hit") in ("", "?1"):
        # Section 2.5: a negative lifetime is that of a stale response.
        return Verdict.STALE if parameters.get("ttl", "").startswith("-") else Verdict.HIT
    forward = parameters.get("fwd", "")
    if forward == "stale" and parameters.get("fwd-status") == "304":
        return Verdict.HIT
    if forward in _FORWARDED:
        return _FORWARDED[forward]
    return Verdict.MISS if forward else Verdict.UNKNOWN


_FORWARDED = {
    "bypass": Verdict.BYPASS,
    "method": Verdict.BYPASS,
    "request": Verdict.BYPASS,
    "stale": Verdict.STALE,
}
# Squid and Akamai write them with `TCP_` before.
_WORDS = {
    "hit": Verdict.HIT,
    "revalidated": Verdict.HIT,
    "refreshhit": Verdict.HIT,
    "mem_hit": Verdict.HIT,
    "ims_hit": Verdict.HIT,
    "refresh_hit": Verdict.HIT,
    "refresh_unmodified": Verdict.HIT,
    "refresh_fail_hit": Verdict.STALE,
    "updating": Verdict.STALE,
    "stale": Verdict.STALE,
    "miss": Verdict.MISS,
    "expired": Verdict.MISS,
    "refresh_miss": Verdict.MISS,
    "refresh_modified": Verdict.MISS,
    "bypass": Verdict.BYPASS,
    "pass": Verdict.BYPASS,
    "dynamic": Verdict.UNCACHEABLE,
    "none": Verdict.UNCACHEABLE,
    "none/unknown": Verdict.UNCACHEABLE,
    "no-cache": Verdict.UNCACHEABLE,
    "error": Verdict.ERROR,
    "negative_hit": Verdict.ERROR,
    "denied": Verdict.ERROR,
}


def _word(value: str) -> Verdict:
    """Read the first word of the last member that is understood.

    `MISS, HIT`, `Hit from cloudfront`, `TCP_HIT from a1`, `hit,private`.
    """
    for member in reversed(value.lower().split(",")):
        word = member.strip().partition(" ")[0].removeprefix("tcp_")
        if word in _WORDS:
            return _WORDS[word]
    return Verdict.UNKNOWN


def _fastly_or_word(value: str) -> Verdict:
    """Read X-Cache.

    With several members (shield, edge) one hit means that the origin was not asked.
    """
    verdicts = {_word(member) for member in value.split(",")}
    return Verdict.HIT if Verdict.HIT in verdicts else _word(value)


def _x_varnish(value: str) -> Verdict:
    """Read the transaction ids of the Varnish nearest to the client.

    Two mean that the second one filled the object this one hit.
    """
    ids = value.rpartition(",")[2].split()
    if not 1 <= len(ids) <= 2 or not all(number.isdecimal() for number in ids):
        return Verdict.UNKNOWN
    return Verdict.HIT if len(ids) == 2 else Verdict.MISS


# In this order: the first that gives a verdict decides.
_READERS: dict[str, Callable[[str], Verdict]] = {
    "cache-status": _cache_status,
    "cf-cache-status": _word,
    "x-litespeed-cache": _word,
    "x-qc-cache": _word,
    "x-lsadc-cache": _word,
    "x-cache-status": _word,
    "x-proxy-cache": _word,
    "x-proxy-cache-status": _word,
    "x-upstream-cache-status": _word,
    "x-nginx-cache": _word,
    "x-nginx-cache-status": _word,
    "x-fastcgi-cache": _word,
    "x-srcache-fetch-status": _word,
    "x-cache": _fastly_or_word,
    "x-varnish-cache": _word,
    "x-varnish": _x_varnish,
}


class Classifier:
    """Turns the header block of a response into a Signal."""

    def __init__(self, rules: Iterable[VerdictRule] = ()) -> None:
        self._rules = [(rule.header.lower(), re.compile(rule.matches), rule) for rule in rules]
        names = dict.fromkeys([header for header, _, _ in self._rules] + list(_READERS))
        self._pattern = re.compile(rb"\n(" + _any_of(names) + rb")[ \t]*:[ \t]*([^\r\n]*)")
        self._memo: dict[tuple[tuple[bytes, bytes], ...], Signal] = {}

    def signal(self, head: bytes) -> Signal:
        """Find what the headers say; NO_SIGNAL if none of the known ones is there."""
        found = self._pattern.findall(head)
        if not found:
            return NO_SIGNAL
        key = tuple(found)
        signal = self._memo.get(key)
        if signal is None:
            signal = self._decide(found)
            if len(self._memo) < _MEMO_SIZE:
                self._memo[key] = signal
        return signal

    def _decide(self, found: list[tuple[bytes, bytes]]) -> Signal:
        headers = [
            (name.decode().lower(), value.decode("latin-1").strip()) for name, value in found
        ]
        for header, pattern, rule in self._rules:
            for name, value in headers:
                if name == header and pattern.search(value):
                    return Signal(rule.verdict, shortened(f"{name}: {value}"), rule.reason or "")
        for name, read in _READERS.items():
            joined = ", ".join(value for found_name, value in headers if found_name == name)
            if joined and (verdict := read(joined)) is not Verdict.UNKNOWN:
                return Signal(verdict, shortened(f"{name}: {joined}"))
        name, value = headers[0]
        return Signal(Verdict.UNKNOWN, shortened(f"{name}: {value}"), "signal-not-understood")


def shortened(evidence: str) -> str:
    """Cut what a node said to what a report has room for: it may be endless."""
    return evidence if len(evidence) <= _SHOWN else f"{evidence[: _SHOWN - 3]}..."


def _any_of(names: Iterable[str]) -> bytes:
    """Match any of the names in any case, by their first two letters first: three times as fast."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name[:2], []).append(re.escape(name[2:]))
    return "|".join(
        f"[{re.escape(start[0].upper())}{re.escape(start[0])}]"
        f"(?i:{re.escape(start[1:])}(?:{'|'.join(rests)}))"
        for start, rests in groups.items()
    ).encode()


def reasons_not_hit(head: bytes, status: int, signal: Signal, *, elapsed: float) -> Iterator[str]:
    """Name every reason that applies why a response on the verify pass is no hit.

    `elapsed` is the time in seconds since the fill pass began: a shorter lifetime cannot have
    lasted.
    """
    if signal.reason:
        yield signal.reason
    if signal is NO_SIGNAL:
        yield "no-signal"
        yield from ("weak-age" for age in header_values(head, "Age") if age.strip("0").isdecimal())
    if header_values(head, "Set-Cookie"):
        yield "set-cookie"
    yield from _cache_control_reasons(head, elapsed)
    yield from _vary_reasons(head)
    if status not in (200, 203, 204, 300, 301, 308, 404, 410):
        yield "status-not-cacheable"
    if signal.verdict in (Verdict.BYPASS, Verdict.STALE, Verdict.UNCACHEABLE, Verdict.ERROR):
        yield signal.verdict.value


def _vary_reasons(head: bytes) -> Iterator[str]:
    values = header_values(head, "Vary")
    names = {item.strip().lower() for value in values for item in value.split(",")}
    if "*" in names:
        yield "vary-star"
    yield from (f"vary-{name}" for name in ("cookie", "user-agent") if name in names)


def _cache_control_reasons(head: bytes, elapsed: float) -> Iterator[str]:
    directives = directives_of(head)
    yield from (f"cache-control-{name}" for name in sorted(_NEVER_STORED & directives.keys()))
    seconds = lifetime(head, directives)
    if seconds is not None:
        if seconds <= 0:
            yield "max-age-0"
        elif seconds <= elapsed:
            yield "short-ttl"
    if not directives and any(
        "no-cache" in value.lower() for value in header_values(head, "Pragma")
    ):
        yield "pragma-no-cache"


FORBIDS_STORING = frozenset(
    {
        "set-cookie",
        "cache-control-private",
        "cache-control-no-store",
        "cache-control-no-cache",
        "max-age-0",
        "vary-star",
        "pragma-no-cache",
        "status-not-cacheable",
        "authorization",
        "cookie",
    }
)
"""Reasons with which a miss is no accident: the page is uncacheable as it is."""
