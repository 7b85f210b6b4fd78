"""Parsers survive whatever bytes they meet, in whatever pieces, and no URL is lost in silence."""

import gzip
import json
from collections import Counter
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachekit.errors import SourceError
from cachekit.model import Entry
from cachekit.settings import WarmList
from cachekit.sources.access_log import AccessLog
from cachekit.sources.base import Source
from cachekit.sources.sitemap import Sitemap
from cachekit.sources.table import Table
from cachekit.sources.url_list import UrlFile, Urls
from cachekit.testing.sources import FakeSite
from cachekit.warming.collect import collect, stream

SHOP = b"https://shop.example"
MAP = "https://shop.example/sitemap.xml"
STDIN = Path("-")

line_bytes = st.binary(max_size=30).map(lambda raw: raw.replace(b"\n", b""))
path_bytes = st.binary(max_size=20).map(
    lambda raw: b"/" + bytes(byte for byte in raw if byte > 0x20 and byte not in b"\x7f#")
)
xml_text = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp"], exclude_characters="#￾￿"),
    max_size=20,
)


class Pieces(BytesIO):
    """A body that comes in pieces of the sizes given, as from a network."""

    def __init__(self, body: bytes, sizes: list[int]) -> None:
        super().__init__(body)
        self._sizes = list(sizes)

    def readinto(self, buffer: Any) -> int:
        size = self._sizes.pop() if self._sizes else len(buffer)
        piece = self.read(min(size, len(buffer)))
        buffer[: len(piece)] = piece
        return len(piece)


class InPieces(FakeSite):
    """A site that answers in pieces."""

    def __init__(self, answers: Mapping[str, bytes], sizes: list[int]) -> None:
        super().__init__(answers)
        self._sizes = sizes

    def fetch(self, url: str) -> BinaryIO:
        return Pieces(super().fetch(url).read(), self._sizes)


def outcome(source: Source, site: FakeSite) -> tuple[list[Entry], str]:
    entries: list[Entry] = []
    try:
        entries.extend(site.entries(source))
    except SourceError as error:
        return entries, str(error)
    return entries, ""


@given(st.lists(line_bytes))
def test_every_line_of_a_list_is_a_url_a_comment_or_blank(lines: list[bytes]) -> None:
    entries, error = outcome(UrlFile(file=STDIN), FakeSite(stdin=b"\n".join(lines)))
    if not error:
        first = [line.removeprefix(b"\xef\xbb\xbf") for line in lines[:1]]
        said = [line.strip() for line in first + lines[1:]]
        assert [entry.url for entry in entries] == [
            line for line in said if line and not line.startswith(b"#")
        ]


@given(st.lists(path_bytes))
def test_urls_reach_the_run_byte_for_byte(paths: list[bytes]) -> None:
    plain = [path for path in paths if not path.startswith(b"//")]
    site = FakeSite(stdin=b"\n".join(plain))
    urls = collect({"list": WarmList(source=UrlFile(file=STDIN))}, site.surroundings)
    assert [url for url, _ in urls] == [SHOP + path for path in dict.fromkeys(plain)]


@given(st.lists(line_bytes), st.integers(0, 5), st.booleans())
def test_what_is_kept_and_what_is_cut_add_up(lines: list[bytes], limit: int, spool: bool) -> None:
    source = UrlFile(file=STDIN)
    entries, error = outcome(source, FakeSite(stdin=b"\n".join(lines)))
    if error:
        return
    lists = {"list": WarmList(source=source, exclude=("*a*",))}
    site = FakeSite(stdin=b"\n".join(lines))
    with TemporaryDirectory() as folder:
        urls = (
            stream(lists, site.surroundings, Path(folder, "spool"), limit=limit)
            if spool
            else collect(lists, site.surroundings, limit=limit)
        )
        assert len(list(urls)) == len(urls) <= limit
        assert len(urls) + sum(urls.cuts.values()) == len(entries)


@given(st.binary() | st.binary().map(gzip.compress), st.lists(st.integers(1, 9)))
def test_a_sitemap_of_any_bytes_is_read_or_refused(body: bytes, sizes: list[int]) -> None:
    survives(body, sizes)


