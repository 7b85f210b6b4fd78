"""Fixtures: a fresh origin, nodes and faults per test; each node has its own loopback address."""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cachekit.transports.ssh import close_masters
from tests.servers.loop_server import LoopServer
from tests.servers.lying import LyingServer
from tests.servers.nginx import Nginx
from tests.servers.origin import Origin
from tests.servers.process import ServerProcess
from tests.servers.sshd import SshClient, Sshd
from tests.servers.tls import Authority
from tests.servers.varnish import Varnish


@pytest.fixture(scope="session", autouse=True)
def no_server_outlives_the_run() -> Iterator[None]:
    """End what a test forgot, and say so."""
    yield
    forgotten = [*map(repr, ServerProcess.running), *map(repr, LoopServer.running)]
    for process in list(ServerProcess.running):
        process.stop()
    for server in list(LoopServer.running):
        server.close()
    assert not forgotten, f"left running: {forgotten}"


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as server:
        yield server


@pytest.fixture
def lying_server() -> Iterator[LyingServer]:
    with LyingServer() as server:
        yield server


@pytest.fixture
def node_hosts() -> Iterator[str]:
    """Addresses for nodes: 127.0.0.2, 127.0.0.3, …"""
    return (f"127.0.0.{number}" for number in itertools.count(2))


@pytest.fixture
def nginx_node(origin: Origin, node_hosts: Iterator[str]) -> Iterator[Callable[..., Nginx]]:
    """Start nginx nodes; all of `Nginx`'s parameters, `origin` and `host` chosen when not given."""
    with contextlib.ExitStack() as nodes:

        def start(**options: Any) -> Nginx:
            chosen = {"origin": origin.address} | options
            host = chosen.pop("host", None) or next(node_hosts)
            return nodes.enter_context(Nginx(host=host, **chosen))

        yield start


@pytest.fixture
def varnish_node(origin: Origin, node_hosts: Iterator[str]) -> Iterator[Callable[..., Varnish]]:
    """Start Varnish nodes; all of `Varnish`'s parameters, `origin` and `host` as with nginx."""
    with contextlib.ExitStack() as nodes:

        def start(**options: Any) -> Varnish:
            chosen = {"origin": origin.address} | options
            host = chosen.pop("host", None) or next(node_hosts)
            return nodes.enter_context(Varnish(host=host, **chosen))

        yield start


@pytest.fixture
def ssh_client(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SshClient]:
    """What may log in to every Sshd that is started for it; cachekit uses it too."""
    client = SshClient(tmp_path_factory.mktemp("ssh"))
    monkeypatch.setenv(*client.setting)
    yield client
    close_masters()


@pytest.fixture
def ssh_node(ssh_client: SshClient, node_hosts: Iterator[str]) -> Iterator[Callable[..., Sshd]]:
    """Start nodes with sshd; `Sshd`'s parameters, `name` and `host` chosen when not given."""
    with contextlib.ExitStack() as nodes:

        def start(**options: Any) -> Sshd:
            host = options.pop("host", None) or next(node_hosts)
            chosen = {"name": f"web{host.rpartition('.')[2]}"} | options
            return nodes.enter_context(Sshd(client=ssh_client, host=host, **chosen))

        yield start
