"""Sockets through ssh, to the servers that caches are made of."""

import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from cachekit.caches.memcache import Memcache
from cachekit.deadline import Deadline
from cachekit.errors import UnreachableError
from cachekit.model import Address, Node, parse_address
from cachekit.scope import Kind, Scope
from cachekit.transports.ssh import Ssh, close_masters
from cachekit.transports.ssh.dialled import DialledSocket
from cachekit.transports.ssh.masters import socket_folder
from tests.command import Cachekit
from tests.servers.memcached import Memcached
from tests.servers.nginx import StaticNginx
from tests.servers.process import free_port, wait_until
from tests.servers.sshd import SshClient, Sshd, processes_with
from tests.servers.tls import Authority
from tests.shelves import conditions

pytestmark = pytest.mark.server

StartNode = Callable[..., Sshd]

# Dials, says by which process, and is killed: it cannot tidy up.
DIALLER = """\
import sys, time
from cachekit.deadline import Deadline
from cachekit.model import parse_address
from cachekit.transports.ssh import Ssh
connection = Ssh("web", sys.argv[1]).dial(parse_address(sys.argv[2]), deadline=Deadline(60))
connection.sendall(b"version\\r\\n")
print(connection.recv(7).decode(), connection.pid, flush=True)
time.sleep(90)
"""


@dataclass(kw_only=True, eq=False)
class MemcachedAtPath(Memcached):
    """A memcached at a unix socket."""

    @property
    def path(self) -> Path:
        return self.data_dir / "memcached.sock"

    def argv(self) -> list[str]:
        return ["-u", "root", "-s", str(self.path)]

    def is_ready(self) -> bool:
        return self.path.is_socket()


@pytest.fixture(params=["port", "path"])
def address(request: pytest.FixtureRequest) -> Iterator[Address]:
    """Where a memcached listens on the node."""
    if request.param == "port":
        with Memcached() as server:
            yield parse_address(server.address)
    else:
        with MemcachedAtPath() as server:
            yield Address(unix_path=str(server.path))


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A temporary folder for another process, short enough for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="ck-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def unshared(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine where no control sockets can be made."""
    monkeypatch.setattr("cachekit.transports.ssh.transport.control_path", lambda _: None)


@contextmanager
def dialled(server: Sshd, address: Address) -> Iterator[DialledSocket]:
    ssh = Ssh(server.name, server.name)
    with closing(ssh.dial(address, deadline=Deadline(60))) as connection:
        assert isinstance(connection, DialledSocket)
        yield connection


def version(connection: DialledSocket) -> bytes:
    """Ask a memcached."""
    connection.sendall(b"version\r\n")
    answer = b""
    while not answer.endswith(b"\r\n"):
        answer += connection.recv(100)
    return answer[:7]


def is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_a_cache_behind_a_node(ssh_node: StartNode, address: Address, tmp_path: Path) -> None:
    server = ssh_node()
    node = Node(name="web", address=parse_address("10.0.0.11"), ssh=server.name)
    cache = Memcache(servers=(address,), via="web")
    (place,) = cache.places({"web": node})
    with dialled(server, address) as connection:
        keys = [b"shop:%d" % number for number in range(3000)]
        connection.sendall(b"".join(b"set %b 0 0 1 noreply\r\nx\r\n" % key for key in keys))
        assert version(connection) == b"VERSION"
    scope = Scope(Kind.PREFIX, ("shop:",))
    change = cache.clear(place, scope, conditions(tmp_path / "state"))
    assert (change.removed, change.left) == (3000, 0)


def test_closing_ends_it_at_once_and_nothing_is_left(ssh_node: StartNode, address: Address) -> None:
    server, folder = ssh_node(), socket_folder()
    assert folder is not None
    with dialled(server, address) as connection:
        assert version(connection) == b"VERSION"
        assert is_there(connection.pid)
        assert not list(folder.glob("dial-*"))
    assert not is_there(connection.pid)
    close_masters()
    assert not folder.exists()
    assert wait_until(lambda: not processes_with(str(folder)))


