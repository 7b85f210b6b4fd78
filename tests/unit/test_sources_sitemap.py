"""Sitemaps of every kind, and hostile ones."""

import gzip
import time
import tracemalloc
import zlib
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import pytest

from cachekit.errors import SourceError
from cachekit.model import Entry
from cachekit.sources.base import new_body
from cachekit.sources.sitemap import Sitemap
from cachekit.testing.sources import FakeSite

SHOP = "https://shop.example"
MAP = f"{SHOP}/sitemap.xml"
NAMESPACE = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'


def urlset(*paths: str) -> bytes:
    urls = "".join(f"<url><loc>{SHOP}{path}</loc></url>" for path in paths)
    return f"<urlset {NAMESPACE}>{urls}</urlset>".encode()


def index(*urls: str) -> bytes:
    return (
        "<sitemapindex>"
        + "".join(f"<sitemap><loc>{url}</loc></sitemap>" for url in urls)
        + "</sitemapindex>"
    ).encode()


def read(answer: bytes, **options: object) -> list[Entry]:
    return FakeSite({MAP: answer}).read(Sitemap(sitemap=MAP, **options))  # type: ignore[arg-type]


def urls(entries: list[Entry]) -> list[str]:
    return [entry.url.decode().removeprefix(SHOP) for entry in entries]


def error_of(answer: bytes, **options: object) -> str:
    with pytest.raises(SourceError) as caught:
        read(answer, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    "answer",
    [
        urlset("/a", "/b"),
        b"\n \n<?xml version='1.0'?>" + urlset("/a", "/b"),
        b"\xef\xbb\xbf" + urlset("/a", "/b"),
        gzip.compress(urlset("/a", "/b"), mtime=0),
        gzip.compress(gzip.compress(urlset("/a", "/b"))),
        urlset("/a", "/b").decode().encode("utf-16"),
        urlset("/a", "/b").replace(b"0.9", b"0.84"),
        b'<x:urlset xmlns:x="any"><x:url><x:loc>/a</x:loc></x:url>'
        b"<x:url><x:loc> \n/b\t</x:loc></x:url></x:urlset>",
        b"<urlset><url><loc>/<![CDATA[a]]><!-- x --></loc></url><url><loc>/b</loc></url></urlset>",
        f"{SHOP}/a\r\n\r\n{SHOP}/b".encode(),
        b"\xef\xbb\xbf" + f"{SHOP}/a\n{SHOP}/b\n".encode(),
        b"<rss version='2.0'><channel><link>/no</link><image><url>/no.png</url></image>"
        b"<item><title>t</title><link>/a</link></item><item><link>/b</link></item></channel></rss>",
        b'<feed xmlns="http://www.w3.org/2005/Atom"><link href="/no"/>'
        b'<entry><link rel="edit" href="/no"/><link href="/a"/></entry>'
        b'<entry><link rel="alternate" href="/b"/></entry></feed>',
        b'<rdf:RDF xmlns:rdf="r"><channel><link>/no</link></channel>'
        b"<item><link>/a</link></item><item><link>/b</link></item></rdf:RDF>",
    ],
)
def test_every_format_is_read(answer: bytes) -> None:
    assert urls(read(answer)) == ["/a", "/b"]


def test_escapes_are_undone_and_nothing_is_encoded_anew() -> None:
    (entry,) = read("<urlset><url><loc>/é?b=%61&amp;a=&#39;</loc></url></urlset>".encode())
    assert entry.url == "/é?b=%61&a='".encode()


def test_only_the_page_itself_counts_not_its_images() -> None:
    answer = urlset("/a").replace(b"</url>", b"<i:image><i:loc>/i.png</i:loc></i:image></url>")
    assert urls(read(answer.replace(b"<urlset", b'<urlset xmlns:i="i"'))) == ["/a"]


def test_other_languages_are_added_unless_told_otherwise() -> None:
    links = "".join(
        f'<x:link rel="alternate" hreflang="{lang}" href="{SHOP}/{lang}/a"/>'
        for lang in ("en", "de")
    )
    answer = f'<urlset xmlns:x="x"><url><loc>{SHOP}/en/a</loc>{links}</url></urlset>'.encode()
    assert urls(read(answer)) == ["/en/a", "/de/a"]
    assert urls(read(answer, alternates=False)) == ["/en/a"]


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("1970", 0),
        ("1970-02", 31 * 86400),
        ("1970-01-02", 86400),
        ("1970-01-01T01:00Z", 3600),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1970-01-01T00:00:01.5Z", 1.5),
        ("1970-01-01T00:00:01.123456789Z", 1.123456),
        ("1970-01-01T00:00:10", 10),
        ("Thu, 01 Jan 1970 00:01:00 GMT", 60),
        ("", None),
        ("20", None),
        ("yesterday", None),
        ("2024-13-45", None),
        ("0000", None),
        ("9" * 5000, None),
    ],
)
def test_dates_of_every_kind_are_read_and_bad_ones_are_no_loss(
    written: str, seconds: float | None
) -> None:
    (entry,) = read(
        f"<urlset><url><loc>/a</loc><lastmod>{written}</lastmod></url></urlset>".encode()
    )
    assert entry.lastmod == seconds


