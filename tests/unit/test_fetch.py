"""Sitemaps through nodes and from the public site: asked again, in time, never elsewhere."""

import resource
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from cachekit.errors import SourceError
from cachekit.model import Node, Site, parse_address
from cachekit.replay import Route, Terms, public_route, route_to
from cachekit.warming.fetch import Fetch
from cachekit.warming.stop import Stop
from tests.servers.loop_server import LoopServer
from tests.servers.lying import BODY, LyingServer
from tests.servers.origin import Origin
from tests.servers.process import free_port

SITE = Site("http://shop.example")
MAP = "http://shop.example/sitemap.xml"


def through(*servers: LoopServer) -> dict[str, Route]:
    return {
        f"through node {number}": route_to(
            Node(name=str(number), address=parse_address(server.address)), SITE
        )
        for number, server in enumerate(servers, 1)
    }


def fetch(routes: Mapping[str, Route], url: str = MAP, **options: Any) -> bytes:
    chosen: dict[str, Any] = {
        "site": SITE,
        "terms": Terms(),
        "headers": (),
        "retries": 2,
        "stop": Stop(None),
    }
    with Fetch(routes=routes, **chosen | options)(url) as body:
        return body.read()


def error_of(routes: Mapping[str, Route], url: str = MAP, **options: Any) -> str:
    with pytest.raises(SourceError) as caught:
        fetch(routes, url, **options)
    return str(caught.value)


@contextmanager
def little_room(size: int) -> Iterator[None]:
    """Let no file grow beyond a size, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_node_that_is_overloaded_for_a_moment_is_asked_again(lying_server: LyingServer) -> None:
    lying_server.lie("/sitemap.xml", "storm_503", first=2, retry_after=None)
    assert fetch(through(lying_server)) == BODY


def test_retries_have_an_end(lying_server: LyingServer) -> None:
    lying_server.lie("/sitemap.xml", "storm_503", first=9, retry_after=None)
    assert "through node 1: answered status 503" in error_of(through(lying_server), retries=1)
    assert len(lying_server.requests) == 2


def test_another_node_is_asked_before_one_is_asked_again(
    lying_server: LyingServer, origin: Origin
) -> None:
    lying_server.lie("/sitemap.xml", "storm_503", first=9, retry_after="300")
    origin.page("/sitemap.xml", body="<urlset/>")
    assert fetch(through(lying_server, origin)) == b"<urlset/>"
    assert len(lying_server.requests) == 1


def test_a_plain_no_is_taken_at_once(lying_server: LyingServer, origin: Origin) -> None:
    origin.page("/sitemap.xml", status=404)
    lying_server.lie("/sitemap.xml", "storm_503", first=9, retry_after=None)
    assert error_of(through(origin, lying_server), retries=1) == (
        f"{MAP}: through node 1: answered status 404; through node 2: answered status 503"
    )
    assert (len(origin.requests), len(lying_server.requests)) == (1, 2)


def test_a_wait_that_was_asked_for_ends_with_the_run(lying_server: LyingServer) -> None:
    lying_server.lie("/sitemap.xml", "storm_503", first=9, retry_after="300")
    error = error_of(through(lying_server), stop=Stop(1.0))
    assert error == f"{MAP}: not fetched: the time budget of 1 s is spent"
    assert len(lying_server.requests) == 1


def test_nothing_is_asked_for_once_the_run_is_to_stop(origin: Origin) -> None:
    stop = Stop(None)
    stop.request("stopped by SIGTERM")
    assert "not fetched: stopped by SIGTERM" in error_of(through(origin), stop=stop)
    assert origin.requests == []


@pytest.mark.parametrize("behaviour", ["slow_drip", "accept_silent"])
def test_the_public_site_has_its_deadline(lying_server: LyingServer, behaviour: str) -> None:
    url = f"http://{lying_server.address}/{behaviour}"
    terms = Terms(timeout=0.3)
    assert "from the public site: timeout: " in error_of(
        {"from the public site": public_route()}, url, terms=terms
    )


def test_no_redirect_leaves_the_site(lying_server: LyingServer, origin: Origin) -> None:
    lying_server.lie("/x", "redirect_offsite", location=f"http://{origin.address}/sitemap.xml")
    site, url = Site(f"http://{lying_server.address}"), f"http://{lying_server.address}/x"
    error = error_of({"from the public site": public_route()}, url, site=site)
    assert f"redirects to another site, http://{origin.address}/sitemap.xml" in error
    assert origin.requests == []


def test_redirects_of_the_site_are_followed(origin: Origin) -> None:
    origin.page("/sitemap.xml", status=301, headers={"Location": "/index.xml"})
    origin.page("/index.xml", body="<urlset/>")
    assert fetch(through(origin)) == b"<urlset/>"


def test_the_password_of_a_url_is_not_told(origin: Origin) -> None:
    origin.page("/sitemap.xml", status=404)
    error = error_of(through(origin), "http://anna:SECRET@shop.example/sitemap.xml")
    assert error.startswith("http://***@shop.example/sitemap.xml: ")
    assert "SECRET" not in error


def test_a_body_may_be_large_but_not_endless(lying_server: LyingServer) -> None:
    lying_server.lie("/sitemap.xml", "big_body", megabytes=3)
    assert len(fetch(through(lying_server), terms=Terms(max_body=1000))) == 3 * 1024**2
    lying_server.lie("/sitemap.xml", "big_body", megabytes=65)
    assert "too-large" in error_of(through(lying_server))


def test_a_full_disk_is_told_as_such(
    lying_server: LyingServer, capfd: pytest.CaptureFixture[str]
) -> None:
    lying_server.lie("/sitemap.xml", "big_body", megabytes=3)
    with little_room(1024**2):
        error = error_of(through(lying_server))
    assert "cannot be kept in " in error
    assert "File too large; set TMPDIR to a folder with room" in error
    assert capfd.readouterr().err == ""


def test_a_dead_node_is_named_with_its_fault() -> None:
    node = Node(name="web1", address=parse_address(f"127.0.0.1:{free_port('127.0.0.1')}"))
    error = error_of({"through node web1": route_to(node, SITE)}, retries=0)
    assert error.startswith(f"{MAP}: through node web1: connect: ")
