"""Two nodes to deploy to by a real tool, with page caches in front of an origin."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.hooks.shop import Shop
from tests.servers.machine import Machine
from tests.servers.nginx import Nginx
from tests.servers.origin import Origin
from tests.servers.sshd import SshClient


@pytest.fixture
def pages(origin: Origin, nginx_node: Callable[..., Nginx]) -> dict[str, str]:
    """Where the page caches of two nodes are."""
    origin.page("/broken", status=500)
    return {name: nginx_node().address for name in ("web1", "web2")}


@pytest.fixture
def local_shop(tmp_path: Path, pages: dict[str, str]) -> Shop:
    """A shop whose nodes are warmed, but not logged in to."""
    return Shop(tmp_path, pages)


@pytest.fixture
def shop(tmp_path: Path, pages: dict[str, str], ssh_client: SshClient) -> Iterator[Shop]:
    """A shop whose nodes have sshd and a /srv of their own."""
    with contextlib.ExitStack() as stack:
        machines = {
            name: stack.enter_context(Machine(name=name, client=ssh_client)) for name in pages
        }
        yield Shop(tmp_path, pages, machines)
