"""`cachekit warm` against real nginx and Varnish nodes, counted at the origin."""

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from contextlib import closing
from http.client import HTTPConnection

import pytest

from tests.command import Cachekit
from tests.servers.nginx import Nginx
from tests.servers.origin import Origin
from tests.servers.process import free_port_on
from tests.servers.tls import Authority
from tests.servers.varnish import Varnish

pytestmark = [pytest.mark.server, pytest.mark.end_to_end]

SITE = "http://shop.example"
PAGES = [f"/product/{number}" for number in range(20)]


def nodes_of(*addresses: str) -> list[str]:
    return [part for address in addresses for part in ("--node", address)]


def test_two_nginx_nodes_are_filled_and_proven(
    cachekit: Cachekit, origin: Origin, nginx_node: Callable[..., Nginx]
) -> None:
    nodes = [nginx_node(), nginx_node()]
    urls = cachekit.write_list([SITE + page for page in PAGES])
    done = cachekit.warm(
        "--list",
        str(urls),
        *nodes_of(*(n.address for n in nodes)),
        "--min-hit",
        "100%",
        "--format",
        "json",
    )
    assert done.code == 0, done.stderr
    for page in PAGES:
        assert origin.count(page.encode()) == 2  # once for each node, and never for the verify pass
    assert {request.host for request in origin.requests} == {"shop.example"}
    report = done.report
    assert (report["version"], report["outcome"], report["exit_code"]) == (1, "go", 0)
    for node in report["nodes"]:
        assert node["fill"]["verdicts"] == {"miss": 20}
        assert node["verify"]["verdicts"] == {"hit": 20}


def test_varnish_nodes_prove_hits_by_transaction_ids(
    cachekit: Cachekit, origin: Origin, varnish_node: Callable[..., Varnish]
) -> None:
    nodes = [varnish_node(), varnish_node()]
    urls = cachekit.write_list([SITE + page for page in PAGES])
    arguments = ("--list", str(urls), *nodes_of(*(n.address for n in nodes)), "--format", "json")
    first, second = cachekit.warm(*arguments), cachekit.warm(*arguments)
    assert (first.code, second.code) == (0, 0)
    assert first.report["total"]["fill"]["hits"] == 0
    assert first.report["total"]["verify"]["hits"] == 40
    assert second.report["total"]["fill"]["hits"] == 40  # it was warm before
    assert len(origin.requests) == 40


def test_a_dead_node_stops_no_other_and_is_named(
    cachekit: Cachekit, nginx_node: Callable[..., Nginx]
) -> None:
    alive, dead = nginx_node(), nginx_node()
    dead.stop()
    urls = cachekit.write_list([SITE + page for page in PAGES * 3])
    done = cachekit.warm(
        "--list", str(urls), *nodes_of(alive.address, dead.address), "--retries", "1"
    )
    assert done.code == 1
    assert "GO" in done.stdout
    assert f"reachable on {dead.address}: abandoned" in done.stdout
    assert "no connection - check that the node is up" in done.stdout
    done = cachekit.warm("--list", str(urls), *nodes_of(alive.address), "--format", "json")
    assert done.report["total"]["fill"]["hits"] == 20


def test_every_reason_is_named_with_what_to_do(
    cachekit: Cachekit, origin: Origin, nginx_node: Callable[..., Nginx]
) -> None:
    origin.page("/cart", headers={"Set-Cookie": "s=1", "Cache-Control": "private, max-age=0"})
    origin.page("/star", headers={"Vary": "*"})
    origin.page("/broken", status=500)
    origin.page("/old", status=302, headers={"Location": "https://elsewhere.example/"})
    origin.page("/account", status=302, headers={"Location": "/login?next=/account"})
    done = cachekit.warm(
        *(
            part
            for page in ("/", "/cart", "/star", "/broken", "/old", "/account")
            for part in ("--url", page)
        ),
        *("--site", SITE, "--node", nginx_node().address, "--format", "json", "--min-ok", "50%"),
    )
    assert done.code == 0
    reasons = {(reason["code"], reason["failure"]) for reason in done.report["reasons"]}
    assert reasons == {
        ("set-cookie", False),
        ("cache-control-private", False),
        ("max-age-0", False),
        ("vary-star", False),
        ("status-500", True),
        ("redirect-off-site", True),
        ("login-redirect", True),
    }
    assert all(reason["advice"] and reason["examples"] for reason in done.report["reasons"])
    assert all(host == "shop.example" for host in {r.host for r in origin.requests})


