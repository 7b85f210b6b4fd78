"""From lists to the ordered URLs of a run: collect → dedupe → filter → sort → limit.

Whatever is left out on the way is counted by its reason.
"""

import fnmatch
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path

from cachekit.errors import ConfigError, Problem
from cachekit.model import Entry, Site, Traits, UrlRefusedError, has_userinfo
from cachekit.settings import Order, WarmList
from cachekit.sources.base import Surroundings
from cachekit.sources.url_list import Urls
from cachekit.warming.url_sets import (
    CollectedUrls,
    Found,
    Kinds,
    Mark,
    SpooledUrls,
    UrlSet,
    shared_mark,
)

__all__ = ["CollectedUrls", "SpooledUrls", "UrlSet", "collect", "stream"]

_ORIGIN = re.compile(rb"[A-Za-z]+://[^/?]*")
_NOTABLE = bytes(range(0x21)) + b"\x7f#@"
# A table that changes nothing gives the very same bytes, and is much faster than one that deletes.
_REPLACED = bytes.maketrans(_NOTABLE, b"-" * len(_NOTABLE))
_RANKS: Mapping[str, Callable[[Entry], float]] = {
    "file": lambda _entry: 0.0,
    "priority": lambda entry: 0.5 if entry.priority is None else entry.priority,
    "lastmod": lambda entry: -math.inf if entry.lastmod is None else entry.lastmod,
}


def collect(  # noqa: PLR0913 - the keys of `warm:` that choose URLs
    lists: Mapping[str, WarmList],
    surroundings: Surroundings,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    limit: int | None = None,
    order: Order = "file",
    gate_required: Sequence[str] = (),
) -> CollectedUrls:
    """Gather all lists in memory, without duplicates and in the order asked for.

    `gate_required` URLs are asked even if no list has them. What sources drop is counted in `cuts`;
    `surroundings.drop` is not called. Raises SourceError, and ConfigError for a pattern that cannot
    work.
    """
    picker = _Picker(surroundings, order)
    wanted = _Filter(include, exclude)
    marks: dict[bytes, Mark] = {}
    for warm_list in lists.values():
        picker.gather(wanted.apply(picker.chosen(warm_list), picker.cuts), marks)
    # Past the filters: what the gate requires is asked, whatever else is.
    picker.require(gate_required, marks)
    return CollectedUrls(picker.cut(marks, limit), marks, picker.kinds, picker.cuts)


def stream(  # noqa: PLR0913 - the keys of `warm:` that choose URLs
    lists: Mapping[str, WarmList],
    surroundings: Surroundings,
    spool: Path,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    limit: int | None = None,
    gate_required: Sequence[str] = (),
) -> SpooledUrls:
    """Write all lists to the file `spool`, in constant memory: list order, duplicates kept.

    What sources drop is counted in `cuts`; `surroundings.drop` is not called. Raises as `collect`.
    """
    picker = _Picker(surroundings, "file")
    wanted = _Filter(include, exclude)
    found = chain.from_iterable(map(picker.first_of, lists.values()))
    chosen = picker.first(wanted.apply(found, picker.cuts), limit)
    required = picker.required(gate_required)
    return SpooledUrls(spool, chain(chosen, required), picker.kinds, picker.cuts)


