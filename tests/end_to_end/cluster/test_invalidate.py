"""A hotfix on the live release: one template changes, and nothing else is made anew."""

from pathlib import Path

import pytest

from tests.cluster import application
from tests.cluster.cluster import Cluster
from tests.cluster.traffic import faults
from tests.command import Cachekit
from tests.end_to_end.cluster.common import cold_pages, is_kept, visitors

pytestmark = [pytest.mark.server, pytest.mark.end_to_end]


MADE_FROM = {
    "category": {"/category/lamps"},
    # No rule matches it: everything goes.
    "front": set(application.pages()),
    "product": set(map(application.product, range(1, 41))),
}


def change(template: str, release: Path) -> None:
    path = release / "templates" / f"{template}.html"
    path.write_text(path.read_text().replace("</h1>", "</h1><b>Now with a bulb</b>"))


@pytest.mark.parametrize("template", MADE_FROM)
def test_one_changed_template_costs_only_the_pages_that_are_made_from_it(
    cluster: Cluster, cachekit: Cachekit, template: str
) -> None:
    old, new = cachekit.folder / "old", cachekit.folder / "new"
    for tree in (old, new):
        application.build(tree, "r1")
    change(template, new / "releases" / "r1")

    with visitors(cluster) as traffic:
        traffic.go_on()
        for node in cluster.nodes:
            change(template, node.shop / "releases" / "r1")
        trees = ("--from", str(old / "releases/r1"), "--to", str(new / "releases/r1"))
        done = cachekit.run("invalidate", *trees, "--live", "r1", "--yes")
        traffic.go_on(60)
    assert done.code == 0, done.stdout + done.stderr

    concerned = MADE_FROM[template]
    showing = {"/", "/about"} if template == "front" else concerned
    for node in cluster.nodes:
        made = {url: times for (_, url), times in node.renders().items() if is_kept(url)}
        assert made == dict.fromkeys(concerned, 1)
        assert not node.fetches(), "their data is still in memcached"
        assert all("Now with a bulb" in node.get(url).body for url in showing)
        assert not cold_pages(node, cluster, "r1")
    assert not faults(traffic.answers)
    if template == "front":
        return  # what is in no list, as the asset, was cleared and is not warmed
    rest = [a for a in traffic.answers if a.url not in concerned and is_kept(a.url)]
    assert rest
    assert all(answer.is_hit for answer in rest)