def test_variants_cross_urls_and_nodes(
    cachekit: Cachekit, origin: Origin, nginx_node: Callable[..., Nginx]
) -> None:
    origin.page("/", headers={"Vary": "User-Agent"})
    nodes = [nginx_node(), nginx_node()]
    done = cachekit.warm(
        *("--site", SITE, "--url", "/", *nodes_of(*(n.address for n in nodes))),
        *("--variant", "desktop=User-Agent: Desk", "--variant", "mobile=User-Agent: Mob"),
        *("--format", "json"),
    )
    assert "1 URL x 2 variants x 2 nodes = 4 targets" in done.stderr
    assert done.report["total"]["verify"]["hits"] == 4
    assert origin.counts("User-Agent") == {
        ("GET", "/", "shop.example", "Desk"): 2,
        ("GET", "/", "shop.example", "Mob"): 2,
    }


def test_browsers_find_what_was_warmed(
    cachekit: Cachekit, origin: Origin, nginx_node: Callable[..., Nginx]
) -> None:
    """nginx compares the varied header byte for byte: a browser's own must find the entry."""
    origin.page("/", headers={"Vary": "Accept-Encoding"})
    node = nginx_node()
    assert cachekit.warm("--site", SITE, "--url", "/", "--node", node.address).code == 0
    browser = {"Host": "shop.example", "Accept-Encoding": "gzip, deflate, br, zstd"}
    with closing(HTTPConnection(node.address)) as connection:
        connection.request("GET", "/", headers=browser)
        assert connection.getresponse().headers["X-Cache-Status"] == "HIT"


def test_tls_nodes_are_checked_against_the_public_name(
    cachekit: Cachekit, authority: Authority, nginx_node: Callable[..., Nginx]
) -> None:
    hosts = ["127.0.0.2", "127.0.0.3"]
    port = free_port_on(hosts)
    certificate = authority.certificate("shop.example")
    for host in hosts:
        nginx_node(host=host, tls=certificate, tls_port=port)
    arguments = [
        *("--url", "https://shop.example/", *nodes_of(*(f"{host}:{port}" for host in hosts))),
        *("--format", "json"),
    ]
    trusted = cachekit.warm(*arguments, "--ca-file", str(authority.ca_file), "--http2")
    assert trusted.code == 0
    assert trusted.report["total"]["verify"]["hits"] == 2
    untrusted = cachekit.warm(*arguments)
    assert untrusted.code == 1
    assert untrusted.report["reasons"][0]["code"] == "tls"
    insecure = cachekit.warm(*arguments, "--insecure")
    assert insecure.code == 0
    assert "NOT verified" in insecure.report["warnings"][0]
    assert "NOT verified" in insecure.stderr


def test_a_sitemap_is_fetched_through_the_node(
    cachekit: Cachekit, origin: Origin, nginx_node: Callable[..., Nginx]
) -> None:
    locations = "".join(f"<url><loc>{SITE}{page}</loc></url>" for page in PAGES)
    foreign = "<url><loc>http://other.example/</loc></url>"
    origin.page("/sitemap.xml", body=f"<urlset>{locations}{foreign}</urlset>")
    origin.page("/robots.txt", body=f"Sitemap: {SITE}/sitemap.xml\n")
    node = nginx_node()
    done = cachekit.warm(
        "--sitemap", f"{SITE}/robots.txt", "--node", node.address, "--format", "json"
    )
    assert done.code == 0, done.stderr
    assert done.report["urls"] == 20
    assert done.report["cuts"] == {"another host": 1}


def test_redirects_are_followed_within_the_site_only_by_option(
    cachekit: Cachekit, origin: Origin, nginx_node: Callable[..., Nginx]
) -> None:
    origin.page("/from", status=301, headers={"Location": "/to"})
    origin.page("/away", status=301, headers={"Location": "http://elsewhere.example/"})
    origin.page("/loop", status=301, headers={"Location": "/loop"})
    node = nginx_node()
    paths = [part for path in ("/from", "/away", "/loop") for part in ("--url", path)]
    arguments = ("--site", SITE, *paths, "--node", node.address, "--format", "json")
    plain = {f["url"]: f["reasons"] for f in cachekit.warm(*arguments).report["failures"]}
    assert plain == {
        f"{SITE}/from": ["redirect"],
        f"{SITE}/away": ["redirect-off-site"],
        f"{SITE}/loop": ["redirect"],
    }
    followed = cachekit.warm(*arguments, "--follow").report
    assert {f["url"]: f["reasons"] for f in followed["failures"]} == {
        f"{SITE}/away": ["redirect-off-site"],
        f"{SITE}/loop": ["redirect-loop"],
    }
    assert origin.count(b"/to") == 1
    assert {r.host for r in origin.requests} == {"shop.example"}