@pytest.mark.parametrize(
    ("written", "priority"),
    [
        ("0.8", 0.8),
        ("1", 1.0),
        ("", None),
        ("high", None),
        ("nan", None),
        ("7", None),
        ("-1", None),
    ],
)
def test_bad_priorities_are_no_loss(written: str, priority: float | None) -> None:
    answer = f"<urlset><url><loc>/a</loc><priority> {written}</priority></url></urlset>"
    (entry,) = read(answer.encode())
    assert entry.priority == priority


def test_an_index_is_followed_in_its_place() -> None:
    site = FakeSite(
        {
            MAP: index(f"{SHOP}/1.xml.gz", "/2.xml"),
            f"{SHOP}/1.xml.gz": gzip.compress(urlset("/a")),
            f"{SHOP}/2.xml": index(f"{SHOP}/3.txt"),
            f"{SHOP}/3.txt": f"{SHOP}/b".encode(),
        }
    )
    assert urls(site.read(Sitemap(sitemap=MAP))) == ["/a", "/b"]


def test_a_body_as_the_warmer_fetches_it_is_read_and_closed() -> None:
    body = new_body()
    body.write(gzip.compress(urlset("/a")))
    body.seek(0)
    surroundings = replace(FakeSite().surroundings, fetch=lambda _: body)
    assert urls(list(Sitemap(sitemap=MAP).entries(surroundings))) == ["/a"]
    assert body.closed


def test_an_index_is_fetched_as_it_is_needed() -> None:
    site = FakeSite({MAP: index("/1.xml", "/2.xml"), f"{SHOP}/1.xml": urlset("/a")})
    entries = Sitemap(sitemap=MAP).entries(site.surroundings)
    assert next(entries).url == f"{SHOP}/a".encode()
    assert site.fetched == [MAP, f"{SHOP}/1.xml"]


def test_a_local_file_leads_to_the_site(tmp_path: Path) -> None:
    local = tmp_path / "sitemap.xml"
    local.write_bytes(index(f"{SHOP}/1.xml"))
    site = FakeSite({f"{SHOP}/1.xml": urlset("/a")})
    source = Sitemap(sitemap=str(local))
    assert urls(site.read(source)) == ["/a"]
    assert source.describe() == str(local)


@pytest.mark.parametrize("local", [False, True])
def test_robots_txt_leads_to_sitemaps(tmp_path: Path, local: bool) -> None:
    robots = (
        b"\xef\xbb\xbfSitemap: https://shop.example/1.xml # first\r\nUser-agent: *\r\n"
        b"Disallow: /sitemap: no\n  SITEMAP :/2.xml\nSitemap: https://cdn.example/3.xml\n"
    )
    (tmp_path / "robots.txt").write_bytes(robots)
    place = str(tmp_path / "robots.txt") if local else f"{SHOP}/robots.txt"
    site = FakeSite(
        {
            f"{SHOP}/robots.txt": robots,
            f"{SHOP}/1.xml": urlset("/a"),
            f"{SHOP}/2.xml": urlset("/b"),
        }
    )
    assert urls(site.read(Sitemap(sitemap=place))) == ["/a", "/b"]
    assert site.drops == {"sub-sitemap: another host": 1}


