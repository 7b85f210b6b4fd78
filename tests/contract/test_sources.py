"""Every source that comes with cachekit keeps the contract, as any other must."""

from pathlib import Path

import pytest

from cachekit import registry
from cachekit.sources.access_log import AccessLog
from cachekit.sources.base import Source
from cachekit.sources.sitemap import Sitemap
from cachekit.sources.table import Table
from cachekit.sources.url_list import UrlFile, Urls
from cachekit.testing.sources import FakeSite, FileSourceContract, Listing, SourceContract

ODD = (b"/%61?b=2&a=1", b"/a//b/../c", b"https://shop.example/%7e~;p=1?", "/é".encode(), b"/\xff")
TEXTUAL = ODD[:4]  # what a format in UTF-8 can hold
SITEMAP = "https://shop.example/sitemap.xml"


class TestUrlFile(FileSourceContract):
    @pytest.fixture
    def listing(self, tmp_path: Path) -> Listing:
        file = tmp_path / "top.txt"
        file.write_bytes(b"\n".join(ODD))
        return Listing(source=UrlFile(file=file), urls=ODD)

    @pytest.fixture
    def unreadable(self, tmp_path: Path) -> tuple[Source, str]:
        return UrlFile(file=tmp_path / "none.txt"), "none.txt"


class TestUrls(SourceContract):
    @pytest.fixture
    def listing(self) -> Listing:
        return Listing(source=Urls(urls=tuple(url.decode() for url in TEXTUAL)), urls=TEXTUAL)


class TestSitemap(FileSourceContract):
    @pytest.fixture
    def site(self) -> FakeSite:
        items = b"".join(
            b"<url><loc>%s</loc></url>" % url.replace(b"&", b"&amp;") for url in TEXTUAL
        )
        return FakeSite({SITEMAP: b"<urlset>%s<url/></urlset>" % items})

    @pytest.fixture
    def listing(self) -> Listing:
        return Listing(source=Sitemap(sitemap=SITEMAP), urls=TEXTUAL, dropped=1)

    @pytest.fixture
    def unreadable(self) -> tuple[Source, str]:
        return Sitemap(sitemap="https://shop.example/none.xml"), "https://shop.example/none.xml"


class TestAccessLog(FileSourceContract):
    @pytest.fixture
    def listing(self, tmp_path: Path) -> Listing:
        paths = [url.removeprefix(b"https://shop.example") for url in ODD]
        file = tmp_path / "access.log"
        file.write_bytes(
            b"".join(b'10.0.0.1 - - [t] "GET %s HTTP/1.1" 200 5\n' % path for path in paths)
            + b"junk\n"
        )
        return Listing(
            source=AccessLog(access_log=(file,), allow_query=True),
            urls=tuple(b"https://shop.example" + path for path in paths),
            dropped=1,
        )

    @pytest.fixture
    def unreadable(self, tmp_path: Path) -> tuple[Source, str]:
        return AccessLog(access_log=(tmp_path / "none.log",)), "none.log"


class TestTable(FileSourceContract):
    @pytest.fixture
    def listing(self, tmp_path: Path) -> Listing:
        file = tmp_path / "products.csv"
        file.write_bytes(b"id,slug\n1,a b/c\n2,\n3,\xc3\xa9\xff%61\n")
        urls = (b"/%70/1-a%20b%2Fc?b&a", b"/%70/3-%C3%A9%FF%2561?b&a")
        source = Table(table=file, template="/%70/{id}-{slug}?b&a")
        return Listing(source=source, urls=urls, dropped=1)

    @pytest.fixture
    def unreadable(self, tmp_path: Path) -> tuple[Source, str]:
        return Table(table=tmp_path / "none.csv", template="/{id}"), "none.csv"


def test_every_source_is_installed_under_the_name_of_its_field() -> None:
    installed = registry.names(registry.SOURCES)
    assert installed == ("access_log", "file", "sitemap", "table", "urls")
    for name in installed:
        source = registry.load(registry.SOURCES, name)
        assert name in source.__dataclass_fields__
