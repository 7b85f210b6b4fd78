"""`cachekit run deploy` and its rollback, while visitors come."""

from collections.abc import Iterator

import pytest

from tests.cluster import application
from tests.cluster.cluster import Cluster
from tests.cluster.traffic import faults, made_of
from tests.end_to_end.cluster.common import Deploys, cold_pages, is_kept, is_well, visitors

pytestmark = [pytest.mark.server, pytest.mark.end_to_end]


def test_no_visitor_sees_a_stale_page_or_waits_for_a_cold_one(
    cluster: Cluster, deploys: Deploys
) -> None:
    with visitors(cluster) as traffic:
        traffic.go_on()
        done = deploys.run("deploy", "r2", "r1")
        assert done.code == 0, done.stdout
        traffic.go_on(120)
    is_well(cluster, traffic.answers, "r2")
    assert set(cluster.standing().values()) == {"UP"}
    for node in cluster.nodes:
        assert node.switches() == ["r2"]
        made = {url: times for (_, url), times in node.renders().items() if is_kept(url)}
        assert made == dict.fromkeys(application.pages(), 1), "each by the warm, and once"
        # The data was primed; the menu lives in APCu, which is made from the database once.
        assert node.fetches() == {("r2", "menu"): 1}


def test_a_rollback_finds_the_data_of_the_old_release_warm(
    cluster: Cluster, deploys: Deploys
) -> None:
    assert deploys.run("deploy", "r2", "r1").code == 0
    for node in cluster.nodes:
        node.forget()
    with visitors(cluster) as traffic:
        traffic.go_on()
        done = deploys.run("rollback", "r1", "r2", "--rollback")
        assert done.code == 0, done.stdout
        assert "still warm: 41 entries of r1" in done.stdout
        assert "menu/user at web1: not flushed" in done.stdout
        traffic.go_on(60)
    is_well(cluster, traffic.answers, "r1")
    for node in cluster.nodes:
        assert not node.fetches(), "memcached and APCu have all of r1 still"


@pytest.fixture
def with_faulty_r3(cluster: Cluster) -> Iterator[Cluster]:
    for node in cluster.nodes:
        template = node.shop / "releases" / "r3" / "templates" / "product.html"
        template.write_text("<p>template:r3 <?php price_with_tax() ?>")
    yield cluster
    mend_r3(cluster)


def mend_r3(cluster: Cluster) -> None:
    for node in cluster.nodes:
        application.build(node.shop, "r3")


def test_a_release_that_fails_its_gate_stays_out_and_harms_no_visitor(
    with_faulty_r3: Cluster, deploys: Deploys
) -> None:
    cluster = with_faulty_r3
    with visitors(cluster) as traffic:
        traffic.go_on()
        done = deploys.run("deploy", "r3", "r1")
        traffic.go_on(60)
    assert done.code == 1, done.stdout
    assert "web1" in done.stdout
    assert "min_ok" in done.stdout
    assert not faults(traffic.answers)
    assert made_of(traffic.answers) == {"r1"}, "nobody has seen anything of r3"
    standing = cluster.standing()
    assert standing["web2"] == "UP"
    assert standing["web1"].startswith(("MAINT", "DRAIN"))
    assert cluster["web2"].switches() == []
    assert not cold_pages(cluster["web2"], cluster, "r1")


def test_once_the_release_is_mended_the_deploy_goes_on(
    with_faulty_r3: Cluster, deploys: Deploys
) -> None:
    cluster = with_faulty_r3
    with visitors(cluster) as traffic:
        assert deploys.run("deploy", "r3", "r1").code == 1
        mend_r3(cluster)
        done = deploys.run("deploy", "r3", "r1", "--resume")
        traffic.go_on(60)
    assert done.code == 0, done.stdout
    is_well(cluster, traffic.answers, "r3")
    assert cluster["web1"].switches() == ["r3", "r3"], "a node that failed is done anew"


def test_a_plan_that_rolls_back_puts_the_node_in_with_the_old_release(
    with_faulty_r3: Cluster, deploys: Deploys
) -> None:
    cluster = with_faulty_r3
    with visitors(cluster) as traffic:
        done = deploys.run("guarded", "r3", "r1")
        traffic.go_on(60)
    assert done.code == 1, done.stdout
    assert not faults(traffic.answers)
    assert made_of(traffic.answers) == {"r1"}, "nobody has seen anything of r3"
    assert set(cluster.standing().values()) == {"UP"}
    assert cluster["web1"].switches() == ["r3", "r1"]
    for node in cluster.nodes:
        assert node.release == "r1"
        assert not cold_pages(node, cluster, "r1")
