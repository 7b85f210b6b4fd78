"""`cachekit warm --sitemap`: from a node or the public site, and what is told of it."""

import pytest

from tests.command import Cachekit
from tests.servers.lying import LyingServer
from tests.servers.origin import Origin
from tests.servers.process import free_port
from tests.servers.tls import Authority

pytestmark = [pytest.mark.server, pytest.mark.end_to_end]

SITEMAP = "<urlset><url><loc>/a</loc></url><url><loc>/b</loc></url></urlset>"


def test_the_public_site_is_asked_for_sitemaps_and_the_node_for_pages(cachekit: Cachekit) -> None:
    with Origin() as public, Origin(host="127.0.0.2") as node:
        public.page("/sitemap.xml", body=SITEMAP)
        # What is meant for one machine is not sent to the proxy of the environment.
        cachekit.environment["http_proxy"] = f"http://127.0.0.1:{free_port('127.0.0.1')}"
        done = cachekit.warm(
            *("--sitemap", f"http://{public.address}/sitemap.xml", "--public-sitemap"),
            *("--node", node.address, "--verify", "off", "--format", "json"),
        )
        assert done.code == 0, done.stderr
        assert [request.target for request in public.requests] == [b"/sitemap.xml"]
        assert {request.target for request in node.requests} == {b"/a", b"/b"}


def test_the_public_site_is_trusted_as_nodes_are(cachekit: Cachekit, authority: Authority) -> None:
    with Origin(tls=authority.certificate("127.0.0.1")) as public:
        public.page("/sitemap.xml", body=SITEMAP)
        arguments = [
            *("--sitemap", f"https://{public.address}/sitemap.xml", "--public-sitemap"),
            *("--node", public.address, "--dry-run"),
        ]
        assert cachekit.warm(*arguments, "--ca-file", str(authority.ca_file)).code == 0
        assert cachekit.warm(*arguments, "--insecure").code == 0
        refused = cachekit.warm(*arguments)
        assert refused.code == 1
        assert "from the public site: tls: " in refused.stderr


def test_the_password_of_a_sitemap_is_told_nowhere(
    cachekit: Cachekit, lying_server: LyingServer, origin: Origin
) -> None:
    origin.page("/sitemap.xml", body=SITEMAP)
    url = "http://anna:SECRET@shop.example"
    shown = cachekit.warm("--sitemap", f"{url}/sitemap.xml", "--node", origin.address, "--dry-run")
    warmed = cachekit.warm("--sitemap", f"{url}/sitemap.xml", "--node", origin.address)
    lying_server.lie("/gone.xml", "truncated")
    failed = cachekit.warm("--sitemap", f"{url}/gone.xml", "--node", lying_server.address)
    assert (shown.code, warmed.code, failed.code) == (0, 0, 1)
    assert "http://***@shop.example/gone.xml: " in failed.stderr
    journals = [file for file in cachekit.state_dir.rglob("*") if file.is_file()]
    assert journals
    told = [done.stdout + done.stderr for done in (shown, warmed, failed)]
    told += [file.read_bytes().decode(errors="replace") for file in journals]
    assert not any("SECRET" in text for text in told)