def test_robots_txt_without_a_sitemap_is_an_error() -> None:
    site = FakeSite({f"{SHOP}/robots.txt": b"User-agent: *\nDisallow:\n"})
    with pytest.raises(SourceError, match=r"robots\.txt: names no sitemap"):
        site.read(Sitemap(sitemap=f"{SHOP}/robots.txt"))


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"", "is empty"),
        (b" \n# nothing\n", "is empty"),
        (b"<!DOCTYPE html><html><body>404", "answered an HTML page, not a sitemap"),
        (b"\n<html lang=en><p>Maintenance", "answered an HTML page, not a sitemap"),
        (
            b'<?xml version="1.0"?><!DOCTYPE html PUBLIC "x" "y"><html/>',
            "answered an HTML page, not a sitemap",
        ),
        (b'<?xml version="1.0"?><html xmlns="h"/>', "answered an HTML page, not a sitemap"),
        (b"<error><code>AccessDenied</code></error>", "<error> starts no sitemap or feed"),
        (b'{"error": "not found"}', "is neither XML nor a list of URLs"),
        (b"\x1f\x8bnot gzip at all", "its gzip data is damaged or cut off"),
        (gzip.compress(urlset("/a"), mtime=0)[:-12], "its gzip data is damaged or cut off"),
        (b"<urlset>\n<url><loc>/?a=1&b=2</loc></url></urlset>", "sitemap.xml:2: broken or cut off"),
        (b"<urlset>&nbsp;</urlset>", "sitemap.xml:1: broken or cut off: Entity 'nbsp'"),
        (urlset("/a") + b"\n<more/>", "sitemap.xml:2: broken or cut off"),
    ],
)
def test_what_is_no_sitemap_is_named(answer: bytes, problem: str) -> None:
    message = error_of(answer)
    assert message.startswith(MAP)
    assert problem in message


def test_of_a_truncated_sitemap_what_came_is_yielded_then_the_error() -> None:
    site = FakeSite({MAP: urlset("/a", "/b", "/c")[:-40].replace(b"<url>", b"\n<url>")})
    entries = Sitemap(sitemap=MAP).entries(site.surroundings)
    assert [next(entries).url[-2:], next(entries).url[-2:]] == [b"/a", b"/b"]
    with pytest.raises(SourceError, match=r"sitemap\.xml:4: broken or cut off: Premature end"):
        next(entries)


def test_a_broken_sub_sitemap_is_an_error_that_names_it() -> None:
    site = FakeSite({MAP: index("/1.xml"), f"{SHOP}/1.xml": b"<html>"})
    with pytest.raises(SourceError, match=r"^https://shop\.example/1\.xml: answered an HTML page"):
        site.read(Sitemap(sitemap=MAP))


def test_a_missing_file_says_how_to_name_a_sitemap_of_the_site() -> None:
    with pytest.raises(SourceError, match="no such file; a sitemap of the site is named by its"):
        FakeSite().read(Sitemap(sitemap="/sitemap.xml"))


def test_a_password_in_the_address_is_told_nowhere() -> None:
    source = Sitemap(sitemap="https://anna:secret@shop.example/sitemap.xml")
    assert source.describe() == "https://***@shop.example/sitemap.xml"
    with pytest.raises(SourceError) as caught:
        FakeSite({str(source.sitemap): b""}).read(source)
    assert "secret" not in str(caught.value)


LAUGHS = b"""<?xml version="1.0"?>
<!DOCTYPE lolz [<!ENTITY lol "lol"><!ENTITY lol1 "&lol;&lol;&lol;&lol;&lol;&lol;&lol;&lol;&lol;">
<!ENTITY lol2 "&lol1;&lol1;&lol1;&lol1;&lol1;&lol1;&lol1;&lol1;&lol1;&lol1;">]>
<urlset><url><loc>/&lol2;</loc></url></urlset>"""
OUTSIDE = b'<!DOCTYPE u [<!ENTITY x SYSTEM "file:///etc/passwd">]><urlset><url><loc>/&x;</loc></url></urlset>'


@pytest.mark.parametrize("bomb", [LAUGHS, OUTSIDE, b'<!DOCTYPE u SYSTEM "http://x/y"><urlset/>'])
def test_an_entity_bomb_is_refused(bomb: bytes) -> None:
    assert "declares a DOCTYPE" in error_of(bomb)


