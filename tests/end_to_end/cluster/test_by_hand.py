"""The cluster is what the other tests take it for; a deploy by single commands, node by node."""

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.traffic import faults, made_of
from tests.command import Cachekit
from tests.end_to_end.cluster.common import is_kept, is_well, visitors

pytestmark = [pytest.mark.server, pytest.mark.end_to_end]


def test_visitors_find_r1_warm_on_both_nodes(cluster: Cluster) -> None:
    with visitors(cluster) as traffic:
        traffic.go_on(90)
    assert not faults(traffic.answers)
    assert made_of(traffic.answers) == {"r1"}
    assert {answer.node for answer in traffic.answers} == {"web1", "web2"}
    assert all(answer.is_hit is is_kept(answer.url) for answer in traffic.answers)
    for node in cluster.nodes:
        assert not [url for _, url in node.renders() if is_kept(url)]
        assert not node.fetches()


def test_without_clearing_pages_of_two_releases_are_mixed(cluster: Cluster) -> None:
    node = cluster["web1"]
    node.switch("r2")
    assert "template:r1 data:r1 menu:r1" in node.get("/product/7").body, "Varnish has the page"
    node.adm("ban", "obj.status", "!=", "0")
    mixed = node.get("/product/7")
    assert mixed.headers["x-release"] == "r2"
    assert "template:r1 data:r2 menu:r2" in mixed.body, "the compiled view is of r1"


def test_data_of_another_release_shows(cluster: Cluster, cachekit: Cachekit) -> None:
    copied = cachekit.run("prime", "objects1", "--from", "donor:r1", "--live", "r2")
    assert copied.code == 0, copied.stdout
    node = cluster["web1"]
    node.switch("r2")
    node.adm("ban", "obj.status", "!=", "0")
    assert "!! data of another release" in node.get("/product/7").body


def test_a_deploy_by_single_commands_shows_no_stale_and_no_cold_page(
    cluster: Cluster, cachekit: Cachekit
) -> None:
    def do(*arguments: str) -> None:
        done = cachekit.run(*arguments)
        assert done.code == 0, done.stdout + done.stderr

    with visitors(cluster) as traffic:
        do("prime", "objects1", "objects2", "--from", "file:objects-r2.jsonl", "--live", "r2")
        for node in cluster.nodes:
            cluster.balancer.tell(f"set server pages/{node.name} state drain")
            traffic.go_on(10)
            node.switch("r2")
            on, yes = ("--node", node.name), ("--everything", "--yes", "--live", "r2")
            do("clear", "views", "code", *on, *yes)
            do("prime", "code", "--from", "path:/srv/shop/releases/r2", *on)
            do("clear", "pages", *on, *yes)
            do("warm", *on)
            cluster.balancer.tell(f"set server pages/{node.name} state ready")
            traffic.go_on(60)
    is_well(cluster, traffic.answers, "r2")
