"""A cluster of redis, whole, on the move and in part."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from cachekit.caches.base import Conditions
from cachekit.caches.redis import Redis
from cachekit.caches.redis.clearing import clear_selected
from cachekit.caches.redis.keyspace import prefixed
from cachekit.caches.redis.store import Store
from cachekit.errors import (
    RefusedError,
    UnreachableError,
)
from cachekit.model import parse_address
from cachekit.outcomes import StepOutcome, judged
from cachekit.scope import Kind, Scope
from tests.end_to_end.cache_redis.common import (
    cache_of,
    clear,
    cluster_cache,
    counts,
    donor,
    key,
    prime,
    records,
    release,
)
from tests.servers.redis import RedisCluster, RedisServer
from tests.shelves import conditions as conditions_of

pytestmark = pytest.mark.server


def test_a_release_goes_from_all_primaries(cluster: RedisCluster, conditions: Conditions) -> None:
    with cluster.client() as client:
        for number in range(1500):
            client.set(key(number, "r40"), b"x")
        client.set(key(1), b"x")
        cache = cluster_cache(cluster)
        place = cache.places({})[0]
        scope = Scope(Kind.RELEASE, ("r40",))
        assert place.name == ",".join(cluster.addresses[:2])
        survey = cache.survey(place, scope, conditions)
        assert (survey.found, survey.total) == (1500, 1501)
        change = clear(cache, scope, conditions)
        assert (change.found, change.removed, change.left) == (1500, 1500, 0)
        assert list(client.scan_iter(count=1000)) == [key(1).encode()]


def test_keys_and_tags_are_found_on_their_servers(
    cluster: RedisCluster, conditions: Conditions
) -> None:
    names = [key(number) for number in range(60)]
    with cluster.client() as client:
        for name in names:
            client.set(name, b"x")
        client.sadd("tag:shoes", *names[30:])
        cache = cluster_cache(cluster, tags="tag:{tag}")
        change = clear(cache, Scope(Kind.KEY, tuple(names[:30])), conditions)
        assert (change.removed, change.left) == (30, 0)
        change = clear(cache, Scope(Kind.TAG, ("shoes",)), conditions)
        assert (change.removed, change.left) == (30, 0)
        assert list(client.scan_iter()) == []


def test_a_cluster_is_primed_and_copied_within_itself(
    cluster: RedisCluster, conditions: Conditions, tmp_path: Path
) -> None:
    lines = [{"key": key(n), "value": str(n), "ttl": 500} for n in range(900)]
    cache = cluster_cache(cluster)
    assert counts(prime(cache, records(tmp_path, *lines), conditions)) == (900, 900, 0, 0, 0)
    later = conditions_of(tmp_path, release="r43", previous="r42")
    with cluster.client() as client:
        client.set(key(7, "r43"), b"newer")
        assert counts(prime(cache, release("r42"), later)) == (900, 899, 1, 0, 0)
        assert client.get(key(7, "r43")) == b"newer"
        assert client.get(key(8, "r43")) == b"8"
        assert client.pexpiretime(key(8, "r43")) == client.pexpiretime(key(8))


def test_a_cluster_and_a_single_server_copy_each_other(
    cluster: RedisCluster, server: RedisServer, conditions: Conditions
) -> None:
    server.put(["old:1", "old:2", "old:3", "old:4"])
    single = cache_of(server, namespace="old:")
    change = prime(cluster_cache(cluster), donor(single), conditions)
    assert counts(change) == (4, 4, 0, 0, 0)
    back = cache_of(server, namespace="new:")
    assert counts(prime(back, donor(cluster_cache(cluster)), conditions)) == (4, 4, 0, 0, 0)
    assert {"new:1", "new:2", "new:3", "new:4"} < server.names()


def test_one_node_of_a_cluster_is_not_taken_for_all(
    cluster: RedisCluster, server: RedisServer, conditions: Conditions
) -> None:
    scope = Scope(Kind.PREFIX, ("shop:x",))
    with pytest.raises(RefusedError, match="set `cluster: true`"):
        clear(cache_of(cluster.nodes[0], namespace="shop:"), scope, conditions)
    with pytest.raises(RefusedError, match="remove `cluster: true`"):
        clear(cache_of(server, namespace="shop:", cluster=True), scope, conditions)


def test_keys_of_a_slot_on_the_move_are_not_reported_gone(
    cluster: RedisCluster, conditions: Conditions
) -> None:
    source, target = cluster.nodes[0], cluster.nodes[1]
    name = next(f"shop:{n}" for n in range(100_000) if redis.crc.key_slot(b"shop:%d" % n) < 5000)
    slot = redis.crc.key_slot(name.encode())
    cluster.tell(source, "SET", name, "x")
    ids = [cluster.tell(node, "CLUSTER", "MYID").decode() for node in (source, target)]
    cluster.tell(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", ids[0])
    cluster.tell(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", ids[1])
    try:
        cluster.tell(source, "MIGRATE", target.host, target.port, name, 0, 5000)
        cache = cluster_cache(cluster, namespace="shop:")
        change = clear(cache, Scope(Kind.PREFIX, ("shop:",)), conditions)
        assert (change.removed, change.left) == (0, 1)
        change = clear(cache, Scope(Kind.PREFIX, ("shop:none",)), conditions)
        assert judged(change)[0] is StepOutcome.UNKNOWN
        assert "slots are moving" in change.warnings[0]
        with pytest.raises(RefusedError, match="try again once they have settled"):
            clear(cache, Scope(Kind.KEY, (name,)), conditions)
    finally:
        for node in (source, target):
            cluster.tell(node, "CLUSTER", "SETSLOT", slot, "STABLE")


def test_a_slot_that_moves_meanwhile_means_another_round(
    cluster: RedisCluster, conditions: Conditions
) -> None:
    slot = 0
    names = [f"shop:{n}" for n in range(50) if redis.crc.key_slot(b"shop:%d" % n) != slot]
    with cluster.client() as client:
        for name in names:
            client.set(name, b"x")
    ids = [cluster.tell(node, "CLUSTER", "MYID").decode() for node in cluster.nodes]

    def move(number: int) -> None:
        for each in cluster.nodes:
            cluster.tell(each, "CLUSTER", "SETSLOT", slot, "NODE", ids[number])

    rounds: list[int] = []
    cache = cluster_cache(cluster, namespace="shop:")

    @contextmanager
    def connect() -> Iterator[Store]:
        with cache.opened(cache.places({})[0], conditions.deadline, writing=True) as store:
            rounds.append(len(store.primaries))
            if len(rounds) == 1:
                move(1)
            yield store

    try:
        change = clear_selected(connect, prefixed(b"shop:"))
        assert (change.removed, change.left, rounds) == (len(names), 0, [3, 3])
    finally:
        move(0)


def test_replicas_and_lost_primaries(conditions: Conditions) -> None:
    with RedisCluster(replicas=1) as cluster:
        with cluster.client() as client:
            for number in range(30):
                client.set(f"shop:{number}", b"x")
        scope = Scope(Kind.PREFIX, ("shop:",))
        # The replica alone is named as seed: the primaries are found through it.
        seed = parse_address(cluster.nodes[3].address)
        cache = Redis(servers=(seed,), cluster=True, namespace="shop:")
        change = clear(cache, scope, conditions)
        assert (change.removed, change.left) == (30, 0)
        cluster.nodes[2].kill()
        with pytest.raises(UnreachableError, match=cluster.nodes[2].address):
            clear(cache, scope, conditions)
        status = cache.status(cache.places({})[0], conditions)
        assert status.details["servers"] == 2
        assert any(cluster.nodes[2].address in hazard for hazard in status.hazards)
        for each in (cluster.nodes[0], cluster.nodes[1], cluster.nodes[3]):
            cluster.tell(each, "CLUSTER", "DELSLOTS", 7)
        with pytest.raises(RefusedError, match="1 of 16,384 slots have no primary"):
            clear(cache, scope, conditions)
        hazards = cache.status(cache.places({})[0], conditions).hazards
        assert any("the cluster's state is fail" in hazard for hazard in hazards)
