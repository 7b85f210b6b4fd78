"""The cluster is what the other tests take it for: a deploy by single commands, node by node."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import application
from tests.cluster.cluster import Cluster
from tests.cluster.traffic import Traffic, faults, firsts, made_of, served_by
from tests.command import Cachekit

pytestmark = [pytest.mark.server, pytest.mark.end_to_end]


@pytest.fixture(scope="module")
def running() -> Iterator[Cluster]:
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def cluster(running: Cluster, tmp_path: Path) -> Cluster:
    running.renew()
    running.settle_in(tmp_path)
    return running


@pytest.fixture
def at_cluster(cluster: Cluster, cachekit: Cachekit) -> Cachekit:
    cachekit.environment.update(cluster.environment)
    return cachekit


def test_visitors_find_r1_warm_on_both_nodes(cluster: Cluster) -> None:
    with Traffic(cluster.balancer.address, application.pages()) as traffic:
        traffic.go_on(200)
    assert not faults(traffic.answers)
    assert made_of(traffic.answers) == {"r1"}
    assert {answer.node for answer in traffic.answers} == {"web1", "web2"}
    assert all(a.is_hit for a in traffic.answers if a.url != application.CART)
    for node in cluster.nodes:
        assert {url for _, url in node.renders()} <= {application.CART}
        assert not node.fetches()


def test_without_clearing_pages_of_two_releases_are_mixed(cluster: Cluster) -> None:
    """What each cache would show, if it were left out of a deploy."""
    node = cluster["web1"]
    node.switch("r2")
    assert "template:r1 data:r1 menu:r1" in node.get("/product/7").body, "Varnish has the page"
    node.adm("ban", "obj.status", "!=", "0")
    mixed = node.get("/product/7")
    assert mixed.headers["x-release"] == "r2"
    assert "template:r1 data:r2 menu:r2" in mixed.body, "the compiled view is of r1"


def test_data_of_another_release_shows(cluster: Cluster, at_cluster: Cachekit) -> None:
    copied = at_cluster.run("prime", "objects1", "--from", "donor:r1", "--live", "r2")
    assert copied.code == 0, copied.stdout
    cluster["web1"].switch("r2")
    cluster["web1"].adm("ban", "obj.status", "!=", "0")
    assert "!! data of another release" in cluster["web1"].get("/product/7").body


def test_a_deploy_by_single_commands_shows_no_stale_and_no_cold_page(
    cluster: Cluster, at_cluster: Cachekit
) -> None:
    def do(*arguments: str) -> None:
        done = at_cluster.run(*arguments)
        assert done.code == 0, done.stdout + done.stderr

    with Traffic(cluster.balancer.address, application.pages()) as traffic:
        traffic.go_on()
        do("prime", "objects1", "objects2", "--from", "file:objects-r2.jsonl", "--live", "r2")
        for node in cluster.nodes:
            cluster.balancer.tell(f"set server pages/{node.name} state drain")
            traffic.go_on()
            node.switch("r2")
            on, yes = ("--node", node.name), ("--everything", "--yes", "--live", "r2")
            do("clear", "views", "code", *on, *yes)
            do("prime", "code", "--from", "path:/srv/shop/releases/r2", *on)
            do("clear", "pages", *on, *yes)
            do("warm", "--node", node.name)
            node.forget()
            cluster.balancer.tell(f"set server pages/{node.name} state ready")
            traffic.go_on(100)

    assert not faults(traffic.answers)
    for node in cluster.nodes:
        answers = served_by(traffic.answers, node.name, node.switched)
        assert made_of(answers) == {"r2"}
        assert [a.url for a in firsts(answers) if not a.is_hit] in ([], [application.CART])
        assert not {what for _, what in node.fetches()}
