"""The whole of the demo's site: a shop behind two caching nodes, and settings to warm it by."""

import errno
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread

from cachekit.demo.node import CachingNode
from cachekit.demo.shop import SITE, Shop
from cachekit.errors import ConfigError

FIRST_PORT = 8088
_PORTS_TRIED = 100
_SETTINGS = """\
site: {site}
nodes:
  node1: {node1}
  node2: {node2}
warmlists:
  all: {{sitemap: {site}/sitemap.xml}}
warm:
  order: priority
  gate: {{min_ok: 100%, min_hit: 95%}}
state_dir: state
"""


@dataclass(frozen=True, slots=True)
class DemoSite:
    """The site while it is up; `folder` holds its settings and the state of its runs."""

    shop: Shop
    nodes: tuple[CachingNode, ...]
    folder: Path

    @property
    def settings(self) -> str:
        """The text of the settings file."""
        return _SETTINGS.format(site=SITE, **{node.name: node.address for node in self.nodes})

    @property
    def settings_file(self) -> Path:
        """Where the settings are."""
        return self.folder / "cachekit.yaml"

    @property
    def asked(self) -> int:
        """How many requests the nodes have got."""
        return sum(node.asked for node in self.nodes)

    def forget(self) -> None:
        """Make the nodes cold again."""
        for node in self.nodes:
            node.forget()


@contextmanager
def open_site(port: int | None) -> Iterator[DemoSite]:
    """Put the site up on this port of both nodes, or on the first free one; later leave no trace.

    Raises ConfigError when the port is taken.
    """
    with ExitStack() as opened:
        shop = Shop()
        nodes = _listening(shop, port)
        for node in nodes:
            opened.enter_context(node)
            Thread(target=node.serve_forever, args=(0.05,), name=node.name, daemon=True).start()
            opened.callback(node.shutdown)
        folder = opened.enter_context(TemporaryDirectory(prefix="cachekit-demo-"))
        site = DemoSite(shop, nodes, Path(folder))
        site.settings_file.write_text(site.settings, encoding="utf-8")
        yield site


def _listening(shop: Shop, port: int | None) -> tuple[CachingNode, ...]:
    ports = [port] if port else range(FIRST_PORT, FIRST_PORT + _PORTS_TRIED)
    problem = ""
    for number in ports:
        try:
            return _on_port(shop, number)
        except OSError as error:
            problem = problem or f"port {number}: {error.strerror}"
    raise ConfigError(f"the demo cannot listen on {problem}; choose another with --port")


def _on_port(shop: Shop, port: int) -> tuple[CachingNode, ...]:
    """Listen on 127.0.0.2 and 127.0.0.3; where only 127.0.0.1 is known (macOS), on two ports."""
    try:
        return _pair(shop, ("127.0.0.2", port), ("127.0.0.3", port))
    except OSError as error:
        if error.errno != errno.EADDRNOTAVAIL:
            raise
    return _pair(shop, ("127.0.0.1", port), ("127.0.0.1", port + 1))


def _pair(shop: Shop, *places: tuple[str, int]) -> tuple[CachingNode, ...]:
    with ExitStack() as opened:
        nodes = tuple(
            opened.enter_context(CachingNode(f"node{number}", host, port, shop))
            for number, (host, port) in enumerate(places, start=1)
        )
        opened.pop_all()
        return nodes
