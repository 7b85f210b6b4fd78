"""redis as applications use it: one server, or a cluster of three primaries."""

import socket
import threading
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import hiredis
import redis

from tests.servers.process import ServerFailedError, ServerProcess, free_port, wait_until
from tests.servers.tls import Certificate

SLOTS = 16384


@dataclass(kw_only=True, eq=False)
class RedisServer(ServerProcess):
    """One redis that keeps everything in memory, or what `arguments` say."""

    program: ClassVar[str] = "redis-server"

    arguments: tuple[str, ...] = ()
    password: str = ""
    tls: Certificate | None = None
    unix: bool = False

    def argv(self) -> list[str]:
        plain = ["--port", "0"] if self.tls else ["--port", str(self.port)]
        socket = ["--unixsocket", self.unix_path] if self.unix else []
        password = ["--requirepass", self.password] if self.password else []
        common = ["--bind", self.host, "--save", "", "--appendonly", "no"]
        common += ["--repl-diskless-sync-delay", "0"]
        return [*plain, *common, *self._tls(), *socket, *password, *self.arguments]

    def _tls(self) -> list[str]:
        if self.tls is None:
            return []
        cert = ["--tls-cert-file", str(self.tls.cert_file)]
        key = ["--tls-key-file", str(self.tls.key_file)]
        return ["--tls-port", str(self.port), *cert, *key, "--tls-auth-clients", "no"]

    @property
    def unix_path(self) -> str:
        """Where its unix socket lies."""
        return str(self.data_dir / "redis.sock")

    def is_ready(self) -> bool:
        if self.tls is not None:
            return super().is_ready()
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False

    def client(self, **options: Any) -> redis.Redis:
        """An ordinary client."""
        secret = {"password": self.password} if self.password else {}
        return redis.Redis(host=self.host, port=self.port, **{**secret, **options})

    def put(self, names: Iterable[str], value: bytes = b"x") -> None:
        """Store the same value under many names."""
        with self.client() as client:
            client.mset({name.encode("utf-8", "surrogateescape"): value for name in names})

    def names(self, db: int = 0) -> set[str]:
        """Tell all keys that are there."""
        with self.client(db=db) as client:
            return {key.decode("utf-8", "surrogateescape") for key in client.scan_iter()}


@dataclass(kw_only=True, eq=False)
class RedisNode(RedisServer):
    """One node of a cluster; its peers talk to it on the `bus_port`."""

    bus_port: int = field(default_factory=free_port)

    def argv(self) -> list[str]:
        enabled = ["--cluster-enabled", "yes", "--cluster-port", str(self.bus_port)]
        # Busy machines are slow to answer: only a dead node is to be given up.
        return [*super().argv(), *enabled, "--cluster-node-timeout", "5000"]


@dataclass(eq=False)
class RedisCluster:
    """Three primaries that hold a third of the slots each, and `replicas` of the first."""

    replicas: int = 0
    nodes: list[RedisNode] = field(default_factory=list)
    _stack: ExitStack = field(default_factory=ExitStack, repr=False)

    def __enter__(self) -> Self:
        try:
            for _ in range(3 + self.replicas):
                self.nodes.append(self._stack.enter_context(RedisNode()))
            self._join()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def _join(self) -> None:
        primaries = self.nodes[:3]
        for number, node in enumerate(primaries):
            first, last = SLOTS * number // 3, SLOTS * (number + 1) // 3 - 1
            self.tell(node, "CLUSTER", "ADDSLOTSRANGE", first, last)
        for epoch, node in enumerate(self.nodes, 1):
            # Told apart before they meet, or two nodes with one epoch take seconds to settle.
            self.tell(node, "CLUSTER", "SET-CONFIG-EPOCH", epoch)
        host, *others = self.nodes
        for node in others:
            self.tell(node, "CLUSTER", "MEET", host.host, host.port, host.bus_port)
        if not wait_until(self._is_settled, 20):
            raise ServerFailedError("the cluster did not settle")
        for node in self.nodes[3:]:
            self._follow(node, primaries[0])

    def _is_settled(self) -> bool:
        known = f"cluster_known_nodes:{len(self.nodes)}".encode()
        states = [self.tell(node, "CLUSTER", "INFO") for node in self.nodes]
        return all(b"cluster_state:ok" in state and known in state for state in states)

    def _follow(self, node: RedisNode, primary: RedisNode) -> None:
        self.tell(node, "CLUSTER", "REPLICATE", self.tell(primary, "CLUSTER", "MYID").decode())

        def follows() -> bool:
            return b"master_link_status:up" in self.tell(node, "INFO", "replication")

        if not wait_until(follows, 20):
            raise ServerFailedError("the replica did not follow")

    def tell(self, node: RedisServer, *command: str | int) -> bytes:
        """Send one command to one node."""
        with node.client(protocol=2) as client:
            client.response_callbacks.clear()
            return client.execute_command(*command)  # type: ignore[no-any-return]

    def client(self) -> redis.RedisCluster:
        """An ordinary client of the whole cluster."""
        return redis.RedisCluster(host=self.nodes[0].host, port=self.nodes[0].port)

    @property
    def addresses(self) -> list[str]:
        """Where its nodes listen."""
        return [node.address for node in self.nodes]


class RedisProxy:
    """Passes commands on to a redis, one by one, and its replies back as `changed`."""

    def __init__(self, behind: RedisServer, changed: Callable[[list[bytes], bytes], bytes]) -> None:
        self._behind = behind
        self._changed = changed
        self._listener = socket.create_server(("127.0.0.1", free_port()))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *exc: object) -> None:
        # Shut down as well: closing alone does not wake who waits in accept().
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._serve, args=(client,)))
            self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        reader = hiredis.Reader(notEnoughData=self)
        with client, socket.create_connection((self._behind.host, self._behind.port)) as server:
            while data := client.recv(65536):
                reader.feed(data)
                while (command := reader.gets()) is not self:
                    server.sendall(hiredis.pack_command(tuple(command)))
                    client.sendall(self._changed(command, self._reply(server)))

    def _reply(self, server: socket.socket) -> bytes:
        reader, reply = hiredis.Reader(notEnoughData=self), b""
        while reader.gets() is self:
            part = server.recv(65536)
            reader.feed(part)
            reply += part
        return reply