def test_nothing_is_left_of_first_calls_side_by_side(
    ssh_node: StartNode, ssh_client: SshClient
) -> None:
    # Only one of them can open the connection that all share.
    with Memcached() as memcached:
        address = parse_address(memcached.address)
        for server in [ssh_node(), ssh_node(), ssh_node()]:
            ssh = Ssh("web", server.name)

            def ask(server: Sshd = server) -> None:
                with dialled(server, address) as connection:
                    assert version(connection) == b"VERSION"

            def run(ssh: Ssh = ssh) -> None:
                assert ssh.run(["true"], deadline=Deadline(60)).status == 0

            with ThreadPoolExecutor(6) as pool:
                for call in [pool.submit(each) for each in (ask, run) * 3]:
                    call.result()
    close_masters()
    assert wait_until(lambda: not processes_with(str(ssh_client.config)))


def test_an_account_that_may_forward_only(ssh_node: StartNode) -> None:
    with Memcached() as memcached:
        options = f'restrict,port-forwarding,permitopen="{memcached.address}",command="/bin/false"'
        with dialled(ssh_node(key_options=options), parse_address(memcached.address)) as connection:
            assert version(connection) == b"VERSION"


def test_a_socket_that_nobody_closed(ssh_node: StartNode, address: Address) -> None:
    server = ssh_node()
    connection = Ssh("web", server.name).dial(address, deadline=Deadline(60))
    assert isinstance(connection, DialledSocket)
    pid = connection.pid
    with pytest.warns(ResourceWarning, match="unclosed"):
        del connection
    assert not is_there(pid)


@pytest.mark.usefixtures("unshared")
def test_refused_with_its_cause(ssh_node: StartNode) -> None:
    port = free_port()
    with (
        dialled(ssh_node(), Address("127.0.0.1", port)) as connection,
        pytest.raises(UnreachableError, match=f"127.0.0.1:{port}: Connection refused; is it run"),
    ):
        connection.recv(1)


def test_forbidden_by_sshd(ssh_node: StartNode, address: Address) -> None:
    server = ssh_node(directives=("AllowTcpForwarding no", "AllowStreamLocalForwarding no"))
    with (
        dialled(server, address) as connection,
        pytest.raises(UnreachableError, match="AllowTcpForwarding, AllowStreamLocalForwarding"),
    ):
        connection.recv_into(bytearray(10))


def test_no_login(ssh_node: StartNode, address: Address) -> None:
    server = ssh_node(known=False)
    with (
        pytest.raises(UnreachableError, match=r"No .* host key is known"),
        dialled(server, address),
    ):
        pass


@pytest.mark.usefixtures("unshared")
def test_no_login_without_a_shared_connection(ssh_node: StartNode) -> None:
    server = ssh_node(authorized=False)
    with (
        dialled(server, Address("127.0.0.1", free_port())) as connection,
        pytest.raises(UnreachableError, match=r"Permission denied \(publickey\)"),
    ):
        connection.recv(1)


def test_ssh_is_killed_while_dialled(ssh_node: StartNode, address: Address) -> None:
    with dialled(ssh_node(), address) as connection:
        assert version(connection) == b"VERSION"
        os.kill(connection.pid, signal.SIGKILL)
        with pytest.raises(UnreachableError, match=f"node web2: {address}: ssh was ended by sig"):
            connection.recv(1)


@pytest.mark.usefixtures("unshared")
def test_the_node_is_lost_while_dialled(ssh_node: StartNode, address: Address) -> None:
    server = ssh_node()
    with dialled(server, address) as connection:
        assert version(connection) == b"VERSION"
        server.kill_sessions()
        with pytest.raises(UnreachableError, match=r"node web2: .*closed by remote host"):
            connection.recv(1)