MARKUP = (
    "<urlset> </urlset> <url> </url> <loc> </loc> /a <sitemapindex> <sitemap> </sitemap> "
    "</sitemapindex> <lastmod> </lastmod> 2024 & <link_href='/b'_hreflang='de'/> <!-- --> "
    "<![CDATA[ ]]> <?x?> <rss> <channel> <item> </item> <feed> <entry> </entry> <!DOCTYPE_x> \0"
)
markup = st.sampled_from([part.replace("_", " ") for part in MARKUP.split(" ")])


@given(st.lists(markup), st.lists(st.integers(1, 9)))
def test_a_sitemap_of_any_markup_is_read_or_refused(parts: list[str], sizes: list[int]) -> None:
    survives("".join(parts).encode(), sizes)


def survives(body: bytes, sizes: list[int]) -> None:
    """Read it whole and in pieces: the same comes out, or the same error."""
    whole, pieces = FakeSite({MAP: body}), InPieces({MAP: body}, sizes)
    assert outcome(Sitemap(sitemap=MAP), pieces) == outcome(Sitemap(sitemap=MAP), whole)
    assert pieces.drops == whole.drops


@given(st.lists(xml_text.map(lambda text: "/" + text)), st.lists(st.integers(1, 50)))
def test_a_sitemap_yields_the_very_urls_it_lists(paths: list[str], sizes: list[int]) -> None:
    escaped = (path.replace("&", "&amp;").replace("<", "&lt;") for path in paths)
    body = "".join(f"<url><loc>{path}</loc></url>" for path in escaped)
    site = InPieces({MAP: f"<urlset>{body}</urlset>".encode()}, sizes)
    assert [entry.url.decode() for entry in site.read(Sitemap(sitemap=MAP))] == paths


visit = st.builds(
    lambda method, url, status, agent: (
        b'1.2.3.4 - - [t] "%s %s HTTP/1.1" %s 5 "-" "%s"' % (method, url, status, agent)
    ),
    st.sampled_from([b"GET", b"POST"]),
    path_bytes | st.sampled_from([b"/a", b"/b?c=d", b"/logout", b"http://evil.example/"]),
    st.sampled_from([b"200", b"304", b"404"]),
    st.sampled_from([b"Mozilla", b"Googlebot/2.1"]),
)


@given(st.lists(visit | line_bytes), st.none() | st.integers(1, 3))
def test_every_line_of_a_log_is_a_hit_or_dropped(lines: list[bytes], top: int | None) -> None:
    site = FakeSite(stdin=b"".join(line + b"\n" for line in lines))
    everything = AccessLog(access_log=(STDIN,))
    hits = sum(int(entry.priority or 0) for entry in site.read(everything))
    assert hits + site.drops.total() == len(lines)

    shorter = FakeSite(stdin=b"".join(line + b"\n" for line in lines))
    entries = shorter.read(AccessLog(access_log=(STDIN,), top=top))
    assert top is None or len(entries) <= top
    ranks = [entry.priority or 0 for entry in entries]
    assert ranks == sorted(ranks, reverse=True)


@given(st.lists(st.text(max_size=20)))
def test_the_values_of_a_table_can_be_read_back_from_the_url(values: list[str]) -> None:
    rows = "".join(json.dumps({"v": value}) + "\n" for value in values)
    with TemporaryDirectory() as folder:
        table = Path(folder, "t.jsonl")
        table.write_text(rows)
        site = FakeSite()
        entries = site.read(Table(table=table, template="/{v}"))
    assert [unquote_to_bytes(entry.url[1:]).decode() for entry in entries] == [
        value for value in values if value
    ]
    assert site.drops == Counter({"empty value in the table": values.count("")}) - Counter()


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl"])
@given(st.binary())
def test_a_table_of_any_bytes_is_read_or_refused(name: str, content: bytes) -> None:
    with TemporaryDirectory() as folder:
        table = Path(folder, name)
        table.write_bytes(b"v,w\n" + content if name == "t.csv" else content)
        for entry in outcome(Table(table=table, template="/{v}"), FakeSite())[0]:
            assert entry.url.isascii()


@given(st.text(max_size=20))
def test_any_text_is_a_url_or_counted(text: str) -> None:
    urls = collect({"list": WarmList(source=Urls(urls=(text,)))}, FakeSite().surroundings)
    assert len(urls) + sum(urls.cuts.values()) == 1
