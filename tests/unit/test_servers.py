"""The servers of the tests do what tests and benchmarks rely on."""

import http.client
import os
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.servers.loop_server import LoopServer, Received
from tests.servers.lying import BEHAVIOURS, LyingServer
from tests.servers.nginx import Nginx, StaticNginx
from tests.servers.origin import Origin, Page
from tests.servers.process import (
    ServerFailedError,
    ServerProcess,
    free_port,
    host_port,
    require_program,
    wait_until,
)
from tests.servers.sweep_origins import KINDS, Kind, SweepOrigin, shape_of
from tests.servers.tls import Authority
from tests.servers.varnish import Varnish

pytestmark = pytest.mark.server

NAME = "shop.example"


def exchange(sock: socket.socket, target: bytes, host: str = NAME, extra: bytes = b"") -> bytes:
    """Send one GET as raw bytes and read until the server closes."""
    request = b"GET %b HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n%b\r\n"
    sock.sendall(request % (target, host.encode(), extra))
    return drain(sock)


def drain(sock: socket.socket) -> bytes:
    """Read until the server closes."""
    return b"".join(iter(lambda: sock.recv(65536), b""))


def get(server: ServerProcess | LoopServer, target: str = "/", extra: bytes = b"") -> bytes:
    with socket.create_connection((server.host, server.port), timeout=5) as sock:
        return exchange(sock, target.encode(), extra=extra)


def client_context(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(authority.ca_file))


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def header_of(answer: bytes, name: str) -> str | None:
    for line in answer.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]:
        key, _, value = line.partition(": ")
        if key.lower() == name.lower():
            return value
    return None


# ---- process


class Sleeper(ServerProcess):
    program = "sleep"

    def argv(self) -> list[str]:
        return ["30"]


class Complainer(ServerProcess):
    program = "sh"

    def argv(self) -> list[str]:
        return ["-c", "echo no such luck; exit 3"]


def test_a_server_that_ends_shows_its_log() -> None:
    with pytest.raises(ServerFailedError, match="no such luck"):
        Complainer().start()


def test_a_server_that_is_never_ready_is_ended() -> None:
    server = Sleeper(ready_seconds=0.1)
    with pytest.raises(ServerFailedError, match="not ready"):
        server.start()
    assert server not in ServerProcess.running


def test_a_missing_program_skips_on_a_laptop_and_fails_in_ci(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception):
        require_program("no-such-program")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception):
        require_program("no-such-program")


def test_ports_are_found_for_both_families() -> None:
    assert free_port("127.0.0.7") != free_port("::1")
    assert host_port("::1", 80) == "[::1]:80"


# ---- origin


def test_origin_records_the_target_byte_for_byte(origin: Origin) -> None:
    raw = b"/%61//b/../c?z=1&a=%2F&z=2;\xc3\xa9"
    with socket.create_connection((origin.host, origin.port)) as sock:
        assert status_of(exchange(sock, raw, extra=b"X-Device: Mobile\r\n")) == 200
    assert origin.targets() == [raw]
    assert origin.count(raw, host=NAME, headers={"x-device": "Mobile"}) == 1
    assert origin.count(raw, headers={"X-Device": "desktop"}) == 0
    assert origin.counts("X-Device") == {("GET", raw.decode("latin-1"), NAME, "Mobile"): 1}


def test_origin_keeps_connections_and_answers_pipelined_requests_in_order(origin: Origin) -> None:
    origin.page("/slow", body="first", delay=0.05)
    origin.page("/quick", body="second", headers={"Cache-Control": None, "Set-Cookie": "a=1"})
    with socket.create_connection((origin.host, origin.port), timeout=5) as sock:
        sock.sendall(b"GET /slow HTTP/1.1\r\n\r\n")
        answer = exchange(sock, b"/quick")
    assert answer.index(b"first") < answer.index(b"second")
    assert b"Set-Cookie: a=1" in answer
    assert answer.count(b"Cache-Control: public, max-age=600") == 1
    assert origin.connections == 1


def test_origin_pages_can_be_made_from_the_request(origin: Origin) -> None:
    def by_language(request: Received) -> Page:
        return Page(
            request.headers.get("accept-language", "-"), headers={"Vary": "Accept-Language"}
        )

    origin.answer_with("/greeting", by_language)
    assert get(origin, "/greeting?x", b"Accept-Language: mi\r\n").endswith(b"\r\n\r\nmi")


