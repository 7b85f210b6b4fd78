"""memcache keeps the contract of a cache, scope by scope."""

from collections.abc import Iterator

import pytest

from cachekit.caches.memcache import Memcache
from cachekit.model import parse_address
from cachekit.scope import Kind, Scope
from cachekit.testing.caches import CacheContract, Stand
from tests.servers.memcached import Memcached

pytestmark = pytest.mark.server


class MemcacheContract(CacheContract):
    scope: Scope
    exclusive = False
    selected: tuple[str, ...] = ("shop:a", "shop:b%20c", "shop:é")
    spared: tuple[str, ...] = ("shoq:a", "blog:shop:a")

    @pytest.fixture
    def stand(self) -> Iterator[Stand]:
        with Memcached() as server:
            client = server.client()
            client.allow_unicode_keys = True
            yield Stand(
                cache=Memcache(servers=(parse_address(server.address),), exclusive=self.exclusive),
                scope=self.scope,
                selected=self.selected,
                spared=self.spared,
                put=lambda name: client.set(name, b"value"),
                is_there=lambda name: client.get(name) is not None,
                stop=server.kill,
            )
            client.close()


class TestMemcachePrefix(MemcacheContract):
    scope = Scope(Kind.PREFIX, ("shop:",))


class TestMemcacheGlob(MemcacheContract):
    scope = Scope(Kind.GLOB, ("shop:[a-c]*", "sh*é"))


class TestMemcacheKeys(MemcacheContract):
    scope = Scope(Kind.KEY, ("shop:a", "shop:b%20c", "shop:é"))


class TestMemcacheEverything(MemcacheContract):
    scope = Scope(Kind.EVERYTHING)
    exclusive = True
    selected = ("shop:a", "blog:b")
    spared = ()
