"""From lists to the ordered URLs of a run: collect → dedupe → filter → sort → limit.

Whatever is left out on the way is counted by its reason.
"""

import fnmatch
import math
import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from hashlib import file_digest, sha256
from itertools import chain, islice, repeat
from pathlib import Path
from typing import NamedTuple, Protocol

from cachekit.errors import ConfigError, Problem, SourceError
from cachekit.model import PLAIN, Entry, Expect, Traits, UrlRefusedError, has_userinfo
from cachekit.settings import Order, WarmList
from cachekit.sources.base import Surroundings

_ORIGIN = re.compile(rb"[A-Za-z]+://[^/?]*")
_BATCH = 10_000
_RANKS: Mapping[str, Callable[[Entry], float]] = {
    "file": lambda _entry: 0.0,
    "priority": lambda entry: 0.5 if entry.priority is None else entry.priority,
    "lastmod": lambda entry: -math.inf if entry.lastmod is None else entry.lastmod,
}


class UrlSet(Protocol):
    """The URLs of a run in their order, each with its traits; every iteration starts afresh."""

    @property
    def cuts(self) -> Mapping[str, int]:
        """What was left out: how often, by reason."""
        ...

    @property
    def digest(self) -> str:
        """What tells these URLs and traits from any others; no secret enters it."""
        ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[tuple[bytes, Traits]]: ...


def collect(  # noqa: PLR0913 - the keys of `warm:` that choose URLs
    lists: Mapping[str, WarmList],
    surroundings: Surroundings,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    limit: int | None = None,
    order: Order = "file",
    gate_required: Sequence[str] = (),
) -> "CollectedUrls":
    """Gather all lists in memory, without duplicates and in the order asked for.

    What sources drop is counted in `cuts`; `surroundings.drop` is not called. Raises SourceError,
    and ConfigError for a pattern or a required URL that cannot work.
    """
    picker = _Picker(surroundings, order, gate_required)
    wanted = _Filter(include, exclude)
    marks: dict[bytes, Mark] = {}
    for warm_list in lists.values():
        picker.gather(wanted.apply(picker.chosen(warm_list), picker.cuts), marks)
    return CollectedUrls(picker.cut(marks, limit), marks, picker)


def stream(  # noqa: PLR0913 - the keys of `warm:` that choose URLs
    lists: Mapping[str, WarmList],
    surroundings: Surroundings,
    spool: Path,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    limit: int | None = None,
    gate_required: Sequence[str] = (),
) -> "SpooledUrls":
    """Write all lists to the file `spool`, in constant memory: list order, duplicates kept.

    What sources drop is counted in `cuts`; `surroundings.drop` is not called. Raises as `collect`.
    """
    picker = _Picker(surroundings, "file", gate_required)
    wanted = _Filter(include, exclude)
    found = chain.from_iterable(map(picker.first_of, lists.values()))
    return SpooledUrls(spool, picker.first(wanted.apply(found, picker.cuts), limit), picker)


class Mark(NamedTuple):
    """What is remembered of a URL while its place is sought: its rank, the kind of its traits."""

    rank: float
    kind: int


Found = Iterator[tuple[bytes, Mark]]
# Marks that are alike are one object; without that, a million URLs take twice the memory.
_mark = lru_cache(maxsize=4096)(Mark)


class CollectedUrls:
    """URLs in memory."""

    def __init__(self, urls: list[bytes], marks: Mapping[bytes, Mark], picker: "_Picker") -> None:
        self._urls = urls
        self._runs = _Runs(picker.kinds)
        self.cuts: Mapping[str, int] = picker.cuts
        for url in urls:
            self._runs.add(marks[url].kind)

    def __len__(self) -> int:
        return len(self._urls)

    def __iter__(self) -> Iterator[tuple[bytes, Traits]]:
        return self._runs.paired(iter(self._urls))

    @cached_property
    def digest(self) -> str:
        """What tells these URLs and traits from any others."""
        digest = sha256()
        urls = iter(self._urls)
        while batch := list(islice(urls, _BATCH)):
            digest.update(b"\n".join(batch) + b"\n")
        self._runs.enter(digest.update)
        return digest.hexdigest()


class SpooledUrls:
    """URLs in a file, one a line."""

    def __init__(self, spool: Path, found: Found, picker: "_Picker") -> None:
        self._spool = spool
        self._runs = _Runs(picker.kinds)
        self.cuts: Mapping[str, int] = picker.cuts
        try:
            with spool.open("wb") as file:
                for url, mark in found:
                    file.write(url + b"\n")
                    self._runs.add(mark.kind)
        except OSError as error:
            raise SourceError(str(spool), f"cannot be written: {error.strerror}") from error

    def __len__(self) -> int:
        return len(self._runs)

    def __iter__(self) -> Iterator[tuple[bytes, Traits]]:
        with self._spool.open("rb") as file:
            yield from self._runs.paired(map(bytes.rstrip, file))

    @cached_property
    def digest(self) -> str:
        """What tells these URLs and traits from any others."""
        with self._spool.open("rb") as file:
            digest = file_digest(file, "sha256")
        self._runs.enter(digest.update)
        return digest.hexdigest()