def test_a_link_that_hangs(ssh_node: StartNode, address: Address) -> None:
    server = ssh_node()
    with dialled(server, address) as connection:
        assert version(connection) == b"VERSION"
        sessions = server.sessions()
        for pid in sessions:
            os.kill(pid, signal.SIGSTOP)
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            version(connection)
    assert not is_there(connection.pid)


@pytest.mark.parametrize("closed", ["both", "the outer one"])
def test_tls_takes_the_socket_over(ssh_node: StartNode, authority: Authority, closed: str) -> None:
    context = ssl.create_default_context(cafile=str(authority.ca_file))
    with StaticNginx(tls=authority.certificate("shop.example"), http2=False) as nginx:
        address = parse_address(nginx.tls_address)
        plain = Ssh("web", ssh_node().name).dial(address, deadline=Deadline(60))
        assert isinstance(plain, DialledSocket)
        pid, close_plain = plain.pid, plain.close if closed == "both" else None
        with context.wrap_socket(plain, server_hostname="shop.example") as connection:
            del plain
            connection.sendall(b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n")
            assert connection.recv(15) == b"HTTP/1.1 200 OK"
            assert is_there(pid)
        if close_plain:
            close_plain()
            assert not is_there(pid)
        assert wait_until(lambda: not is_there(pid), 20)


@pytest.mark.parametrize("path", ["/run/a:b.sock", "/run/%h.sock", "/run/${HOME}.sock", "/run/a b"])
def test_a_path_that_means_something_to_ssh(ssh_node: StartNode, path: str) -> None:
    with (
        pytest.raises(UnreachableError, match="cannot be forwarded"),
        dialled(ssh_node(), Address(unix_path=path)),
    ):
        pass


def test_what_is_set_for_the_terminal_does_no_harm(ssh_node: StartNode, address: Address) -> None:
    with Memcached() as taken:
        forwarding = f"LocalForward {taken.port} {taken.address}"
        lines = (
            forwarding,
            "ExitOnForwardFailure yes",
            "ClearAllForwardings yes",
            "LogLevel QUIET",
        )
        with dialled(ssh_node(client_lines=lines), address) as connection:
            assert version(connection) == b"VERSION"


def test_ssh_ends_when_cachekit_is_killed(
    ssh_node: StartNode, address: Address, short_folder: Path
) -> None:
    argv = [sys.executable, "-c", DIALLER, ssh_node().name, str(address)]
    environment = {**os.environ, "TMPDIR": str(short_folder)}
    with subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, text=True) as dialler:
        assert dialler.stdout is not None
        said, pid = dialler.stdout.readline().split()
        dialler.kill()
    assert said == "VERSION"
    assert wait_until(lambda: not is_there(int(pid)), 20)


@pytest.mark.end_to_end
def test_the_command_shows_two_nodes_and_leaves_nothing(
    ssh_node: StartNode, ssh_client: SshClient, cachekit: Cachekit, short_folder: Path
) -> None:
    up, down = ssh_node(), ssh_node()
    down.kill()
    with Memcached() as server:
        settings = {
            "site": "http://shop.example",
            "nodes": {each.name: {"address": "10.0.0.11", "ssh": each.name} for each in (up, down)},
            "caches": {
                f"on-{each.name}": {
                    "type": "memcache",
                    "servers": [server.address],
                    "via": each.name,
                }
                for each in (up, down)
            },
        }
        (cachekit.folder / "cachekit.yaml").write_text(json.dumps(settings))
        cachekit.environment |= dict([ssh_client.setting]) | {"TMPDIR": str(short_folder)}
        done = cachekit.run("status", "--format", "json")
    assert done.code == 1, done.stderr
    steps = {step["cache"]: step for step in done.report["steps"]}
    assert steps[f"on-{up.name}"]["outcome"] == "done"
    assert "Connection refused; is sshd running" in steps[f"on-{down.name}"]["reason"]
    assert not list(short_folder.iterdir())
    assert wait_until(lambda: not processes_with(str(ssh_client.config)))
    assert wait_until(lambda: not processes_with(str(short_folder)))
