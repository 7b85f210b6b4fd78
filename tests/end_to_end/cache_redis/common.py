"""What the tests of redis share: caches over its servers, keys, and what is done with them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cachekit.caches.base import Change, Conditions, Filling
from cachekit.caches.namespace import prefix_of
from cachekit.caches.redis import Redis
from cachekit.model import parse_address
from cachekit.scope import Kind, Scope
from tests.servers.redis import RedisCluster, RedisProxy, RedisServer

NAMESPACE = "shop:{release}:"
PREFIX = Scope(Kind.PREFIX, ("shop:",))
DAY = 86400


def cache_of(*servers: RedisServer | RedisProxy, **keys: Any) -> Redis:
    addresses = tuple(parse_address(server.address) for server in servers)
    return Redis(servers=addresses, **{"namespace": NAMESPACE, **keys})


def cluster_cache(cluster: RedisCluster, **keys: Any) -> Redis:
    seeds = tuple(map(parse_address, cluster.addresses[:2]))
    return Redis(servers=seeds, cluster=True, **{"namespace": NAMESPACE, **keys})


def key(name: object, release: str = "r42") -> str:
    return prefix_of(NAMESPACE, release) + str(name)


def clear(cache: Redis, scope: Scope, conditions: Conditions) -> Change:
    assert cache.refusal(scope, conditions) == ""
    return cache.clear(cache.places({})[0], scope, conditions)


def prime(cache: Redis, filling: Filling, conditions: Conditions) -> Change:
    change = cache.prime(cache.places({})[:1], filling, conditions)
    parts = (change.stored, change.present, change.skipped, change.left)
    assert change.found == sum(part or 0 for part in parts)
    return change


def counts(change: Change) -> tuple[int | None, ...]:
    return (change.found, change.stored, change.present, change.skipped, change.left)


def records(tmp_path: Path, *lines: dict[str, Any]) -> Filling:
    file = tmp_path / "records.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return Filling(kind="file", value=str(file))


def release(name: str) -> Filling:
    return Filling(kind="donor", value=name)


def donor(cache: Redis) -> Filling:
    return Filling(kind="donor", value="other", donor=cache, donor_places=cache.places({}))


@contextmanager
def small(policy: str) -> Iterator[RedisServer]:
    arguments = ("--maxmemory", "4mb", "--maxmemory-policy", policy)
    with RedisServer(arguments=arguments) as server:
        yield server


@contextmanager
def acl_user(client: Any, *rules: str) -> Iterator[dict[str, str]]:
    """A user for one test, and the settings that sign it in."""
    client.execute_command("ACL", "SETUSER", "tester", "on", ">pw", "~*", "+@all", *rules)
    yield {"username": "tester", "password": "pw"}
    client.execute_command("ACL", "DELUSER", "tester")


def plain(server: RedisServer, **keys: Any) -> Redis:
    return cache_of(server, namespace="shop:", **keys)
