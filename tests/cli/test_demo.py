"""`cachekit demo`: what it shows, that its site serves, and that it leaves nothing behind."""

import http.client
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.command import Cachekit
from tests.servers.process import free_port_on

HOSTS = ["127.0.0.2", "127.0.0.3"]
GUARD_SECONDS = 30


@pytest.fixture
def demo(cachekit: Cachekit, tmp_path: Path) -> Cachekit:
    """The command where all it writes is seen: in `tmp/` and `home/`."""
    for name, variable in (("tmp", "TMPDIR"), ("home", "HOME"), ("home", "XDG_STATE_HOME")):
        (tmp_path / name).mkdir(exist_ok=True)
        cachekit.environment[variable] = str(tmp_path / name)
    return cachekit


def left_behind(demo: Cachekit) -> list[Path]:
    return [path for path in demo.folder.rglob("*") if path.name not in {"tmp", "home"}]


@contextmanager
def kept(demo: Cachekit, port: int) -> Iterator[subprocess.Popen[str]]:
    """Start `demo --keep` and wait until it says that the site stays up."""
    process = demo.start("demo", "--keep", "--port", str(port))
    assert process.stdout is not None
    try:
        assert any(line.startswith("The site stays up") for line in process.stdout)
        yield process
    finally:
        process.kill()
        process.communicate(timeout=GUARD_SECONDS)


def get(port: int, target: str, *, host: str = "shop.example") -> tuple[int, str, str]:
    client = http.client.HTTPConnection(HOSTS[0], port, timeout=10)
    try:
        client.request("GET", target, headers={"Host": host})
        answer = client.getresponse()
        status = answer.headers.get("Cache-Status", "")
        return answer.status, status.partition("; ttl")[0], answer.read().decode()
    finally:
        client.close()


def test_shows_what_is_warm_and_what_is_wrong(demo: Cachekit) -> None:
    # A settings file that lies around is not the demo's.
    (demo.folder / "home" / "cachekit.yaml").write_text("nonsense: true\n")
    demo.environment["CACHEKIT_SETTINGS"] = str(demo.folder / "home" / "cachekit.yaml")

    result = demo.run("demo", timeout=GUARD_SECONDS)

    assert result.code == 0, result.stderr
    report = result.stdout
    assert "205 URLs x 2 nodes = 410 targets" in report
    assert "http://shop.example/broken on node1, fill pass: status-500" in report
    assert "http://shop.example/account on node2, fill pass: login-redirect" in report
    assert "sets a cookie" in report
    assert "e.g. http://shop.example/cart" in report
    assert "GO       min_hit: 99.51% (404 of 406 verified)" in report
    assert "would have exited 1" in report
    # Each page once per node, the sitemap once, and /cart once more on either node.
    assert "make 413 pages for 817 requests" in report
    assert "fill pass: 410 done" in result.stderr
    assert "demo --keep" in report
    assert left_behind(demo) == [demo.folder / "home" / "cachekit.yaml"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_keep_serves_until_told_to_end(demo: Cachekit, number: signal.Signals) -> None:
    port = free_port_on(HOSTS)
    with kept(demo, port) as process:
        assert get(port, "/about")[:2] == (200, "node1; fwd=uri-miss; stored")
        assert get(port, "/about")[:2] == (200, "node1; hit")
        assert get(port, "/cart")[:2] == (200, "node1; fwd=uri-miss")
        assert get(port, "/nowhere")[0] == 404
        assert get(port, "/", host=f"{HOSTS[0]}:{port}")[0] == 421
        assert "Sitemap: http://shop.example/sitemap.xml" in get(port, "/robots.txt")[2]

        process.send_signal(number)

        assert process.wait(GUARD_SECONDS) == 0
    assert not left_behind(demo)


def test_what_keep_tells_to_try_works(demo: Cachekit) -> None:
    port = free_port_on(HOSTS)
    options = ["--sitemap", "http://shop.example/sitemap.xml"]
    options += [word for host in HOSTS for word in ("--node", f"{host}:{port}")]
    good = ["--exclude", "/broken", "--exclude", "/account", "--min-hit", "95%"]
    with kept(demo, port):
        assert demo.warm(*options).code == 1
        result = demo.warm(*options, *good)
    assert result.code == 0, result.stdout
    assert result.stdout.startswith("GO ")


def test_stopped_in_mid_run_it_says_so_and_tidies_up(demo: Cachekit) -> None:
    process = demo.start("demo")
    assert process.stderr is not None
    assert "410 targets" in process.stderr.readline()  # The fill pass begins.

    process.send_signal(signal.SIGTERM)

    stdout, stderr = process.communicate(timeout=GUARD_SECONDS)
    assert process.returncode == 143, stderr
    assert "stopped by SIGTERM" in stdout
    assert not left_behind(demo)


def test_a_taken_port_is_named(demo: Cachekit) -> None:
    with socket.create_server((HOSTS[1], 0)) as other:
        port = other.getsockname()[1]
        result = demo.run("demo", "--keep", "--port", str(port))
    assert result.code == 2
    assert f"port {port}: Address already in use; choose another with --port" in result.stderr
