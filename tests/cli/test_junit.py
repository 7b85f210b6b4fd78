"""JUnit XML: no failure is lost in what CI servers show."""

import xml.etree.ElementTree as ET

from tests.command import Cachekit
from tests.servers.origin import Origin

SITE = "http://shop.example"


def test_failures_that_are_not_listed_still_fail_their_node(
    cachekit: Cachekit, origin: Origin
) -> None:
    urls = ("/bad", "/worse", "http://other.example/")
    for path in urls[:2]:
        origin.page(path, status=500)
    done = cachekit.warm(
        *(argument for url in urls for argument in ("--url", url)),
        *("--site", SITE, "--node", origin.address, "--insecure", "--retries", "0"),
        *("--format", "junit", "--max-listed", "0"),
    )
    assert done.code == 1
    root = ET.fromstring(done.stdout)
    gate, node = root
    assert node.get("failures") == node.get("tests") == "1"
    failure = node.find("testcase/failure")
    assert failure is not None
    assert str(failure.get("message")).startswith("0 of 2")
    notes = gate.findtext("system-out") or ""
    assert "WARNING: TLS certificates are NOT verified" in notes
    assert "left out: 1 x another host" in notes
    assert "failures not listed: 2" in notes


def test_a_run_without_failures_has_none(cachekit: Cachekit, origin: Origin) -> None:
    done = cachekit.warm("--url", SITE + "/", "--node", origin.address, "--format", "junit")
    assert done.code == 0
    root = ET.fromstring(done.stdout)
    assert root.findall(".//failure") == []
    assert [suite.get("failures") for suite in root] == ["0", "0"]
    assert root.findtext(".//testcase[@name='targets that are ok']/system-out") == "1 of 1"
