"""What every source of URLs keeps: a contract to subclass, and a site to read from that is no site.

::

    class TestFeed(FileSourceContract):
        @pytest.fixture
        def listing(self, tmp_path): ...

        @pytest.fixture
        def unreadable(self, tmp_path): ...
"""

# ruff: noqa: S101, D102 - a contract is made of assertions, and a test's name says what it shows

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from typing import BinaryIO

import pytest

from cachekit.errors import SourceError
from cachekit.model import Entry, Site
from cachekit.sources.base import Source, Surroundings


class FakeSite:
    """A site whose answers are given beforehand; it notes what was fetched and what was dropped."""

    def __init__(
        self,
        answers: Mapping[str, bytes] | None = None,
        *,
        stdin: bytes = b"",
        url: str = "https://shop.example",
        allow_hosts: tuple[str, ...] = (),
    ) -> None:
        self.answers = dict(answers or {})
        self.fetched: list[str] = []
        self.drops: Counter[str] = Counter()
        self.surroundings = Surroundings(
            site=Site(url, allow_hosts), fetch=self.fetch, drop=self.drop, stdin=BytesIO(stdin)
        )

    def fetch(self, url: str) -> BinaryIO:
        """Answer as given, or raise SourceError as a node that has no such page."""
        self.fetched.append(url)
        if url not in self.answers:
            raise SourceError(url, "answered 404")
        return BytesIO(self.answers[url])

    def drop(self, reason: str) -> None:
        """Note one thing that was left out."""
        self.drops[reason] += 1

    def read(self, source: Source) -> list[Entry]:
        """Read all that a source lists."""
        return list(self.entries(source))

    def entries(self, source: Source) -> Iterator[Entry]:
        """Read what a source lists as it is asked for, bare URLs as entries too."""
        for entry in source.entries(self.surroundings):
            yield Entry(entry) if isinstance(entry, bytes) else entry


@dataclass(frozen=True, kw_only=True)
class Listing:
    """A source, the very URLs it must yield in order, and how many things it must drop.

    To prove anything, it should hold bytes that a library might normalise (`/%61?b=2&a=1`, `/é`),
    and something that must be dropped, where the format knows such things.
    """

    source: Source
    urls: tuple[bytes, ...]
    dropped: int = 0


class SourceContract:
    """What every source keeps; override the fixture `listing`, and `site` if one is asked."""

    @pytest.fixture
    def site(self) -> FakeSite:
        """Stand in for the site."""
        return FakeSite()

    @pytest.fixture
    def listing(self) -> Listing:
        """Give a source with what it must yield and drop."""
        pytest.fail("a SourceContract needs a fixture `listing`")

    def test_is_a_source(self, listing: Listing) -> None:
        assert isinstance(listing.source, Source)

    def test_yields_the_very_bytes_in_order(self, listing: Listing, site: FakeSite) -> None:
        assert tuple(entry.url for entry in site.read(listing.source)) == listing.urls

    def test_counts_what_it_drops(self, listing: Listing, site: FakeSite) -> None:
        site.read(listing.source)
        assert site.drops.total() == listing.dropped

    def test_can_be_read_again(self, listing: Listing, site: FakeSite) -> None:
        assert site.read(listing.source) == site.read(listing.source)

    def test_can_be_left_in_the_middle(self, listing: Listing, site: FakeSite) -> None:
        entries = site.entries(listing.source)
        assert [entry.url for entry in islice(entries, 1)] == list(listing.urls[:1])

    def test_describes_itself_in_one_line(self, listing: Listing) -> None:
        description = listing.source.describe()
        assert description
        assert description.isprintable()


class FileSourceContract(SourceContract):
    """What a source keeps besides that reads a file or a URL: a fixture `unreadable` more."""

    @pytest.fixture
    def unreadable(self) -> tuple[Source, str]:
        """Give a source that cannot be read, and the name its error must tell."""
        pytest.fail("a FileSourceContract needs a fixture `unreadable`")

    def test_reads_nothing_before_it_is_asked(
        self, unreadable: tuple[Source, str], site: FakeSite
    ) -> None:
        source, _ = unreadable
        source.entries(site.surroundings)

    def test_names_what_cannot_be_read(
        self, unreadable: tuple[Source, str], site: FakeSite
    ) -> None:
        source, name = unreadable
        with pytest.raises(SourceError) as caught:
            site.read(source)
        assert name in str(caught.value)