def test_origin_head_and_post(origin: Origin) -> None:
    client = http.client.HTTPConnection(origin.host, origin.port, timeout=5)
    client.request("HEAD", "/")
    assert client.getresponse().read() == b""
    client.request("POST", "/form", body=b"a=1")
    assert client.getresponse().status == 200
    client.close()
    assert [(r.method, r.body) for r in origin.requests] == [("HEAD", b""), ("POST", b"a=1")]
    origin.reset()
    assert origin.count() == 0


def test_origin_closes_at_once_while_it_is_answering(origin: Origin) -> None:
    origin.page("/", delay=60)
    sock = socket.create_connection((origin.host, origin.port))
    sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
    assert wait_until(lambda: origin.in_flight == 1)
    begun = time.monotonic()
    origin.close()
    assert time.monotonic() - begun < 1
    assert origin.most_in_flight == 1
    sock.close()


# ---- nginx


def test_nginx_caches_by_scheme_host_and_target(
    nginx_node: Callable[..., Nginx], origin: Origin, authority: Authority
) -> None:
    node = nginx_node(tls=authority.certificate(NAME), unix_socket=True, access_log=True)
    assert header_of(get(node, "/%61?b"), "X-Cache-Status") == "MISS"
    assert header_of(get(node, "/%61?b"), "X-Cache-Status") == "HIT"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(node.socket_path))
        assert header_of(exchange(sock, b"/%61?b"), "X-Cache-Status") == "HIT"
    plain = socket.create_connection((node.host, node.tls_port))
    with client_context(authority).wrap_socket(plain, server_hostname=NAME) as sock:
        assert header_of(exchange(sock, b"/%61?b"), "X-Cache-Status") == "MISS"
    assert origin.targets() == [b"/%61?b"] * 2
    assert node.requests(at_least=4) == [b"GET /%61?b HTTP/1.1"] * 4
    assert node.log()[3].server_name == NAME.encode()


def test_nginx_honours_the_origin(nginx_node: Callable[..., Nginx], origin: Origin) -> None:
    node = nginx_node()
    origin.page("/private", headers={"Cache-Control": "private"})
    assert {header_of(get(node, "/private"), "X-Cache-Status") for _ in range(2)} == {"MISS"}


def test_nginx_nodes_have_their_own_address_cache_and_http2(
    nginx_node: Callable[..., Nginx], authority: Authority
) -> None:
    one, two = nginx_node(), nginx_node(tls=authority.certificate(NAME))
    assert (one.host, two.host) == ("127.0.0.2", "127.0.0.3")
    get(one)
    assert header_of(get(two), "X-Cache-Status") == "MISS"
    context = client_context(authority)
    context.set_alpn_protocols(["h2"])
    plain = socket.create_connection((two.host, two.tls_port))
    with context.wrap_socket(plain, server_hostname=NAME) as sock:
        assert sock.selected_alpn_protocol() == "h2"


def test_nginx_speaks_the_proxy_protocol(nginx_node: Callable[..., Nginx], origin: Origin) -> None:
    node = nginx_node(proxy_protocol=True)
    with socket.create_connection((node.host, node.port)) as sock:
        sock.sendall(b"PROXY TCP4 192.0.2.9 192.0.2.1 5000 80\r\n")
        assert status_of(exchange(sock, b"/")) == 200
    assert origin.requests[0].headers["x-proxy-protocol-addr"] == "192.0.2.9"


def test_nginx_asks_for_a_client_certificate(
    nginx_node: Callable[..., Nginx], authority: Authority
) -> None:
    node = nginx_node(tls=authority.certificate(NAME), client_ca=authority.ca_file)
    context = client_context(authority)
    statuses = []
    for known in (False, True):
        if known:
            context.load_cert_chain(*authority.client())
        plain = socket.create_connection((node.host, node.tls_port))
        with context.wrap_socket(plain, server_hostname=NAME) as sock:
            statuses.append(status_of(exchange(sock, b"/")))
    assert statuses == [400, 200]


def test_nginx_can_be_stopped_started_paused_and_killed(nginx_node: Callable[..., Nginx]) -> None:
    node = nginx_node()
    address, directory = node.address, node.data_dir
    get(node)
    node.stop()
    assert not directory.exists()
    with pytest.raises(ConnectionRefusedError):
        get(node)
    node.start()
    assert node.address == address
    assert header_of(get(node), "X-Cache-Status") == "MISS"
    node.pause()
    sock = socket.create_connection((node.host, node.port), timeout=0.1)
    with sock, pytest.raises(TimeoutError):
        exchange(sock, b"/")
    node.resume()
    assert header_of(get(node), "X-Cache-Status") == "HIT"
    node.kill()
    with pytest.raises(ConnectionRefusedError):
        get(node)


