"""Every way in which a node can fail or be reached, against real and lying servers."""

import asyncio
import gc
import resource
import signal
import socket
import time
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from cachekit.model import Site
from cachekit.replay import (
    Fault,
    Manner,
    Request,
    Response,
    Terms,
    public_route,
    replay,
    route_to,
)
from tests.asking import (
    IMPATIENT,
    PATIENT,
    SECURE_SITE,
    SITE,
    Queue,
    ask,
    ask_all,
    manner_at,
    node_at,
    route_at,
)
from tests.servers.loop_server import Connection, LoopServer, Received
from tests.servers.lying import Behaviour, LyingServer, zeros_gzipped
from tests.servers.nginx import Nginx, StaticNginx
from tests.servers.origin import Origin
from tests.servers.process import wait_until
from tests.servers.tls import Authority

pytestmark = pytest.mark.server

NAME = "shop.example"
GENEROUS_SECONDS = 20.0


class Wire(LoopServer):
    """Answers every request with the same bytes, and then closes if told to."""

    def __init__(self, data: bytes, *, close: bool = False) -> None:
        super().__init__()
        self._data = data
        self._close = close

    async def answer(self, request: Received, connection: Connection) -> None:
        await connection.write(self._data)
        if self._close:
            connection.transport.close()


def ask_wire(data: bytes, *, close: bool = False, terms: Terms = PATIENT) -> Response:
    with Wire(data, close=close) as server:
        return ask(b"http://shop.example/dir/page", manner_at(server.address), terms)


# ---- faults of the answer


@pytest.mark.parametrize(
    ("behaviour", "fault", "status", "words"),
    [
        ("accept_silent", Fault.FIRST_BYTE_TIMEOUT, 0, "no first byte within 1.5 s"),
        ("slow_header", Fault.TIMEOUT, 200, "timed out"),
        ("slow_drip", Fault.TIMEOUT, 200, "timed out"),
        ("reset_mid_body", Fault.BROKEN, 200, "reset"),
        ("truncated", Fault.TRUNCATED, 200, "1000 bytes missing"),
        ("close_without_answer", Fault.BROKEN, 0, "Empty reply"),
        ("garbage", Fault.BROKEN, 0, ""),
        ("huge_header", Fault.BROKEN, 200, "larger than 100 KB"),
        ("big_body", Fault.TOO_LARGE, 200, "file size"),
    ],
)
def test_a_lie_is_named_in_time_and_others_are_unaffected(
    lying_server: LyingServer, behaviour: Behaviour, fault: Fault, status: int, words: str
) -> None:
    manner = manner_at(lying_server.address)
    urls = [b"http://shop.example/ok/%d" % number for number in range(20)]
    urls.insert(10, b"http://shop.example/" + behaviour.encode())
    begun = time.monotonic()
    found = ask_all([Request(url, manner) for url in urls], IMPATIENT, max_in_flight=4)
    assert time.monotonic() - begun < GENEROUS_SECONDS
    assert len(found) == len(urls)
    (bad,) = (response for response in found if response.fault is not None)
    assert bad.request.url.endswith(behaviour.encode())
    assert (bad.fault, bad.status) == (fault, status)
    assert bad.detail
    assert words in bad.detail
    assert {response.status for response in found if response is not bad} == {200}


@pytest.mark.parametrize("behaviour", ["wrong_length", "wrong_encoding", "gzip_bomb"])
def test_what_is_wrong_inside_a_body_is_no_fault_of_the_transfer(
    lying_server: LyingServer, behaviour: Behaviour
) -> None:
    zeros_gzipped(200)  # made once, and not while somebody waits for it
    manner = manner_at(lying_server.address)
    paths = [behaviour.encode(), b"ok/1", behaviour.encode(), b"ok/2"]
    found = ask_all([Request(b"http://shop.example/" + p, manner) for p in paths], max_in_flight=1)
    assert [(response.status, response.fault) for response in found] == [(200, None)] * 4
    # The rest of a body that was too long must not be taken for the next answer.
    assert all(response.head.startswith(b"HTTP/1.1 200 ") for response in found)