def test_formats_and_atomic_output(cachekit: Cachekit, nginx_node: Callable[..., Nginx]) -> None:
    node = nginx_node()
    arguments = ("--site", SITE, "--url", "/", "--url", "/b", "--node", node.address, "--quiet")
    lines = cachekit.warm(*arguments, "--format", "jsonl")
    rows = [json.loads(line) for line in lines.stdout.splitlines()]
    assert [row["event"] for row in rows] == ["target"] * 4 + ["report"]
    assert lines.stderr == ""
    output = cachekit.folder / "report.xml"
    assert cachekit.warm(*arguments, "--format", "junit", "--output", str(output)).stdout == ""
    suites = {suite.get("name"): suite.get("failures") for suite in ET.parse(output).getroot()}
    assert suites == {"gate": "0", f"node {node.address}": "0"}
    assert [path.name for path in cachekit.folder.glob(".report*")] == []
    missing = cachekit.warm(*arguments, "--output", str(cachekit.folder / "no" / "report"))
    assert missing.code == 2
    assert "cannot be written" in missing.stderr


def test_the_gate_tells_three_outcomes(
    cachekit: Cachekit, origin: Origin, nginx_node: Callable[..., Nginx]
) -> None:
    origin.page("/broken", status=500)
    node = nginx_node()
    (cachekit.folder / "cachekit.yaml").write_text(
        f"site: {SITE}\n"
        f"nodes: {{web1: '{node.address}'}}\n"
        "warmlists: {top: {urls: [/, /a, /b, /broken]}}\n"
        "warm:\n  gate: {min_ok: {go: 99.9%, floor: 70%}}\n"
    )
    degraded = cachekit.warm()
    assert degraded.code == 3, degraded.stderr
    assert degraded.stdout.startswith("DEGRADED")
    required = cachekit.warm("--require", "/broken")
    assert required.code == 1
    assert "required: http://shop.example/broken on web1" in required.stdout
    assert cachekit.warm("--min-ok", "75%").code == 0


def test_dry_run_asks_nothing(
    cachekit: Cachekit, origin: Origin, nginx_node: Callable[..., Nginx]
) -> None:
    done = cachekit.warm("--site", SITE, "--url", "/", "--node", nginx_node().address, "--dry-run")
    assert done.code == 0
    assert "1 URL x 1 node = 1 target" in done.stdout
    assert not origin.requests
    assert not cachekit.state_dir.exists()


def test_streamed_and_collected_runs_agree(
    cachekit: Cachekit, origin: Origin, nginx_node: Callable[..., Nginx]
) -> None:
    node = nginx_node()
    text = "".join(f"{SITE}{page}\n" for page in PAGES)
    done = cachekit.warm(
        "--list", "-", "--node", node.address, "--stream", "--format", "json", stdin=text
    )
    assert done.code == 0, done.stderr
    assert done.report["total"]["verify"]["hits"] == 20
    assert [request.target for request in origin.requests].count(b"/product/0") == 1


def test_personal_pages_that_hit_are_leaks(
    cachekit: Cachekit, nginx_node: Callable[..., Nginx]
) -> None:
    """nginx's default key has no cookie: the second visitor would get the first one's page."""
    node = nginx_node()
    (cachekit.folder / "cachekit.yaml").write_text(
        f"site: {SITE}\nnodes: {{web1: '{node.address}'}}\n"
        "warmlists: {top: {urls: [/]}}\n"
        "warm: {variants: {member: {Cookie: 'session=s3cret', personal: true}}}\n"
    )
    done = cachekit.warm("--format", "json")
    assert done.code == 1, done.stderr
    assert done.report["reasons"][0]["code"] == "leak"
    written = "".join(p.read_text() for p in cachekit.state_dir.rglob("*") if p.is_file())
    assert "s3cret" not in done.stdout + done.stderr + written
    refused = cachekit.warm("--header", "Cookie: a=b")
    assert refused.code == 2
    assert "personal" in refused.stderr