class _Picker:
    """Reads lists in one order of work and counts what it leaves out."""

    def __init__(
        self, surroundings: Surroundings, order: Order, gate_required: Sequence[str]
    ) -> None:
        self.cuts: Counter[str] = Counter()
        self.kinds = _Kinds()
        self._surroundings = replace(surroundings, drop=self._drop)
        self._order = order
        self._required = frozenset(map(self._required_url, gate_required))

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

    def cut(self, marks: Mapping[bytes, Mark], limit: int | None) -> list[bytes]:
        """Sort, then limit; required URLs stay whatever the limit."""
        urls = self._sorted(marks)
        if limit is None or len(urls) <= limit:
            return urls
        kept = {url for url in urls if self._is_required(url, marks[url])}
        kept.update(islice((url for url in urls if url not in kept), max(limit - len(kept), 0)))
        self._count("over the limit", len(urls) - len(kept))
        return [url for url in urls if url in kept]

    def first(self, found: Found, limit: int | None) -> Found:
        """Yield the first ones up to the limit, and the required ones of the rest."""
        yield from islice(found, limit)
        for url, mark in found:
            if self._is_required(url, mark):
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
        absolute = self._surroundings.site.absolute
        rank = _RANKS[self._order]
        common = self.kinds.number(_common_traits(warm_list))
        for entry in warm_list.source.entries(self._surroundings):
            try:
                url = absolute(entry.url)
            except UrlRefusedError as refusal:
                self._drop(str(refusal))
                continue
            if b"@" in url and has_userinfo(url) and not warm_list.personal:
                self._drop("user name or password in the URL, without `personal: true`")
            else:
                traits = entry.traits
                kind = common if traits is PLAIN else self.kinds.under(traits, common)
                yield url, _mark(rank(entry), kind)

    def _is_required(self, url: bytes, mark: Mark) -> bool:
        return self.kinds.traits[mark.kind].required or url in self._required

    def _united(self, first: Mark, again: Mark) -> Mark:
        if first == again:
            return first
        kind = self.kinds.united(first.kind, again.kind)
        return _mark(max(first.rank, again.rank), kind)

    def _required_url(self, url: str) -> bytes:
        try:
            return self._surroundings.site.absolute(url.encode(errors="surrogateescape"))
        except UrlRefusedError as refusal:
            raise ConfigError([Problem("gate.required", f"{url!r}: {refusal}")]) from refusal

    def _drop(self, reason: str) -> None:
        self.cuts[reason] += 1

    def _count(self, reason: str, times: int) -> None:
        if times:
            self.cuts[reason] += times


class _Kinds:
    """The different traits of a run by number: thousands of URLs share one object."""

    def __init__(self) -> None:
        self.traits = [PLAIN]
        # Traits hold a mapping and so have no hash; what they look like tells them apart.
        self._numbers = {repr(PLAIN): 0}

    def number(self, traits: Traits) -> int:
        """Find the number of traits that are known or new."""
        number = self._numbers.setdefault(repr(traits), len(self.traits))
        if number == len(self.traits):
            self.traits.append(traits)
        return number

    def under(self, traits: Traits, wider: int) -> int:
        """Find the number of a URL's own traits, completed by those of its list."""
        return self.number(_under(traits, self.traits[wider]))

    def united(self, first: int, again: int) -> int:
        """Find the number of the traits of a URL that was listed twice."""
        if first == again:
            return first
        return self.number(_united(self.traits[first], self.traits[again]))


class _Runs:
    """The kinds of traits of all URLs in order: a few bytes for each run of alike neighbours."""

    def __init__(self, kinds: _Kinds) -> None:
        self._traits = kinds.traits
        self._kinds = array("L")
        self._counts = array("Q")

    def add(self, kind: int) -> None:
        """Note the kind of the next URL."""
        if self._kinds and self._kinds[-1] == kind:
            self._counts[-1] += 1
        else:
            self._kinds.append(kind)
            self._counts.append(1)

    def __len__(self) -> int:
        return sum(self._counts)

    def paired(self, urls: Iterator[bytes]) -> Iterator[tuple[bytes, Traits]]:
        """Give each URL its traits."""
        return chain.from_iterable(
            zip(islice(urls, count), repeat(self._traits[kind])) for count, kind in self._pairs()
        )

    def enter(self, update: Callable[[bytes], None]) -> None:
        """Feed a digest with all there is to know."""
        looks = [_look(traits) for traits in self._traits]
        for count, kind in self._pairs():
            update(f"{count} {looks[kind]}\n".encode(errors="surrogateescape"))

    def _pairs(self) -> Iterator[tuple[int, int]]:
        return zip(self._counts, self._kinds, strict=True)


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


def _under(traits: Traits, wider: Traits) -> Traits:
    return Traits(
        required=traits.required or wider.required,
        cacheable=traits.cacheable and wider.cacheable,
        variants=wider.variants if traits.variants is None else traits.variants,
        expect=_expected(traits.expect, wider.expect),
        headers={**wider.headers, **traits.headers},
        personal=traits.personal or wider.personal,
    )


def _expected(own: Expect | None, wider: Expect | None) -> Expect | None:
    return own.under(wider) if own and wider else own or wider


def _united(first: Traits, again: Traits) -> Traits:
    # Headers stay those of the first place: a URL must not become personal by another list.
    return replace(
        first,
        required=first.required or again.required,
        cacheable=first.cacheable and again.cacheable,
        variants=again.variants if first.variants is None else first.variants,
        expect=first.expect or again.expect,
    )


def _look(traits: Traits) -> str:
    # The values of personal headers are secrets, which change from run to run besides.
    names = dict.fromkeys(traits.headers, "")
    return repr(replace(traits, headers=names) if traits.personal else traits)