def test_a_gzip_bomb_is_not_inflated(lying_server: LyingServer) -> None:
    kept: list[int] = []

    def sink(chunk: bytes) -> int:
        kept.append(len(chunk))
        return len(chunk)

    zeros_gzipped(200)
    manner = manner_at(lying_server.address, ["Accept-Encoding: gzip"])
    lying_server.lie("/bomb", "gzip_bomb", megabytes=200)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = ask_all([Request(b"http://shop.example/bomb", manner, s) for s in (None, sink)])
    assert [response.status for response in found] == [200, 200]
    assert sum(kept) < 300_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KB


@pytest.mark.parametrize(
    ("data", "close"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (2 << 20), True),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n200000\r\n" + b"x" * (2 << 20),
            False,
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n" + b"x" * 1000, False),
    ],
    ids=["until-close", "chunked", "content-length"],
)
def test_the_size_cap_holds_with_and_without_a_length(data: bytes, close: bool) -> None:
    response = ask_wire(data, close=close)
    assert (response.fault, response.status) == (Fault.TOO_LARGE, 200)


def test_a_body_as_large_as_the_cap_is_fine() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % PATIENT.max_body
    assert ask_wire(head + b"x" * PATIENT.max_body).fault is None


def test_a_sink_takes_the_body_and_may_end_it(origin: Origin) -> None:
    origin.page("/page", body=b"a" * 500_000)
    manner = manner_at(origin.address)
    kept = bytearray()

    def keep(chunk: bytes) -> int:
        kept.extend(chunk)
        return len(chunk)

    url = b"http://shop.example/page"
    requests = [Request(url, manner, keep), Request(url, manner, lambda _: 0), Request(url, manner)]
    found = ask_all(requests, max_in_flight=1)
    assert [response.fault for response in found] == [None, Fault.TOO_LARGE, None]
    assert bytes(kept) == b"a" * 500_000


@pytest.mark.parametrize(
    ("data", "close", "fault"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", False, Fault.BROKEN),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\no", True, Fault.TRUNCATED),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n", 0, Fault.BROKEN),
        (b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n", False, Fault.BROKEN),
        (b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 9000 + b"\r\n", True, Fault.BROKEN),
        (b"HTTP/1.1 200 OK\r\n" + (b"X: %s\r\n" % (b"a" * 9000)) * 50, True, Fault.BROKEN),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\n\r\n", True, Fault.BROKEN),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n", True, Fault.BROKEN),
    ],
    ids=["chunk", "cut-chunk", "lengths", "nul", "many", "large", "switch", "hints-only"],
)
def test_broken_http_is_a_fault_with_a_detail(data: bytes, close: bool, fault: Fault) -> None:
    response = ask_wire(data, close=close)
    assert response.fault is fault
    assert response.detail


# ---- what is read from an answer


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_interim_answers_are_left_out_of_the_head(end: bytes) -> None:
    lines = [b"HTTP/1.1 100 Continue", b"", b"HTTP/1.1 103 Early Hints", b"X-Cache: HIT", b""]
    lines += [b"HTTP/1.1 200 OK", b"X-Cache: MISS", b"Content-Length: 0", b"", b""]
    response = ask_wire(end.join(lines))
    assert response.status == 200
    assert response.head.startswith(b"HTTP/1.1 200 OK")
    assert b"HIT" not in response.head


def test_trailers_follow_the_head() -> None:
    response = ask_wire(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
        b"2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n"
    )
    assert response.fault is None
    assert response.head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nX-Sum: 7\r\n" in response.head


@pytest.mark.parametrize(
    ("location", "leads_to"),
    [
        # As browsers do it: escapes keep their case, dot segments are resolved.
        (b"/x/%d0%bf?b=1&a=%2f", b"http://shop.example/x/%d0%bf?b=1&a=%2f"),
        (b"https://shop.example/%d0%Bf#top", b"https://shop.example/%d0%Bf"),
        (b"../x?b=1", b"http://shop.example/x?b=1"),
        (b"page2", b"http://shop.example/dir/page2"),
        (b"/a/../b", b"http://shop.example/b"),
        (b"/a b", b"http://shop.example/a%20b"),
        (b"//cdn.example/a%2f", b"http://cdn.example/a%2f"),
        (b"file:///etc/passwd", b"file:///etc/passwd"),
    ],
)
def test_a_redirect_is_told_and_not_followed(location: bytes, leads_to: bytes) -> None:
    response = ask_wire(b"HTTP/1.1 302 F\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % location)
    assert (response.status, response.fault, response.redirect_url) == (302, None, leads_to)


@pytest.mark.parametrize(
    ("written", "low", "high"),
    [
        ("7", 7, 7),
        ("Wed, 21 Oct 2065 07:28:00 GMT", 60, 10**10),  # libcurl caps it at six hours
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0),
        ("-5", 0, 0),
        ("soon", 0, 0),
    ],
)
def test_retry_after_in_seconds_and_as_a_date(written: str, low: float, high: float) -> None:
    response = ask_wire(
        b"HTTP/1.1 503 Busy\r\nRetry-After: %s\r\nContent-Length: 0\r\n\r\n" % written.encode()
    )
    assert low <= response.retry_after <= high


