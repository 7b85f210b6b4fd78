"""From lists to the URLs of a run: collect, dedupe, filter, sort, limit, and say what was cut."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from cachekit.errors import ConfigError, SourceError
from cachekit.model import PLAIN, Entry, Expect, Traits
from cachekit.settings import WarmList
from cachekit.sources.base import Surroundings
from cachekit.sources.url_list import ListedUrl, UrlFile, Urls
from cachekit.testing.sources import FakeSite
from cachekit.warming.collect import UrlSet, collect, stream

SHOP = b"https://shop.example"


@dataclass(frozen=True)
class Entries:
    """A source of given entries."""

    entries_: tuple[Entry, ...]

    def entries(self, surroundings: Surroundings) -> Iterator[Entry]:
        return iter(self.entries_)

    def describe(self) -> str:
        return "given"


def listed(*urls: str | ListedUrl, **common: object) -> WarmList:
    return WarmList(source=Urls(urls=urls), **common)  # type: ignore[arg-type]


def ranked(*ranks: tuple[str, float | None], **common: object) -> WarmList:
    entries = tuple(Entry(path.encode(), rank, rank) for path, rank in ranks)
    return WarmList(source=Entries(entries), **common)  # type: ignore[arg-type]


def gathered(*lists: WarmList, **options: object) -> UrlSet:
    return collect(named(lists), FakeSite().surroundings, **options)  # type: ignore[arg-type]


def spooled(tmp_path: Path, *lists: WarmList, **options: object) -> UrlSet:
    spool = tmp_path / "spool"
    return stream(named(lists), FakeSite().surroundings, spool, **options)  # type: ignore[arg-type]


def named(lists: Iterable[WarmList]) -> Mapping[str, WarmList]:
    return {f"list{number}": warm_list for number, warm_list in enumerate(lists)}


def paths(urls: UrlSet) -> list[str]:
    return [url.removeprefix(SHOP).decode() for url, _ in urls]


def traits_of(urls: UrlSet) -> dict[str, Traits]:
    return {url.removeprefix(SHOP).decode(): traits for url, traits in urls}


# --- collect and dedupe


def test_relative_urls_are_completed_and_foreign_ones_counted() -> None:
    urls = gathered(
        listed(
            "/a#top", "https://shop.example/b", "https://evil.example/", "//evil.example/x", "/a b"
        )
    )
    assert [url for url, _ in urls] == [SHOP + b"/a", SHOP + b"/b"]
    assert urls.cuts == {"another host": 2, "contains a space or control byte": 1}


def test_bytes_stay_as_they_are() -> None:
    odd = ("/%61?b=2&a=1", "/a//b/../c", "https://SHOP.example:443/x", "/é", "/?")
    assert [url.decode() for url, _ in gathered(listed(*odd))] == [
        "https://shop.example/%61?b=2&a=1",
        "https://shop.example/a//b/../c",
        "https://SHOP.example:443/x",
        "https://shop.example/é",
        "https://shop.example/?",
    ]


def test_what_sources_drop_is_among_the_cuts() -> None:
    class Dropping:
        def entries(self, surroundings: Surroundings) -> Iterator[Entry]:
            surroundings.drop("below par")
            yield Entry(b"/a")

        def describe(self) -> str:
            return "dropping"

    urls = gathered(WarmList(source=Dropping()))
    assert len(urls) == 1
    assert urls.cuts == {"below par": 1}


def test_a_duplicate_keeps_the_first_place_and_gains_the_highest_rank() -> None:
    lists = ranked(("/a", 0.1), ("/b", 0.5), ("/a", 0.9), ("/c", None), ("/c", 0.2))
    assert paths(gathered(lists)) == ["/a", "/b", "/c"]
    assert gathered(lists).cuts == {"duplicate": 2}
    assert paths(gathered(lists, order="priority")) == ["/a", "/b", "/c"]
    assert paths(gathered(lists, order="lastmod")) == ["/a", "/b", "/c"]


def test_a_url_on_two_lists_unites_their_traits() -> None:
    first, again = Expect(contains=("one",)), Expect(contains=("two",))
    urls = gathered(
        listed("/a", "/b"),
        listed("/a", required=True, expect=first, variants=("mobile",)),
        listed("/a", expect=again, cacheable=False, headers={"X": "y"}, variants=("desktop",)),
    )
    assert traits_of(urls) == {
        "/a": Traits(required=True, cacheable=False, expect=first),
        "/b": PLAIN,
    }


def test_variants_of_two_lists_are_united() -> None:
    urls = gathered(listed("/a", variants=("mobile",)), listed("/a", variants=("desktop",)))
    assert traits_of(urls)["/a"].variants == ("mobile", "desktop")


def test_a_url_does_not_become_personal_by_another_list() -> None:
    personal = listed("/a", personal=True, headers={"Cookie": "id=1"})
    assert traits_of(gathered(listed("/a"), personal))["/a"] == PLAIN


def test_a_password_in_a_url_needs_a_personal_list() -> None:
    url = "https://anna:pw@shop.example/a"
    urls = gathered(listed(url))
    assert len(urls) == 0
    assert urls.cuts == {"user name or password in the URL, without `personal: true`": 1}
    assert [url for url, _ in gathered(listed(url, personal=True))] == [url.encode()]


# --- traits


def test_traits_of_list_and_url_are_merged_and_shared() -> None:
    wide = Expect(status=(200,), max_time=2.0)
    urls = gathered(
        listed(
            "/a",
            ListedUrl(url="/b", expect=Expect(max_time=1.0), variants=("mobile",)),
            "/c",
            expect=wide,
            headers={"X": "y"},
            variants=("desktop",),
        )
    )
    found = traits_of(urls)
    common = Traits(expect=wide, headers={"X": "y"}, variants=("desktop",))
    assert found["/a"] == common
    assert found["/a"] is found["/c"]
    assert found["/b"] == Traits(
        expect=Expect(status=(200,), max_time=1.0), headers={"X": "y"}, variants=("mobile",)
    )


def test_a_plain_list_has_the_plain_traits_themselves() -> None:
    assert all(traits is PLAIN for _, traits in gathered(listed("/a", "/b")))


# --- filter


def test_globs_match_the_path_or_the_whole_url_and_cross_slashes() -> None:
    urls = listed("/", "/product/1", "/product/1/reviews", "/search?q=product", "/PRODUCT/2")
    assert paths(gathered(urls, include=["/product/*"])) == ["/product/1", "/product/1/reviews"]
    assert paths(gathered(urls, include=["https://shop.example/"])) == ["/"]
    assert paths(gathered(urls, exclude=["*[?]*", "/product/?"])) == [
        "/",
        "/product/1/reviews",
        "/PRODUCT/2",
    ]


def test_regular_expressions_are_marked_and_need_not_match_all() -> None:
    urls = listed("/", "/product/1", "/product/12", "/about")
    found = gathered(urls, include=[r"re:/\d$", "re:(?i)^/ABOUT"])
    assert paths(found) == ["/product/1", "/about"]
    assert found.cuts == {"not included": 2}
    assert gathered(urls, exclude=["re:^https://shop"]).cuts == {"excluded": 4}


def test_a_broken_pattern_is_a_problem_of_the_settings() -> None:
    with pytest.raises(ConfigError, match=r"exclude: 're:\(' is not a regular expression"):
        gathered(listed("/"), exclude=["re:("])


def test_lists_are_filtered_and_limited_before_all_is() -> None:
    urls = gathered(
        listed("/a/1", "/a/2", "/a/3", "/x", exclude=("/x",), limit=2),
        listed("/b/1", "/b/2"),
        exclude=["/a/1"],
        limit=2,
    )
    assert paths(urls) == ["/a/2", "/b/1"]
    assert urls.cuts == {"excluded": 2, "over the limit": 2}


# --- sort and limit


@pytest.mark.parametrize("order", ["priority", "lastmod"])
def test_the_limit_cuts_after_sorting(order: str) -> None:
    urls = ranked(("/low", 0.1), ("/mid", 0.6), ("/high", 0.9), ("/mid2", 0.6))
    assert paths(gathered(urls, order=order, limit=3)) == ["/high", "/mid", "/mid2"]


@pytest.mark.parametrize("order", ["priority", "lastmod"])
def test_the_limit_of_a_list_cuts_after_sorting_too(order: str) -> None:
    lists = (
        ranked(("/low", 0.1), ("/high", 0.9), ("/high", 0.2), limit=1),
        ranked(("/other", 0.95)),
    )
    assert paths(gathered(*lists, order=order)) == ["/other", "/high"]


def test_an_unknown_priority_is_a_half_and_an_unknown_date_the_last() -> None:
    urls = ranked(("/low", 0.4), ("/unknown", None), ("/high", 0.6))
    assert paths(gathered(urls, order="priority")) == ["/high", "/unknown", "/low"]
    assert paths(gathered(urls, order="lastmod")) == ["/high", "/low", "/unknown"]
    assert paths(gathered(urls, order="file")) == ["/low", "/unknown", "/high"]


def test_required_urls_outlive_every_limit() -> None:
    urls = gathered(
        listed("/1", "/2", ListedUrl(url="/must", required=True), "/3", limit=2),
        listed("/4", "/gate"),
        limit=3,
        gate_required=["/gate"],
    )
    assert paths(urls) == ["/1", "/must", "/gate"]
    assert urls.cuts == {"over the limit": 3}
    assert paths(gathered(listed("/a", "/b", required=True), limit=0)) == ["/a", "/b"]


def test_what_the_gate_requires_is_asked_though_no_list_has_it() -> None:
    urls = gathered(listed("/a"), exclude=["/gate"], gate_required=["/gate"])
    assert traits_of(urls) == {"/a": PLAIN, "/gate": Traits(required=True)}
    assert urls.cuts == {}


# --- stream


def test_a_stream_keeps_list_order_and_duplicates(tmp_path: Path) -> None:
    urls = spooled(tmp_path, ranked(("/b", 0.1), ("/a", 0.9), ("/b", 0.5)), listed("/b"))
    assert paths(urls) == ["/b", "/a", "/b", "/b"]
    assert len(urls) == 4
    assert (tmp_path / "spool").read_bytes().count(b"\n") == 4


def test_a_stream_is_filtered_and_limited_and_says_so(tmp_path: Path) -> None:
    urls = spooled(
        tmp_path,
        listed("/a/1", "/a/2", "/a/3", "https://evil.example/", limit=2),
        listed("/b/1", "/b/2", ListedUrl(url="/b/3", required=True), "/gate"),
        exclude=["/a/1"],
        limit=2,
        gate_required=["/gate"],
    )
    assert paths(urls) == ["/a/2", "/b/1", "/b/3", "/gate"]
    assert urls.cuts == {"another host": 1, "excluded": 1, "over the limit": 3}


def test_a_stream_knows_the_traits_of_each_url(tmp_path: Path) -> None:
    lists = (
        listed("/a", ListedUrl(url="/b", required=True), "/c"),
        listed("/d", cacheable=False),
        listed("/e"),
    )
    urls = spooled(tmp_path, *lists)
    assert traits_of(urls) == traits_of(gathered(*lists))
    assert [traits.required for _, traits in urls] == [False, True, False, False, False]
    assert traits_of(urls)["/d"] == Traits(cacheable=False)


def test_a_spool_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    with pytest.raises(SourceError, match="spool: cannot be written: Is a directory"):
        spooled(tmp_path, listed("/a"))


def test_an_unreadable_source_stays_the_error_it_is(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"none\.txt: cannot be read"):
        spooled(tmp_path, WarmList(source=UrlFile(file=tmp_path / "none.txt")))


# --- both


@pytest.mark.parametrize("kind", ["collected", "spooled"])
def test_every_iteration_starts_afresh(tmp_path: Path, kind: str) -> None:
    lists = (listed("/a", "/b"), listed("/c", required=True))
    urls = gathered(*lists) if kind == "collected" else spooled(tmp_path, *lists)
    one, two = iter(urls), iter(urls)
    assert next(one)[0] == next(two)[0] == SHOP + b"/a"
    assert list(urls) == list(urls)
    assert len(list(one)) == 2


def test_the_digest_knows_urls_order_and_traits(tmp_path: Path) -> None:
    variants = [
        gathered(listed("/a", "/b")),
        gathered(listed("/b", "/a")),
        gathered(listed("/a")),
        gathered(listed("/a", "/b", required=True)),
        gathered(listed("/a"), listed("/b", required=True)),
        gathered(listed("/a", "/b", headers={"X": "1"})),
        gathered(listed("/a", "/b", headers={"X": "2"})),
    ]
    assert len({urls.digest for urls in variants}) == len(variants)
    assert gathered(listed("/a", "/b")).digest == variants[0].digest
    assert spooled(tmp_path, listed("/a", "/b")).digest == variants[0].digest


def test_the_digest_knows_no_secret() -> None:
    one = gathered(listed("/a", personal=True, headers={"Cookie": "id=1"}))
    two = gathered(listed("/a", personal=True, headers={"Cookie": "id=2"}))
    assert one.digest == two.digest
    assert one.digest != gathered(listed("/a", personal=True)).digest


def test_no_lists_give_no_urls(tmp_path: Path) -> None:
    assert list(gathered()) == []
    assert list(spooled(tmp_path)) == []
    assert len(spooled(tmp_path)) == 0