class _Picker:
    """Reads lists in one order of work and counts what it leaves out."""

    def __init__(self, surroundings: Surroundings, order: Order) -> None:
        self.cuts: Counter[str] = Counter()
        self.kinds = Kinds()
        self._surroundings = replace(surroundings, drop=self._drop)
        self._order = order

    def chosen(self, warm_list: WarmList) -> Found:
        """Yield what one list adds, cut by its own limit after its own sorting."""
        found = self._filtered(warm_list)
        if warm_list.limit is None:
            return found
        marks: dict[bytes, Mark] = {}
        self.gather(found, marks)
        return ((url, marks[url]) for url in self.cut(marks, warm_list.limit))

    def first_of(self, warm_list: WarmList) -> Found:
        """Yield what one list adds, cut by its own limit as it comes."""
        return self.first(self._filtered(warm_list), warm_list.limit)

    def gather(self, found: Found, marks: dict[bytes, Mark]) -> None:
        """Add what was found; what is there already keeps its place and is united with it."""
        duplicates = 0
        for url, mark in found:
            if url in marks:
                duplicates += 1
                marks[url] = self._united(marks[url], mark)
            else:
                marks[url] = mark
        self._count("duplicate", duplicates)

    def require(self, urls: Sequence[str], marks: dict[bytes, Mark]) -> None:
        """Add URLs that the gate requires, or mark them as required where they are."""
        for url, mark in self.required(urls):
            marks[url] = self._united(marks[url], mark) if url in marks else mark

    def required(self, urls: Sequence[str]) -> Found:
        """Yield URLs that the gate requires."""
        return self._read(WarmList(source=Urls(urls=tuple(urls)), required=True))

    def cut(self, marks: Mapping[bytes, Mark], limit: int | None) -> list[bytes]:
        """Sort, then limit; required URLs stay whatever the limit."""
        urls = self._sorted(marks)
        if limit is None or len(urls) <= limit:
            return urls
        kept = {url for url in urls if self._is_required(marks[url])}
        kept.update(islice((url for url in urls if url not in kept), max(limit - len(kept), 0)))
        self._count("over the limit", len(urls) - len(kept))
        return [url for url in urls if url in kept]

    def first(self, found: Found, limit: int | None) -> Found:
        """Yield the first ones up to the limit, and the required ones of the rest."""
        yield from islice(found, limit)
        for url, mark in found:
            if self._is_required(mark):
                yield url, mark
            else:
                self._drop("over the limit")

    def _sorted(self, marks: Mapping[bytes, Mark]) -> list[bytes]:
        if self._order == "file":
            return list(marks)
        # Reversed sorting is stable, too: equals stay in list order.
        return sorted(marks, key=lambda url: marks[url].rank, reverse=True)

    def _filtered(self, warm_list: WarmList) -> Found:
        return _Filter(warm_list.include, warm_list.exclude).apply(self._read(warm_list), self.cuts)

    def _read(self, warm_list: WarmList) -> Found:
        admit = _admission(self._surroundings.site, warm_list.personal)
        rank = _RANKS[self._order]
        common = self.kinds.number(_common_traits(warm_list))
        plain = shared_mark(rank(Entry(b"")), common)
        for entry in warm_list.source.entries(self._surroundings):
            if isinstance(entry, bytes):
                url, mark = entry, plain
            else:
                url = entry.url
                mark = shared_mark(rank(entry), self.kinds.under(entry.traits, common))
            try:
                yield admit(url), mark
            except UrlRefusedError as refusal:
                self._drop(str(refusal))

    def _is_required(self, mark: Mark) -> bool:
        return self.kinds.traits[mark.kind].required

    def _united(self, first: Mark, again: Mark) -> Mark:
        if first is again:
            return first
        kind = self.kinds.united(first.kind, again.kind)
        return shared_mark(max(first.rank, again.rank), kind)

    def _drop(self, reason: str) -> None:
        self.cuts[reason] += 1

    def _count(self, reason: str, times: int) -> None:
        if times:
            self.cuts[reason] += times


class _Filter:
    """Patterns over a URL or its path and query: globs, where `*` crosses `/`, or `re:…`."""

    def __init__(self, include: Sequence[str], exclude: Sequence[str]) -> None:
        self._include = [_compiled("include", pattern) for pattern in include]
        self._exclude = [_compiled("exclude", pattern) for pattern in exclude]

    def apply(self, found: Found, cuts: Counter[str]) -> Found:
        """Leave out, and count, what the patterns do not want."""
        return self._applied(found, cuts) if self._include or self._exclude else found

    def _applied(self, found: Found, cuts: Counter[str]) -> Found:
        for url, mark in found:
            if self._include and not _matches(self._include, url):
                cuts["not included"] += 1
            elif _matches(self._exclude, url):
                cuts["excluded"] += 1
            else:
                yield url, mark


def _admission(site: Site, personal: bool) -> Callable[[bytes], bytes]:
    base = str(site).encode(errors="surrogateescape")
    prefix = base + b"/"
    size = len(prefix)

    def admit(url: bytes) -> bytes:
        # Nearly all URLs of a list are plain, and there may be millions: a look is enough.
        if url.translate(_REPLACED) == url:
            if url[:size] == prefix:
                return url
            if url.startswith(b"/") and not url.startswith(b"//"):
                return base + url
        url = site.absolute(url)
        if has_userinfo(url) and not personal:
            raise UrlRefusedError("user name or password in the URL, without `personal: true`")
        return url

    return admit


def _compiled(key: str, pattern: str) -> re.Pattern[bytes]:
    is_regex = pattern.startswith("re:")
    text = pattern.removeprefix("re:") if is_regex else r"\A" + fnmatch.translate(pattern)
    try:
        return re.compile(text.encode(errors="surrogateescape"))
    except re.error as error:
        message = f"{pattern!r} is not a regular expression: {error}"
        raise ConfigError([Problem(key, message)]) from error


def _matches(patterns: Iterable[re.Pattern[bytes]], url: bytes) -> bool:
    path = _ORIGIN.sub(b"", url, count=1) or b"/"
    return any(pattern.search(path) or pattern.search(url) for pattern in patterns)


def _common_traits(warm_list: WarmList) -> Traits:
    return Traits(
        required=warm_list.required,
        cacheable=warm_list.cacheable,
        variants=warm_list.variants,
        expect=warm_list.expect,
        headers=dict(warm_list.headers),
        personal=warm_list.personal,
    )
