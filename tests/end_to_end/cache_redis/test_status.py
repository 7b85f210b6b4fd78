"""What redis tells of itself."""

from contextlib import suppress

import pytest
import redis

from cachekit.caches.base import Conditions
from cachekit.caches.redis.state import status_of
from tests.end_to_end.cache_redis.common import (
    plain,
    small,
)
from tests.servers.redis import RedisServer

pytestmark = pytest.mark.server


def test_a_status_tells_counters(server: RedisServer, conditions: Conditions) -> None:
    server.put(["shop:1", "shop:2"])
    with server.client() as client:
        client.get("shop:1")
        client.get("shop:none")
    cache = plain(server)
    status = cache.status(cache.places({})[0], conditions)
    assert (status.items, status.hits, status.misses, status.evictions) == (2, 1, 1, 0)
    assert status.version
    assert (status.size or 0) > 0
    assert status.capacity is None
    assert status.details["role"] == "master"
    assert any("maxmemory is not set" in hazard for hazard in status.hazards)


def test_a_status_tells_of_policies_that_will_hurt(conditions: Conditions) -> None:
    with small("noeviction") as server:
        cache = plain(server)
        place = cache.places({})[0]
        with suppress(redis.OutOfMemoryError):
            for number in range(400):
                server.put([f"shop:{number}"], b"x" * 20_000)
        (hazard,) = cache.status(place, conditions).hazards
        assert "the policy is noeviction: once full it refuses writes" in hazard
        with server.client() as client:
            client.config_set("maxmemory-policy", "volatile-lru")
        full, endless = cache.status(place, conditions).hazards
        assert "full: what is primed pushes out what is there" in full
        assert "no key expires: nothing can be evicted" in endless
        assert cache.status(place, conditions).capacity == 4 * 1024 * 1024


@pytest.mark.parametrize(
    ("told", "hazard"),
    [
        ({"loading": "1"}, "it still reads its data and refuses commands"),
        ({"role": "slave"}, "name its primary in `servers:`"),
        ({"rdb_last_bgsave_status": "err"}, "its last save to disk failed"),
    ],
)
def test_what_a_redis_says_of_its_troubles_is_passed_on(told: dict[str, str], hazard: str) -> None:
    limited = {"maxmemory": "100", "maxmemory_policy": "allkeys-lru"}
    (said,) = status_of({"10.0.0.1": limited | told, "10.0.0.2": limited}, 0, []).hazards
    assert said.startswith("10.0.0.1: ")
    assert hazard in said
    assert not status_of({"10.0.0.2": limited}, 0, []).hazards


def test_what_a_server_does_not_tell_is_not_known() -> None:
    counted = {"used_memory": "10", "keyspace_hits": "0"}
    status = status_of({"10.0.0.1": counted, "10.0.0.2": {"used_memory": "5"}}, 0, [])
    assert (status.size, status.hits, status.evictions) == (15, None, None)
    assert status.fragmentation is None