@pytest.mark.parametrize(
    "filling",
    [b"<url/>", b"<a><url/></a>", b"x" * 100, b"<!-- " + b"y" * 100 + b" -->", b"\n"],
    ids=["items", "nested", "text", "comments", "lines"],
)
def test_an_inflated_bomb_is_refused_in_little_memory(filling: bytes) -> None:
    bomb = gzip_of(b"<urlset>", filling, 20_000_000)
    started = time.monotonic()
    tracemalloc.start()
    try:
        message = error_of(bomb, max_inflated=250_000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "inflates to more than 250000 bytes; raise max_inflated" in message
    assert peak < 3_000_000
    assert time.monotonic() - started < 10


def gzip_of(start: bytes, filling: bytes, size: int) -> bytes:
    packer = zlib.compressobj(wbits=31)
    block = filling * (100_000 // len(filling))
    blocks = [packer.compress(start)]
    blocks += [packer.compress(block) for _ in range(size // len(block))]
    return b"".join(blocks) + packer.flush()


def test_a_text_bomb_of_one_line_is_refused() -> None:
    bomb = gzip_of(b"https://shop.example/", b"x", 20_000_000)
    assert "inflates to more than 250000 bytes" in error_of(bomb, max_inflated=250_000)


class EndlessSite(FakeSite):
    """Each index leads to new ones."""

    def fetch(self, url: str) -> BinaryIO:
        self.fetched.append(url)
        return BytesIO(index(f"{url}/1", f"{url}/2"))


def test_an_endlessly_deep_index_is_refused() -> None:
    site = EndlessSite()
    with pytest.raises(SourceError, match="nests indexes more than 3 deep"):
        site.read(Sitemap(sitemap=MAP))
    assert len(site.fetched) == 4


def test_an_endlessly_long_index_is_refused() -> None:
    answers = {f"{SHOP}/{number}": b"<urlset/>" for number in range(20)}
    site = FakeSite({MAP: index(*answers), **answers})
    with pytest.raises(SourceError, match="leads to more than 10 sitemaps; raise max_sitemaps"):
        site.read(Sitemap(sitemap=MAP, max_sitemaps=10))
    assert len(site.fetched) == 10


def test_a_loop_ends() -> None:
    one, two = f"{SHOP}/1.xml", f"{SHOP}/2.xml"
    site = FakeSite({MAP: index(one), one: index(two, MAP), two: index(one)})
    assert site.read(Sitemap(sitemap=MAP)) == []
    assert site.drops == {"sub-sitemap: listed again": 2}


def test_sub_sitemaps_of_other_hosts_are_never_fetched() -> None:
    site = FakeSite(
        {
            MAP: index(
                "https://evil.example/x.xml",
                "//evil.example/x.xml",
                "file:///etc/passwd",
                "http://169.254.169.254/latest",
                "https://anna:pw@shop.example/x.xml",
                "http://www.shop.example:80/1.xml",
            ),
            "http://www.shop.example:80/1.xml": urlset("/a"),
        },
        allow_hosts=("www.shop.example",),
    )
    assert urls(site.read(Sitemap(sitemap=MAP))) == ["/a"]
    assert site.fetched == [MAP, "http://www.shop.example:80/1.xml"]
    assert site.drops.total() == 5
    assert site.drops["sub-sitemap: another host"] == 3


def test_an_entry_without_an_address_is_counted() -> None:
    site = FakeSite(
        {MAP: b"<urlset><url/><url><loc> </loc></url><url><loc>/a</loc></url></urlset>"}
    )
    assert urls(site.read(Sitemap(sitemap=MAP))) == ["/a"]
    assert site.drops == {"sitemap entry without an address": 2}


@pytest.mark.parametrize("filler", ['<link a="{}"/>', "<x{}/>"])
def test_memory_is_constant_at_one_entry_of_50_000_parts(tmp_path: Path, filler: str) -> None:
    local = tmp_path / "sitemap.xml"
    parts = "".join(map(filler.format, range(50_000)))
    local.write_text(f"<urlset><url><loc>/a</loc>{parts}</url></urlset>")
    site = FakeSite()
    tracemalloc.start()
    try:
        assert len(site.read(Sitemap(sitemap=str(local)))) == 1
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000


@pytest.mark.parametrize("opening", ["<link ", "<!--", "<x>"])
def test_a_part_that_does_not_end_is_refused(opening: str) -> None:
    answer = f"<urlset><url><loc>/a</loc>{opening}".encode() + b'a="b" ' * 1024**2
    assert "holds a tag, text or comment of more than 4 MB" in error_of(answer)


def test_links_that_are_left_out_are_counted() -> None:
    links = "".join(f'<link hreflang="x" href="/{number}"/>' for number in range(1002))
    site = FakeSite({MAP: f"<urlset><url><loc>/a</loc>{links}</url></urlset>".encode()})
    assert len(site.read(Sitemap(sitemap=MAP))) == 1001
    assert site.drops == {"link beyond the first 1000 of a sitemap entry": 2}


def test_memory_is_constant_at_50_000_urls(tmp_path: Path) -> None:
    row = "<url><loc>/product/%d</loc><lastmod>2024-01-01</lastmod></url>"
    local = tmp_path / "sitemap.xml"
    local.write_text("<urlset>" + "".join(row % number for number in range(50_000)) + "</urlset>")
    tracemalloc.start()
    try:
        entries = Sitemap(sitemap=str(local)).entries(FakeSite().surroundings)
        count = sum(1 for _ in entries)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 50_000
    assert peak < 2_000_000