def test_static_nginx_counts_on_many_addresses() -> None:
    hosts = [f"127.0.0.{number}" for number in range(20, 60)]
    with StaticNginx(hosts=hosts) as server:
        for host in hosts:
            with socket.create_connection((host, server.port)) as sock:
                answer = exchange(sock, b"/any/%20thing?x=1")
                assert len(answer.partition(b"\r\n\r\n")[2]) == 4096
        assert server.count() == len(hosts)
        assert server.count() == len(hosts)


# ---- Varnish


def test_varnish_tells_a_hit_by_two_ids(varnish_node: Callable[..., Varnish]) -> None:
    one, two = varnish_node(unix_socket=True), varnish_node(cli=True, vcl=ADDS_A_HEADER)
    assert len((header_of(get(one), "X-Varnish") or "").split()) == 1
    assert len((header_of(get(one), "X-Varnish") or "").split()) == 2
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(one.socket_path))
        assert len((header_of(exchange(sock, b"/"), "X-Varnish") or "").split()) == 2
    assert header_of(get(two), "X-Cache") == "MISS"
    assert header_of(get(two), "X-Cache") == "HIT"
    assert two.secret_file.exists()
    with socket.create_connection((two.host, two.cli_port)) as sock:
        assert sock.recv(100).startswith(b"107 ")


ADDS_A_HEADER = """
sub vcl_deliver { set resp.http.X-Cache = regsub(obj.hits > 0, "^true$", "HIT"); }
sub vcl_deliver { if (obj.hits == 0) { set resp.http.X-Cache = "MISS"; } }
"""


def test_varnish_is_ready_without_asking_the_origin(
    varnish_node: Callable[..., Varnish], origin: Origin
) -> None:
    node = varnish_node(proxy_protocol=True)
    assert origin.count() == 0
    with socket.create_connection((node.host, node.port)) as sock:
        sock.sendall(b"PROXY TCP4 192.0.2.9 192.0.2.1 5000 80\r\n")
        assert status_of(exchange(sock, b"/")) == 200
    assert origin.requests[0].headers["x-forwarded-for"].startswith("192.0.2.9")


# ---- faults


PATIENT = {
    "accept_silent",
    "big_body",
    "reset_mid_body",
    "slow_drip",
    "slow_header",
    "wrong_length",
}


def test_every_lie_by_its_path(lying_server: LyingServer) -> None:
    answers = {name: get(lying_server, f"/{name}") for name in BEHAVIOURS if name not in PATIENT}
    assert status_of(answers["ok"]) == 200
    assert answers["close_without_answer"] == b""
    assert answers["garbage"].startswith(b"SSH-")
    assert len(header_of(answers["huge_header"], "X-Huge") or "") == 1_000_000
    assert header_of(answers["redirect_loop"], "Location") == "/redirect_loop"
    assert header_of(answers["redirect_offsite"], "Location") == (
        "http://elsewhere.example/redirect_offsite"
    )
    assert (header_of(answers["redirect_login"], "Location") or "").startswith("/login")
    assert status_of(answers["storm_503"]) == 503
    assert status_of(answers["too_many_requests"]) == 429
    assert header_of(answers["too_many_requests"], "Retry-After") == "1"
    assert header_of(answers["wrong_encoding"], "Content-Encoding") == "gzip"
    assert answers["wrong_encoding"].partition(b"\r\n\r\n")[2].startswith(b"<!doctype")
    body = answers["truncated"].partition(b"\r\n\r\n")[2]
    assert len(body) == int(header_of(answers["truncated"], "Content-Length") or 0) - 1000
    bomb = answers["gzip_bomb"].partition(b"\r\n\r\n")[2]
    assert len(bomb) < 300_000
    assert len(zlib.decompress(bomb, 31)) == 200 << 20
    assert lying_server.count("/ok") == 1


def test_lies_that_need_a_patient_client(lying_server: LyingServer) -> None:
    def connect(target: bytes) -> socket.socket:
        sock = socket.create_connection((lying_server.host, lying_server.port), timeout=0.3)
        sock.sendall(b"GET " + target + b" HTTP/1.1\r\n\r\n")
        return sock

    with connect(b"/accept_silent") as sock, pytest.raises(TimeoutError):
        sock.recv(1)
    with connect(b"/slow_drip") as sock:
        assert sock.recv(1000).startswith(b"HTTP/1.1 200 ")
        # One byte each time on a quiet machine; a busy one lets a few arrive together.
        assert len(sock.recv(1000)) < 10
    with connect(b"/reset_mid_body") as sock, pytest.raises(ConnectionResetError):
        drain(sock)
    with connect(b"/wrong_length") as sock:
        head, _, body = sock.recv(65536).partition(b"\r\n\r\n")
        assert len(body) == int(header_of(head, "Content-Length") or 0) + 1000