def test_what_is_rare_does_not_linger_on_a_reused_handle() -> None:
    with (
        Wire(b"HTTP/1.1 429 X\r\nRetry-After: 9\r\nContent-Length: 0\r\n\r\n") as busy,
        Origin() as origin,
    ):
        requests = [
            Request(b"http://shop.example/", manner_at(address))
            for address in (busy.address, origin.address)
        ]
        found = ask_all(requests, max_in_flight=1)
    assert [(r.status, r.retry_after) for r in found] == [(429, 9.0), (200, 0.0)]


# ---- what is sent


def test_headers_methods_and_sinks_change_between_requests_of_one_handle(origin: Origin) -> None:
    route = route_at(origin.address)
    kept: list[bytes] = []

    def keep(chunk: bytes) -> int:
        kept.append(chunk)
        return len(chunk)

    manners = [
        Manner(route, ["X-One: 1", "User-Agent: cachekit", "Accept:"]),
        Manner(route),
        Manner(route, ["X-Size: groß"], method="PURGE"),
        Manner(route, method="HEAD"),
        Manner(route, ["X-One: 1"], keep_head=False),
        Manner(route),
    ]
    sinks = [None, keep, None, None, None, None]
    requests = [
        Request(b"http://shop.example/%d" % number, manner, sink)
        for number, (manner, sink) in enumerate(zip(manners, sinks, strict=True))
    ]
    found = ask_all(requests, max_in_flight=1)
    assert [response.fault for response in found] == [None] * 6
    assert [bool(response.head) for response in found] == [True, True, True, True, False, True]
    received = origin.requests
    assert [r.method for r in received] == ["GET", "GET", "PURGE", "HEAD", "GET", "GET"]
    assert received[0].headers == {"host": NAME, "x-one": "1", "user-agent": "cachekit"}
    # No agent and no cookie of libcurl's own; Accept only because nothing was said of it.
    assert received[1].headers == received[5].headers == {"host": NAME, "accept": "*/*"}
    assert received[2].headers["x-size"] == "gro\xc3\x9f"
    assert [r.headers.get("x-one") for r in received] == ["1", None, None, None, "1", None]
    assert b"".join(kept).startswith(b"<!doctype html>")


def test_no_cookie_jar(origin: Origin) -> None:
    origin.page("/", headers={"Set-Cookie": "session=1; Path=/"})
    manner = manner_at(origin.address)
    ask_all([Request(b"http://shop.example/", manner) for _ in range(3)], max_in_flight=1)
    assert [request.headers.get("cookie") for request in origin.requests] == [None] * 3


def test_connections_are_kept_and_bounded(origin: Origin) -> None:
    manner = manner_at(origin.address)
    found = ask_all([Request(b"http://shop.example/", manner)] * 200, max_in_flight=4)
    assert len(found) == origin.count() == 200
    assert origin.connections <= 4
    assert origin.most_in_flight <= 4


