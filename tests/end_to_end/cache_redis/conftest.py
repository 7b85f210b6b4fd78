"""Servers of redis: one that is emptied for each test, a cluster likewise, and another one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cachekit.caches.base import Conditions
from tests.servers.redis import RedisCluster, RedisServer
from tests.shelves import conditions as conditions_of


@pytest.fixture(scope="session")
def shared() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def server(shared: RedisServer) -> RedisServer:
    with shared.client() as client:
        client.flushall()
        client.config_resetstat()
    return shared


@pytest.fixture(scope="session")
def shared_cluster() -> Iterator[RedisCluster]:
    with RedisCluster() as cluster:
        yield cluster


@pytest.fixture
def cluster(shared_cluster: RedisCluster) -> RedisCluster:
    for each in shared_cluster.nodes:
        shared_cluster.tell(each, "FLUSHALL")
    return shared_cluster


@pytest.fixture
def other() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def conditions(tmp_path: Path) -> Conditions:
    return conditions_of(tmp_path / "state", release="r42", previous="r41")
