"""The URLs of a run in their order, each with its traits: in memory, or in a file on disk."""

from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from hashlib import file_digest, sha256
from itertools import chain, groupby, islice, repeat
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from cachekit.errors import SourceError
from cachekit.model import PLAIN, Expect, Traits

_BATCH = 10_000


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

    def kinds(self) -> Sequence[tuple[Traits, int]]:
        """Count the URLs of each kind of traits."""
        ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[tuple[bytes, Traits]]: ...


class Mark(NamedTuple):
    """What is remembered of a URL while its place is sought: its rank, the kind of its traits."""

    rank: float
    kind: int


Found = Iterator[tuple[bytes, Mark]]
# Marks that are alike are one object; without that, a million URLs take half as much memory again.
shared_mark = lru_cache(maxsize=4096)(Mark)
_KIND = attrgetter("kind")


class Kinds:
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
        if traits is PLAIN:
            return wider
        return self.number(_under(traits, self.traits[wider]))

    def united(self, first: int, again: int) -> int:
        """Find the number of the traits of a URL that was listed twice."""
        if first == again:
            return first
        return self.number(_united(self.traits[first], self.traits[again]))


class CollectedUrls:
    """URLs in memory."""

    def __init__(
        self, urls: list[bytes], marks: Mapping[bytes, Mark], kinds: Kinds, cuts: Mapping[str, int]
    ) -> None:
        self._urls = urls
        self._runs = _Runs(kinds)
        self.cuts = cuts
        for kind, alike in groupby(map(_KIND, map(marks.__getitem__, urls))):
            self._runs.add(kind, sum(1 for _ in alike))

    def kinds(self) -> Sequence[tuple[Traits, int]]:
        """Count the URLs of each kind of traits."""
        return self._runs.totals()

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

    def __init__(self, spool: Path, found: Found, kinds: Kinds, cuts: Mapping[str, int]) -> None:
        self._spool = spool
        self._runs = _Runs(kinds)
        self.cuts = cuts
        try:
            with spool.open("wb") as file:
                for kind, alike in groupby(found, lambda pair: pair[1].kind):
                    self._runs.add(kind, _write(file, alike))
        except OSError as error:
            raise SourceError(str(spool), f"cannot be written: {error.strerror}") from error

    def kinds(self) -> Sequence[tuple[Traits, int]]:
        """Count the URLs of each kind of traits."""
        return self._runs.totals()

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


class _Runs:
    """The kinds of traits of all URLs in order: a few bytes for each run of alike neighbours."""

    def __init__(self, kinds: Kinds) -> None:
        self._traits = kinds.traits
        self._kinds = array("L")
        self._counts = array("Q")

    def add(self, kind: int, count: int) -> None:
        """Note the kind of the next URLs."""
        self._kinds.append(kind)
        self._counts.append(count)

    def __len__(self) -> int:
        return sum(self._counts)

    def totals(self) -> list[tuple[Traits, int]]:
        """Count each kind."""
        counts: Counter[int] = Counter()
        for count, kind in self._pairs():
            counts[kind] += count
        return [(self._traits[kind], count) for kind, count in counts.items()]

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


def _write(spool: BinaryIO, found: Found) -> int:
    count = 0
    for count, (url, _) in enumerate(found, 1):  # noqa: B007 - the last one is the sum
        spool.write(url + b"\n")
    return count


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
        variants=_either(first.variants, again.variants),
        expect=first.expect or again.expect,
    )


def _either(first: tuple[str, ...] | None, again: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if first is None or again is None:
        return None  # all variants
    return tuple(dict.fromkeys((*first, *again)))


def _look(traits: Traits) -> str:
    # The values of personal headers are secrets, which change from run to run besides.
    names = dict.fromkeys(traits.headers, "")
    return repr(replace(traits, headers=names) if traits.personal else traits)
