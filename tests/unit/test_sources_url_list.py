"""Lists of URLs as people write them."""

import gzip
from pathlib import Path

import pytest

from cachekit.errors import SourceError
from cachekit.model import PLAIN, Entry, Expect, Traits
from cachekit.sources.url_list import ListedUrl, UrlFile, Urls
from cachekit.testing.sources import FakeSite

WARMLISTS = Path(__file__).parents[2] / "warmlists"


def urls_in(content: bytes, tmp_path: Path) -> list[bytes]:
    file = tmp_path / "list.txt"
    file.write_bytes(content)
    return [entry.url for entry in FakeSite().read(UrlFile(file=file))]


def test_comments_blank_lines_and_line_ends_of_windows(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbf# top pages\r\n\r\n/\r\n  /about \r\n\t# no\r\n/a#part"
    assert urls_in(content, tmp_path) == [b"/", b"/about", b"/a#part"]


def test_the_sample_list_can_be_warmed() -> None:
    site = FakeSite()
    entries = site.read(UrlFile(file=WARMLISTS / "top.txt"))
    assert entries[0].url == b"/"
    assert all(site.surroundings.site.absolute(entry.url) for entry in entries)


def test_an_empty_file_lists_nothing(tmp_path: Path) -> None:
    assert urls_in(b"", tmp_path) == []


def test_gzip_is_seen_through(tmp_path: Path) -> None:
    assert urls_in(gzip.compress(b"/a\n/b\n"), tmp_path) == [b"/a", b"/b"]


def test_gzip_that_is_cut_off_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"list\.txt: its gzip data is damaged or cut off"):
        urls_in(gzip.compress(b"/a\n/b\n" * 999)[:-20], tmp_path)


def test_utf_16_is_named_as_such(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"list\.txt: is UTF-16 text; save it as UTF-8"):
        urls_in("/a\n".encode("utf-16"), tmp_path)


def test_standard_input_is_read_and_left_open() -> None:
    site = FakeSite(stdin=b"/a\n/b\n")
    source = UrlFile(file=Path("-"))
    assert [entry.url for entry in site.read(source)] == [b"/a", b"/b"]
    assert not site.surroundings.stdin.closed
    assert source.describe() == "standard input"


def test_a_directory_is_an_error_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be read: Is a directory") as caught:
        FakeSite().read(UrlFile(file=tmp_path))
    assert caught.value.source == str(tmp_path)


def test_yaml_must_come_through_the_settings(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"top\.yaml: is YAML; name it in the settings"):
        FakeSite().read(UrlFile(file=tmp_path / "top.yaml"))


def test_a_listed_url_keeps_its_traits() -> None:
    expect = Expect(contains=("Checkout",))
    source = Urls(
        urls=("/", ListedUrl(url="/a", priority=0.9, required=True, expect=expect)),
    )
    assert FakeSite().read(source) == [
        Entry(b"/"),
        Entry(b"/a", 0.9, traits=Traits(required=True, expect=expect)),
    ]


def test_a_listed_url_without_traits_is_plain() -> None:
    (entry,) = FakeSite().read(Urls(urls=(ListedUrl(url="/a", priority=0.3),)))
    assert entry.traits is PLAIN


def test_undecodable_bytes_of_the_command_line_leave_as_they_came() -> None:
    (entry,) = FakeSite().read(Urls(urls=(b"/\xff".decode(errors="surrogateescape"),)))
    assert entry.url == b"/\xff"


def test_the_description_names_a_few_and_no_password() -> None:
    urls = ("https://anna:secret@shop.example/", "/b", ListedUrl(url="/c"), "/d")
    assert Urls(urls=urls).describe() == "https://***@shop.example/, /b, /c and 1 more"
