"""redis keeps the contract of a cache, with each of its scopes."""

from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
import redis

from cachekit.caches.redis import Redis
from cachekit.model import parse_address
from cachekit.scope import EVERYTHING, Kind, Scope
from cachekit.testing.caches import CacheContract, Stand
from tests.servers.redis import RedisServer

pytestmark = pytest.mark.server


class RedisContract(CacheContract):
    scope: Scope
    settings: ClassVar[dict[str, Any]] = {}
    selected: tuple[str, ...] = ("shop:a", "shop:b c", "shop:é")
    spared: tuple[str, ...] = ("shoq:a", "blog:shop:a")

    @pytest.fixture
    def stand(self) -> Iterator[Stand]:
        with RedisServer() as server, server.client() as client:
            yield Stand(
                cache=Redis(servers=(parse_address(server.address),), **self.settings),
                scope=self.scope,
                selected=self.selected,
                spared=self.spared,
                put=lambda name: self.put(client, name),
                is_there=lambda name: bool(client.exists(name)),
                stop=server.kill,
            )

    def put(self, client: redis.Redis, name: str) -> None:
        client.set(name, b"value")


class TestRedisPrefix(RedisContract):
    scope = Scope(Kind.PREFIX, ("shop:",))


class TestRedisGlob(RedisContract):
    scope = Scope(Kind.GLOB, ("shop:[a-c]*", "sh*é"))


class TestRedisKeys(RedisContract):
    scope = Scope(Kind.KEY, ("shop:a", "shop:b c", "shop:é"))


class TestRedisTag(RedisContract):
    scope = Scope(Kind.TAG, ("shoes",))
    settings: ClassVar[dict[str, Any]] = {"tags": "tag:{tag}"}

    def put(self, client: redis.Redis, name: str) -> None:
        super().put(client, name)
        if name in self.selected:
            client.sadd("tag:shoes", name)


class TestRedisEverything(RedisContract):
    scope = EVERYTHING
    settings: ClassVar[dict[str, Any]] = {"exclusive": True}
    selected = ("shop:a", "blog:b")
    spared = ()