def test_lies_told_by_number(lying_server: LyingServer) -> None:
    lying_server.lie("/busy", "too_many_requests", first=2, retry_after="3")
    lying_server.lie("/big", "big_body", megabytes=3)
    assert [status_of(get(lying_server, "/busy")) for _ in range(3)] == [429, 429, 200]
    assert len(get(lying_server, "/big").partition(b"\r\n\r\n")[2]) == 3 << 20
    assert lying_server.connections == 4


def test_a_storm_passes_when_the_load_falls(lying_server: LyingServer) -> None:
    lying_server.lie("/", "storm_503", first=0, limit=1, delay=0.2)
    slow = socket.create_connection((lying_server.host, lying_server.port), timeout=5)
    slow.sendall(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert wait_until(lambda: lying_server.in_flight == 1)
    assert status_of(get(lying_server)) == 503
    with slow:
        assert status_of(drain(slow)) == 200
    assert status_of(get(lying_server)) == 200


def test_ports_that_refuse_and_that_never_answer(lying_server: LyingServer) -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((lying_server.host, lying_server.refused_port()))
    with pytest.raises(TimeoutError):
        socket.create_connection((lying_server.host, lying_server.unanswered_port()), timeout=0.2)


# ---- certificates


@pytest.mark.parametrize(
    ("kind", "problem"),
    [("expired", "expired"), ("unknown", "unable to get"), ("other", "match|not valid")],
)
def test_certificates_are_refused_for_their_reason(
    authority: Authority, kind: str, problem: str
) -> None:
    issued = {
        "expired": lambda: authority.expired(NAME),
        "unknown": lambda: authority.unknown(NAME),
        "other": lambda: authority.certificate("other.example"),
    }[kind]()
    with Origin(tls=issued) as origin:
        plain = socket.create_connection((origin.host, origin.port))
        with plain, pytest.raises(ssl.SSLCertVerificationError, match=problem):
            client_context(authority).wrap_socket(plain, server_hostname=NAME)


def test_a_good_certificate_is_for_the_name_only(authority: Authority) -> None:
    context = client_context(authority)
    with Origin(tls=authority.certificate(NAME)) as origin:
        assert origin.url.startswith("https://")
        plain = socket.create_connection((origin.host, origin.port))
        with context.wrap_socket(plain, server_hostname=NAME) as sock:
            assert status_of(exchange(sock, b"/")) == 200
        plain = socket.create_connection((origin.host, origin.port))
        with plain, pytest.raises(ssl.SSLCertVerificationError):
            context.wrap_socket(plain, server_hostname=origin.host)


# ---- origins for `concurrency: auto`


@pytest.fixture
def sweep(request: pytest.FixtureRequest) -> Iterator[SweepOrigin]:
    kind: Kind = request.param
    with SweepOrigin(kind=kind, step_after_requests=100) as server:
        yield server


@pytest.mark.parametrize("sweep", KINDS, indirect=True)
def test_sweep_origins_keep_their_shape(sweep: SweepOrigin) -> None:
    sockets = [socket.create_connection((sweep.host, sweep.port), timeout=5) for _ in range(128)]
    begun = time.monotonic()
    for sock in sockets:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    statuses = [status_of(sock.recv(65536)) for sock in sockets]
    seconds = time.monotonic() - begun
    for sock in sockets:
        sock.close()

    shape = shape_of(sweep.kind)
    if shape.refuse_above is not None:
        assert statuses.count(503) == len(sockets) - shape.refuse_above
    else:
        assert set(statuses) == {200}
    # 128 requests take workers turns of 30 ms; the upper bound leaves room for a busy machine.
    turns = {"queue": 8, "step": 3}.get(sweep.kind, 1)
    assert turns * shape.fastest <= seconds < turns * shape.slowest + 1.0
    assert sweep.count() == 128
    assert sweep.stats()["answered"] == statuses.count(200)
    sweep.reset()
    assert sweep.count() == 0


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    before = threading.active_count()
    with Origin(), LyingServer():
        assert threading.active_count() == before + 2
    assert threading.active_count() == before
    with StaticNginx() as server:
        pid = server.pid
        assert (server.data_dir / "nginx.pid").read_text().strip() == str(pid)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not list(tmp_path.iterdir())