def test_a_connection_that_was_closed_while_idle_is_opened_again() -> None:
    with Wire(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", close=True) as server:
        requests = [Request(b"http://shop.example/", manner_at(server.address))] * 20
        found = ask_all(requests, max_in_flight=1)
    assert [response.fault for response in found] == [None] * 20


# ---- where it goes


@pytest.mark.parametrize("scheme", [b"http", b"https"])
def test_a_refused_connection_is_a_fault_at_once(lying_server: LyingServer, scheme: bytes) -> None:
    address = f"127.0.0.1:{lying_server.refused_port()}"
    response = ask(scheme + b"://shop.example/", manner_at(address))
    assert (response.fault, response.status) == (Fault.CONNECT, 0)
    assert address in response.detail


@pytest.mark.parametrize("scheme", [b"http", b"https"])
def test_connecting_has_its_own_deadline(lying_server: LyingServer, scheme: bytes) -> None:
    address = f"127.0.0.1:{lying_server.unanswered_port()}"
    terms = replace(PATIENT, connect_timeout=0.3)
    response = ask(scheme + b"://shop.example/", manner_at(address), terms)
    assert response.fault is Fault.CONNECT_TIMEOUT
    assert response.seconds < GENEROUS_SECONDS
    assert response.status == 0


def test_a_tls_handshake_that_never_ends_counts_as_connecting() -> None:
    terms = replace(PATIENT, connect_timeout=0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        response = ask(b"https://shop.example/", manner_at(address), terms)
    assert response.fault is Fault.CONNECT_TIMEOUT


def test_a_node_that_has_no_address_is_a_fault() -> None:
    response = ask(b"http://shop.example/", manner_at("no-such-node.invalid:80"))
    assert response.fault is Fault.CONNECT
    assert "no-such-node.invalid" in response.detail


def test_every_url_goes_to_the_node_and_nothing_else(origin: Origin) -> None:
    manner = manner_at(origin.address)
    urls = [
        b"http://shop.example/",
        b"http://shop.example:8080/",
        b"http://other.example/",
        b"http://192.0.2.1/",
        b"http://[2001:db8::1]/",
    ]
    found = ask_all([Request(url, manner) for url in urls], max_in_flight=1)
    assert [response.status for response in found] == [200] * 5
    assert [request.host for request in origin.requests] == [
        NAME,
        "shop.example:8080",
        "other.example",
        "192.0.2.1",
        "[2001:db8::1]",
    ]


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"])
def test_proxies_of_the_environment_are_ignored(
    origin: Origin, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    with Origin() as proxy:
        monkeypatch.setenv(variable, proxy.url)
        response = ask(b"http://shop.example/", manner_at(origin.address))
        assert (response.status, proxy.connections) == (200, 0)
    assert origin.count() == 1


def test_ipv6_nodes_with_and_without_a_port() -> None:
    with Origin(host="::1") as origin:
        with_port, portless = f"[::1]:{origin.port}", Site(f"http://shop.example:{origin.port}")
        literal = Site(f"http://[::1]:{origin.port}")
        ways = [
            (SITE, route_at(with_port)),
            (portless, route_at("[::1]", site=portless)),
            (literal, route_at("[::1]", site=literal)),
            (SITE, route_at("[::1]", ports={"http": origin.port, "https": 1})),
        ]
        requests = [Request(site.absolute(b"/x"), Manner(route)) for site, route in ways]
        found = ask_all(requests, max_in_flight=1)
        assert [response.status for response in found] == [200] * 4
        assert origin.counts() == {
            ("GET", "/x", NAME): 2,
            ("GET", "/x", f"shop.example:{origin.port}"): 1,
            ("GET", "/x", f"[::1]:{origin.port}"): 1,
        }


def test_schemes_may_have_ports_of_their_own(
    nginx_node: Callable[..., Nginx], authority: Authority
) -> None:
    node = nginx_node(tls=authority.certificate(NAME))
    ports = {"http": node.port, "https": node.tls_port}
    terms = replace(PATIENT, ca_file=authority.ca_file)
    for public in ("http://shop.example", "https://shop.example", "https://shop.example:8443"):
        site = Site(public)
        route = route_to(node_at(node.host, ports=ports), site)
        urls = [b"http://shop.example/a", b"https://shop.example/a", site.absolute(b"/b")]
        found = ask_all([Request(url, Manner(route)) for url in urls], terms)
        assert [(r.status, r.detail) for r in found] == [(200, "")] * 3


def test_one_handle_goes_from_a_unix_socket_to_tcp_and_back(
    nginx_node: Callable[..., Nginx], origin: Origin
) -> None:
    node = nginx_node(unix_socket=True, access_log=True)
    proxied = nginx_node(proxy_protocol=True)
    routes = [
        route_at(f"unix:{node.socket_path}"),
        route_at(origin.address),
        route_at(proxied.address, proxy_protocol=True),
        public_route(),
        route_at(f"localhost:{origin.port}"),
    ]
    # The public route needs a name that leads somewhere: that of the origin itself.
    base = f"http://{origin.address}/".encode()
    manners = [Manner(route) for route in routes]
    requests = [Request(base + b"%d" % n, manners[n % 5]) for n in range(15)]
    found = ask_all(requests, max_in_flight=1)
    assert [response.status for response in found] == [200] * 15
    by_node = [b"X-Cache-Status: MISS" in response.head for response in found]
    assert by_node == [True, False, True, False, False] * 3
    seen = [request.headers.get("x-proxy-protocol-addr") for request in origin.requests]
    assert seen == [None, None, "127.0.0.1", None, None] * 3
    assert len(node.requests(at_least=3)) == 3


def test_a_unix_socket_that_is_not_there(tmp_path: Path) -> None:
    response = ask(b"http://shop.example/", manner_at(f"unix:{tmp_path}/none.sock"))
    assert response.fault is Fault.CONNECT


def test_many_nodes_in_turn_all_get_their_own() -> None:
    hosts = [f"127.0.1.{number}" for number in range(1, 251)]
    with StaticNginx(hosts=hosts, page_bytes=100) as server:
        manners = {
            host: Manner(route_at(address))
            for host, address in zip(hosts, server.addresses, strict=True)
        }
        requests = [
            Request(b"http://shop.example/%d" % number, manner)
            for number in range(8)
            for manner in manners.values()
        ]
        found = ask_all(requests, PATIENT, 100)
        assert {(response.status, response.fault) for response in found} == {(200, None)}
        assert len(found) == server.count() == 2000


def test_a_dead_node_among_many_delays_nobody(lying_server: LyingServer) -> None:
    dead = manner_at(f"127.0.0.1:{lying_server.unanswered_port()}")
    alive = manner_at(lying_server.address)
    requests = [
        Request(b"http://shop.example/%d" % number, dead if number % 20 == 0 else alive)
        for number in range(100)
    ]
    found = ask_all(requests, replace(PATIENT, connect_timeout=1.0), max_in_flight=16)
    faults = [response.fault for response in found]
    assert faults[:95] == [None] * 95
    assert faults[95:] == [Fault.CONNECT_TIMEOUT] * 5


# ---- TLS


def test_the_certificate_is_checked_against_the_public_name_only(authority: Authority) -> None:
    terms = replace(PATIENT, ca_file=authority.ca_file)
    with Origin(host="127.0.0.2", tls=authority.certificate(NAME)) as origin:
        manner = manner_at(origin.address, site=SECURE_SITE)
        assert ask(b"https://shop.example/", manner, terms).status == 200
        assert ask(b"https://other.example/", manner, terms).fault is Fault.TLS
        assert origin.count() == 1


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("expired", "expired"),
        ("unknown", "unable to get local issuer certificate"),
        ("other", "no alternative certificate subject name matches target"),
    ],
)
def test_a_bad_certificate_is_a_fault_that_says_why(
    authority: Authority, kind: str, words: str
) -> None:
    certificate = {
        "expired": lambda: authority.expired(NAME),
        "unknown": lambda: authority.unknown(NAME),
        "other": lambda: authority.certificate("other.example"),
    }[kind]()
    terms = replace(PATIENT, ca_file=authority.ca_file)
    with Origin(tls=certificate) as origin:
        manner = manner_at(origin.address)
        response = ask(b"https://shop.example/", manner, terms)
        assert (response.fault, response.status) == (Fault.TLS, 0)
        assert words in response.detail
        assert origin.count() == 0
        trusting = replace(terms, verify=False)
        assert ask(b"https://shop.example/", manner, trusting).status == 200


def test_an_authority_of_our_own_is_not_trusted_by_default(authority: Authority) -> None:
    with Origin(tls=authority.certificate(NAME)) as origin:
        assert ask(b"https://shop.example/", manner_at(origin.address)).fault is Fault.TLS


def test_plain_http_to_a_tls_port_is_a_fault(authority: Authority) -> None:
    with Origin(tls=authority.certificate(NAME)) as secure:
        assert ask(b"http://shop.example/", manner_at(secure.address)).fault is Fault.BROKEN


def test_a_client_certificate(nginx_node: Callable[..., Nginx], authority: Authority) -> None:
    node = nginx_node(tls=authority.certificate(NAME), client_ca=authority.ca_file)
    manner = manner_at(node.tls_address)
    terms = replace(PATIENT, ca_file=authority.ca_file)
    assert ask(b"https://shop.example/", manner, terms).status == 400
    shown = authority.client()
    known = replace(terms, client_certificate=shown.cert_file, client_key=shown.key_file)
    assert ask(b"https://shop.example/", manner, known).status == 200
    both = shown.cert_file.with_suffix(".both")
    both.write_bytes(shown.cert_file.read_bytes() + shown.key_file.read_bytes())
    together = replace(terms, client_certificate=both)
    assert ask(b"https://shop.example/", manner, together).status == 200


def test_a_client_certificate_that_cannot_be_read(authority: Authority, tmp_path: Path) -> None:
    terms = replace(PATIENT, ca_file=authority.ca_file, client_certificate=tmp_path / "none.pem")
    with Origin(tls=authority.certificate(NAME)) as origin:
        response = ask(b"https://shop.example/", manner_at(origin.address), terms)
    assert response.fault is Fault.TLS
    assert "none.pem" in response.detail


@pytest.mark.parametrize("http2", [False, True])
def test_two_hosts_of_one_node_share_no_tls_connection(
    nginx_node: Callable[..., Nginx], authority: Authority, http2: bool
) -> None:
    names = [NAME, "www.shop.example"]
    node = nginx_node(tls=authority.certificate(*names), access_log=True)
    manner = manner_at(node.tls_address)
    terms = replace(PATIENT, ca_file=authority.ca_file, http2=http2)
    urls = [f"https://{names[n % 2]}/{names[n % 2]}/{n}".encode() for n in range(20)]
    found = ask_all([Request(url, manner) for url in urls], terms, max_in_flight=2)
    version = b"HTTP/2 200" if http2 else b"HTTP/1.1 200"
    assert all(response.head.startswith(version) for response in found)
    entries = [entry for entry in node.log(at_least=20) if entry.request]
    assert len(entries) == 20
    assert all(entry.request.split(b"/")[1] == entry.server_name for entry in entries)
    by_connection = {(entry.connection, entry.server_name) for entry in entries}
    assert len(by_connection) == len({connection for connection, _ in by_connection})


def test_http2_multiplexes_and_is_judged_alike(
    nginx_node: Callable[..., Nginx], authority: Authority, origin: Origin
) -> None:
    node = nginx_node(tls=authority.certificate(NAME), access_log=True)
    origin.page("/missing", status=404)
    terms = replace(PATIENT, ca_file=authority.ca_file, http2=True)
    manner = manner_at(node.tls_address)
    requests = [Request(b"https://shop.example/%d" % n, manner) for n in range(100)]
    found = ask_all([*requests, Request(b"https://shop.example/missing", manner)], terms, 20)
    assert {response.status for response in found} == {200, 404}
    assert {response.fault for response in found} == {None}
    assert all(b"\nx-cache-status: MISS" in response.head for response in found)


# ---- ending


def test_cut_ends_what_is_in_flight(lying_server: LyingServer) -> None:
    queue = Queue(
        Request(b"http://shop.example/" + path, manner_at(lying_server.address))
        for path in (b"ok", b"accept_silent/1", b"accept_silent/2", b"slow_drip")
    )
    found = []
    begun = time.monotonic()
    for response in replay(queue, terms=PATIENT):
        found.append(response)
        queue.must_cut = True
    assert time.monotonic() - begun < GENEROUS_SECONDS
    assert [response.fault for response in found] == [None, *[Fault.CUT] * 3]
    assert all(response.seconds > 0 for response in found)


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_closing_the_iterator_early_frees_everything(lying_server: LyingServer) -> None:
    manner = manner_at(lying_server.address)
    before = open_descriptors()
    for path in (b"ok", b"accept_silent"):
        requests = [Request(b"http://shop.example/" + path, manner)] * 10
        answers = replay(
            Queue([Request(b"http://shop.example/ok", manner), *requests]), terms=Terms()
        )
        assert next(answers).status == 200
        assert open_descriptors() > before
        cast("Generator[Response, None, None]", answers).close()
        del answers
        gc.collect()
        # The server's ends are closed by its own thread, a moment later.
        assert wait_until(lambda: open_descriptors() <= before)
    assert wait_until(lambda: lying_server.in_flight == 0)


def test_an_error_in_the_consumer_frees_everything(lying_server: LyingServer) -> None:
    before = open_descriptors()
    requests = [Request(b"http://shop.example/ok", manner_at(lying_server.address))] * 5

    def consume() -> None:
        for _ in replay(Queue(requests), terms=Terms()):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        consume()
    gc.collect()
    assert wait_until(lambda: open_descriptors() <= before)


def test_signals_do_not_disturb_waiting(lying_server: LyingServer) -> None:
    lying_server.lie("/slow", "ok", delay=0.5)
    rings: list[int] = []
    previous = signal.signal(signal.SIGALRM, lambda *_: rings.append(1))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
        response = ask(b"http://shop.example/slow", manner_at(lying_server.address))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert response.status == 200
    assert rings


def test_nothing_to_ask_is_nothing_done() -> None:
    assert ask_all([]) == []


class Later:
    """Admits one request after a while, and says so only by `wait`."""

    def __init__(self, request: Request, seconds: float) -> None:
        self._at = time.monotonic() + seconds
        self._request: Request | None = request
        self.asked = 0

    def admit(self, room: int) -> list[Request]:
        self.asked += 1
        if self._request is None or time.monotonic() < self._at:
            return []
        request, self._request = self._request, None
        return [request]

    def wait(self) -> float | None:
        return None if self._request is None else max(0.0, self._at - time.monotonic())

    def cut(self) -> bool:
        return False


def test_waiting_for_the_next_start_does_not_spin(origin: Origin) -> None:
    later = Later(Request(b"http://shop.example/", manner_at(origin.address)), 0.5)
    begun = time.process_time()
    assert [response.status for response in replay(later, terms=PATIENT)] == [200]
    assert later.asked < 50
    assert time.process_time() - begun < 0.4


class Halting(LoopServer):
    """Sends the head of an answer, and its body half a second later."""

    async def answer(self, request: Received, connection: Connection) -> None:
        await connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        await asyncio.sleep(0.5)
        await connection.write(b"ok")


def test_no_answer_waits_for_all_that_were_asked_after_it() -> None:
    with StaticNginx() as server:
        manner = manner_at(server.address)
        urls = [b"http://shop.example/%d" % number for number in range(4000)]
        landed = ask_all((Request(url, manner) for url in urls), max_in_flight=128)
    places = {response.request.url: place for place, response in enumerate(landed)}
    assert max(places[url] - asked for asked, url in enumerate(urls)) < 2000


def test_the_first_byte_deadline_spares_long_bodies() -> None:
    terms = replace(PATIENT, first_byte_timeout=0.2)
    with Halting() as server:
        response = ask(b"http://shop.example/", manner_at(server.address), terms)
    assert (response.status, response.fault) == (200, None)
    assert terms.first_byte_timeout < response.seconds


def test_a_reused_handle_gets_its_own_first_byte_deadline(lying_server: LyingServer) -> None:
    lying_server.lie("/second", "accept_silent")
    terms = replace(PATIENT, first_byte_timeout=0.3)
    manner = manner_at(lying_server.address)
    urls = [b"http://shop.example/ok", b"http://shop.example/second"]
    found = ask_all([Request(url, manner) for url in urls], terms, max_in_flight=1)
    assert [response.fault for response in found] == [None, Fault.FIRST_BYTE_TIMEOUT]


def test_bytes_above_ascii_are_sent_as_they_are_and_only_there(origin: Origin) -> None:
    manner = manner_at(origin.address)
    written = [b"/\xc3\xa4?%c3%A4", b"/plain", b"?q=\xff/x", b"/\xe4#\xe4", b"/plain", b"?q"]
    requests = [Request(b"http://shop.example" + target, manner) for target in written]
    found = ask_all(requests, max_in_flight=1)
    assert [response.fault for response in found] == [None] * 6
    assert origin.targets() == [
        b"/\xc3\xa4?%c3%A4",
        b"/plain",
        b"/?q=\xff/x",
        b"/\xe4",
        b"/plain",
        b"/?q",
    ]
    assert origin.connections == 1


def test_bytes_above_ascii_over_http2(
    nginx_node: Callable[..., Nginx], authority: Authority, origin: Origin
) -> None:
    node = nginx_node(tls=authority.certificate(NAME))
    terms = replace(PATIENT, ca_file=authority.ca_file, http2=True)
    paths = [b"/\xc3\xa4?%c3%A4", b"/plain"]
    manner = manner_at(node.tls_address)
    found = ask_all([Request(b"https://shop.example" + p, manner) for p in paths], terms, 1)
    assert [(r.status, r.detail) for r in found] == [(200, "")] * 2
    assert origin.targets() == paths
