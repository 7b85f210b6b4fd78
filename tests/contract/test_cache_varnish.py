"""Varnish keeps the contract of a cache, by each way in."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cachekit.caches.base import Conditions
from cachekit.caches.varnish import Varnish as VarnishCache
from cachekit.caches.varnish.presets import PresetName
from cachekit.model import Node, parse_address
from cachekit.scope import Kind, Scope
from cachekit.testing.caches import CacheContract, Stand
from tests.servers.loop_server import Received
from tests.servers.origin import Origin, Page
from tests.servers.varnish import Varnish, Visitor, clearable
from tests.shelves import conditions as conditions_of

pytestmark = pytest.mark.server


def tagged_by_path(request: Received) -> Page:
    """Tag each page with the segments of its path, and let them be its release, too."""
    segments = request.path.decode().strip("/").split("/")
    headers = {"X-Cache-Tags": ",".join(segments), "xkey": " ".join(segments)}
    return Page("page\n", headers={**headers, "X-Release": segments[0]})


@pytest.fixture(scope="module")
def server() -> Iterator[Varnish]:
    with Origin() as origin:
        origin.default = tagged_by_path
        with Varnish(origin=origin.address, vcl=clearable("cachekit_xkey"), cli=True) as server:
            yield server


class VarnishContract(CacheContract):
    scope: Scope
    preset: PresetName = "cachekit"
    selected: tuple[str, ...] = ("/men/shirts", "/men/shoes")
    spared: tuple[str, ...] = ("/women/shirts", "/menswear")

    @pytest.fixture
    def conditions(self, tmp_path: Path) -> Conditions:
        return conditions_of(tmp_path / "state", site="https://shop.example", release="r42")

    @pytest.fixture
    def stand(self, server: Varnish) -> Iterator[Stand]:
        with Visitor(server) as visitor:
            yield Stand(
                cache=self.cache(server),
                scope=self.scope,
                selected=self.selected,
                spared=self.spared,
                put=visitor.visit,
                is_there=visitor.finds,
                stop=server.kill,
                nodes={"edge1": Node(name="edge1", address=parse_address(server.address))},
            )
        if not server.is_ready():
            server.stop()
            server.start()
        server.adm("ban", "obj.status", "!=", "0")

    def cache(self, server: Varnish) -> VarnishCache:
        return VarnishCache(on=("edge1",), preset=self.preset, instance=str(server.work_dir))


class ByCli(VarnishContract):
    def cache(self, server: Varnish) -> VarnishCache:
        cli = parse_address(server.cli_address)
        secret = server.secret_file
        return VarnishCache(
            on=("edge1",), cli=cli, secret_file=secret, instance=str(server.work_dir)
        )


class TestPurgesByHttp(VarnishContract):
    scope = Scope(Kind.URL, ("/men/shirts", "http://shop.example/men/shoes"))


class TestKeysByHttp(VarnishContract):
    scope = Scope(Kind.TAG, ("men",))
    preset = "cachekit-xkey"


class TestTagsByHttp(VarnishContract):
    scope = Scope(Kind.TAG, ("shirts", "shoes"))
    spared = ("/women/hats", "/men/shirts-and-shoes")


class TestPrefixByCli(ByCli):
    scope = Scope(Kind.URL_PREFIX, ("/men/",))


class TestReleaseByCli(ByCli):
    scope = Scope(Kind.RELEASE, ("men",))


class TestEverythingByCli(ByCli):
    scope = Scope(Kind.EVERYTHING)
    selected = ("/men/shirts", "/women/hats")
    spared = ()
