"""One cluster for all tests of this folder; each finds it with r1, warm, and nothing counted."""

from collections.abc import Iterator

import pytest

from tests.cluster.cluster import Cluster
from tests.command import Cachekit
from tests.end_to_end.cluster.common import Deploys


@pytest.fixture(scope="package")
def running() -> Iterator[Cluster]:
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def cluster(running: Cluster, cachekit: Cachekit) -> Cluster:
    running.renew()
    running.settle_in(cachekit.folder)
    cachekit.environment.update(running.environment)
    return running


@pytest.fixture
def deploys(cachekit: Cachekit) -> Deploys:
    return Deploys(cachekit)
