"""The cluster: two web nodes with the shop behind one HAProxy, and the settings for cachekit."""

import shutil
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tests.cluster import application
from tests.cluster.node import WebNode
from tests.servers.haproxy import Haproxy
from tests.servers.process import wait_until
from tests.servers.sshd import SshClient

SETTINGS = Path(__file__).with_name("cachekit.yaml")
NAMES = ("web1", "web2")

# A node that is gone costs visitors a moment: what it did not answer is asked of the other one.
PATIENT = (
    "option redispatch 1",
    "retries 3",
    "retry-on conn-failure empty-response response-timeout",
)


@dataclass(kw_only=True, eq=False)
class Cluster:
    """Both nodes, up and warm with r1; `folder` holds what an administrator has."""

    products: int = application.PRODUCTS
    database_ms: int = 30
    folder: Path = field(init=False)
    nodes: tuple[WebNode, ...] = field(init=False)
    balancer: Haproxy = field(init=False)
    _stack: ExitStack = field(default_factory=ExitStack, init=False)

    def __getitem__(self, name: str) -> WebNode:
        return self.nodes[NAMES.index(name)]

    @property
    def environment(self) -> Mapping[str, str]:
        """What the settings take from the environment, and where ssh finds its configuration."""
        return {
            "CACHEKIT_SSH_CONFIG": str(self.folder / "ssh_config"),
            "SOCKETS": str(self.folder),
            "BALANCER": str(self.balancer.socket_path),
        }

    def settle_in(self, folder: Path) -> None:
        """Write the settings, the list of pages, and what memcached is primed with."""
        shutil.copy(SETTINGS, folder)
        lines = [*application.pages(self.products), *map(application.asset, application.RELEASES)]
        (folder / "pages.txt").write_text("".join(f"{line}\n" for line in lines))
        for release in ("r2", "r3"):
            records = application.records(release, self.products)
            (folder / f"objects-{release}.jsonl").write_text(records)

    def standing(self) -> dict[str, str]:
        """Tell what HAProxy says of each node."""
        return {name: row["status"] for name, row in self.balancer.rows().items() if name in NAMES}

    def renew(self) -> None:
        """Make all as it was in the beginning: r1 on both nodes, warm and in, nothing counted."""
        for node in self.nodes:
            node.switch("r1")
            node.empty()
        self.put_in()
        self.warm()
        for node in self.nodes:
            node.forget()

    def put_in(self) -> None:
        """Have HAProxy send visitors to both nodes."""
        for name in NAMES:
            self.balancer.tell(f"set server pages/{name} state ready")
        up = wait_until(lambda: set(self.standing().values()) == {"UP"}, 20.0)
        assert up, self.standing()

    def warm(self) -> None:
        """Ask both nodes for all pages of r1, as visitors have done for long."""
        urls = [*application.pages(self.products), application.asset("r1")]
        with ThreadPoolExecutor(8) as threads:
            answers = threads.map(
                lambda at: at[0].get(at[1]), [(n, u) for u in urls for n in self.nodes]
            )
            assert {page.status for page in answers} == {200}

    def __enter__(self) -> Self:
        # A short name: the paths of sockets in it must stay within 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="ck-"))
        self._stack.callback(shutil.rmtree, self.folder)
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def _start(self) -> None:
        client = SshClient(self.folder)
        self.nodes = tuple(
            WebNode(name=name, client=client, sockets=self.folder, database_ms=self.database_ms)
            for name in NAMES
        )
        for node in self.nodes:
            self._stack.enter_context(node)
        servers = {node.name: f"unix@{node.socket}" for node in self.nodes}
        balancer = Haproxy(servers=servers, check_path="/alive", lines=PATIENT)
        self.balancer = self._stack.enter_context(balancer)
        self.renew()
