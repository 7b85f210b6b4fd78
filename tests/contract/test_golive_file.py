"""file keeps the contract of a go-live actor: on this machine, and on a node by ssh.

A visitor stands for what looks for the file: a health check that nginx answers from it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cachekit.caches.base import Conditions
from cachekit.golive.base import GoLive
from cachekit.golive.file import File
from cachekit.model import Node, parse_address
from cachekit.testing.golive import GoLiveContract, Rotation
from tests.servers.nginx import NginxProcess
from tests.servers.sshd import Sshd

pytestmark = pytest.mark.server


@dataclass(kw_only=True, eq=False)
class Ready(NginxProcess):
    """nginx that answers 200 where a file is there, else 404."""

    folder: Path

    def http(self) -> str:
        listen = self.listen_lines([self.address], [])
        return f"server {{ {listen} location / {{ root {self.folder}; }} }}"

    def is_there(self, name: str) -> bool:
        return b"release: r42" in self.ask(f"/{name}")


class FileContract(GoLiveContract):
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        # Each parent is to be entered by the worker of nginx.
        folder = tmp_path / "run"
        folder.mkdir()
        return folder

    @pytest.fixture
    def nodes(self) -> tuple[Node, Node]:
        raise NotImplementedError

    @pytest.fixture
    def stop(self) -> Callable[[], object]:
        raise NotImplementedError

    @pytest.fixture
    def rotation(
        self,
        folder: Path,
        nodes: tuple[Node, Node],
        stop: Callable[[], object],
        conditions: Conditions,
    ) -> Iterator[Rotation]:
        actor: GoLive = File(path=f"{folder}/{{node}}", noticed_within=0.0)
        with Ready(folder=folder) as ready:
            for node in nodes:
                actor.put_in(node, conditions)
            yield Rotation(
                actor=actor, nodes=nodes, reaches=lambda node: ready.is_there(node.name), stop=stop
            )


class TestFile(FileContract):
    @pytest.fixture
    def nodes(self) -> tuple[Node, Node]:
        first, second = (
            Node(name=name, address=parse_address("127.0.0.1")) for name in ("web1", "web2")
        )
        return first, second

    @pytest.fixture
    def stop(self, folder: Path) -> Callable[[], object]:
        return lambda: folder.rename(folder.with_name("gone"))


class TestFileBySsh(FileContract):
    @pytest.fixture
    def sshds(self, ssh_node: Callable[..., Sshd]) -> list[Sshd]:
        return [ssh_node(), ssh_node()]

    @pytest.fixture
    def nodes(self, sshds: list[Sshd]) -> tuple[Node, Node]:
        first, second = (
            Node(name=sshd.name, address=parse_address("192.0.2.1"), ssh=sshd.name)
            for sshd in sshds
        )
        return first, second

    @pytest.fixture
    def stop(self, sshds: list[Sshd], ssh_client: object) -> Callable[[], object]:
        from cachekit.transports.ssh import close_masters

        def stop() -> None:
            close_masters()
            for sshd in sshds:
                sshd.kill()

        return stop
