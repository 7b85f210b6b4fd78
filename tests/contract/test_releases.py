"""Caches with a namespace or a directory for each release keep the contract of releases."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from cachekit.caches.apc import Apc
from cachekit.caches.files import Files
from cachekit.caches.memcache import Memcache
from cachekit.caches.namespace import prefix_of
from cachekit.caches.redis import Redis
from cachekit.model import parse_address
from cachekit.testing.releases import ReleasesContract, ReleaseStand
from tests.node_programs import path_with
from tests.servers.memcached import Memcached
from tests.servers.php_fpm import PhpFpm
from tests.servers.redis import RedisCluster, RedisServer
from tests.shelves import NODES


def stored(namespace: str, release: str, name: str) -> str:
    return prefix_of(namespace, release) + name


@pytest.mark.server
@pytest.mark.parametrize("namespace", ["shop:{release}:", "a/~b.*é{release}"])
class TestMemcacheReleases(ReleasesContract):
    @pytest.fixture
    def stand(self, namespace: str) -> Iterator[ReleaseStand]:
        with Memcached() as server:
            client = server.client()
            client.allow_unicode_keys = True
            client.set("shop:sessions:1", b"of no release")
            yield ReleaseStand(
                cache=Memcache(servers=(parse_address(server.address),), namespace=namespace),
                put=lambda *of: client.set(stored(namespace, *of), b"value"),
                is_there=lambda *of: client.get(stored(namespace, *of)) is not None,
                stop=server.kill,
            )
            client.close()


@pytest.mark.server
class TestRedisReleases(ReleasesContract):
    namespace = "{release}:x:{release}0:"

    @pytest.fixture
    def stand(self) -> Iterator[ReleaseStand]:
        with RedisServer() as server, server.client() as client:
            client.set("shop:sessions:1", b"of no release")
            yield ReleaseStand(
                cache=Redis(servers=(parse_address(server.address),), namespace=self.namespace),
                put=lambda *of: client.set(stored(self.namespace, *of), b"value"),
                is_there=lambda *of: bool(client.exists(stored(self.namespace, *of))),
                stop=server.kill,
            )


@pytest.mark.server
class TestRedisClusterReleases(ReleasesContract):
    @pytest.fixture
    def stand(self) -> Iterator[ReleaseStand]:
        with RedisCluster() as cluster, cluster.client() as client:

            def stop() -> None:
                for node in cluster.nodes:
                    node.kill()

            servers = tuple(map(parse_address, cluster.addresses))
            yield ReleaseStand(
                cache=Redis(servers=servers, cluster=True, namespace="shop:{release}:"),
                put=lambda *of: client.set(stored("shop:{release}:", *of), b"value"),
                is_there=lambda *of: bool(client.exists(stored("shop:{release}:", *of))),
                stop=stop,
            )


@pytest.mark.server
class TestApcuReleases(ReleasesContract):
    namespace = "a/~b.*é{release}{release}0"

    @pytest.fixture
    def stand(self) -> Iterator[ReleaseStand]:
        with PhpFpm() as fpm:
            fpm.put("shop:sessions:1")
            yield ReleaseStand(
                cache=Apc(on=("web1",), sockets=fpm.sockets, namespace=self.namespace),
                put=lambda *of: fpm.put(stored(self.namespace, *of)),
                is_there=lambda *of: bool(fpm.there(stored(self.namespace, *of))),
                stop=fpm.kill,
                nodes=NODES,
            )


class FilesReleases(ReleasesContract):
    program: ClassVar[str]
    path: ClassVar[str]

    @pytest.fixture
    def stand(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ReleaseStand:
        (tmp_path / "bin").mkdir()
        monkeypatch.setenv("PATH", path_with(tmp_path / "bin", "sh", self.program))
        top = tmp_path / "shop"

        def folder(release: str) -> Path:
            return top / self.path.replace("{release}", release)

        def put(release: str, name: str) -> None:
            folder(release).mkdir(parents=True, exist_ok=True)
            (folder(release) / ".cachekit").touch()
            (folder(release) / name).write_text("<p>")

        return ReleaseStand(
            cache=Files(on=("web1",), path=top / self.path),
            put=put,
            is_there=lambda release, name: (folder(release) / name).is_file(),
            # A node on which nothing runs any more.
            stop=(tmp_path / "bin" / "sh").unlink,
            nodes={"web1": NODES["web1"]},
        )


class TestFilesReleases(FilesReleases):
    program = "python3"
    path = "releases/{release}/views"


class TestFilesReleasesByPerl(TestFilesReleases):
    program = "perl"


class TestFilesNamedByRelease(FilesReleases):
    program = "python3"
    path = "cache/views-{release}{release}0"


class TestFilesNamedByReleaseByPerl(TestFilesNamedByRelease):
    program = "perl"
