"""Bans and purges beside the usual way: one after the other, on connections that are kept."""

import http.client
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from statistics import median

from cachekit.caches.base import Conditions, Place
from cachekit.caches.varnish import Varnish
from cachekit.caches.varnish.clearing import command, put_bans
from cachekit.caches.varnish.port import ManagementPort
from cachekit.deadline import Deadline
from cachekit.model import Node, Site, parse_address
from cachekit.replay import Batch, Manner, Request, Terms, replay, route_to
from cachekit.scope import Kind, Scope
from cachekit.transports.ssh import close_masters
from tests.benchmarks.harness import Bar, Bench, at_least, print_table
from tests.servers.sshd import SshClient, Sshd
from tests.servers.varnish import Varnish as Server
from tests.servers.varnish import clearable

TITLE = "bans/s and purges/s beside one at a time on kept connections"

BANS = 2_000
URLS, NODES = 10_000, 4
SITE = "http://shop.example"
# Pages come from Varnish itself, so that no origin shares the machine.
VCL = (
    "vcl 4.1;\nbackend default none;\n"
    + clearable()
    + "sub vcl_backend_error { set beresp.status = 200; set beresp.ttl = 1h; return (deliver); }\n"
)
# Of single bans on loopback there is none: Varnish itself, whose manager and child pass each of
# them to and fro, takes as long as the asking.
BARS = {"bans through SSH": 1.3, "URLs as bans": 1.3, "purges": 4.0}


def measure(bench: Bench) -> list[Bar]:
    """Do the same both ways, round after round; compare the medians of the rates."""
    jobs = {
        "bans": _bans,
        "bans through SSH": lambda: _bans_through_ssh(bench.new_path("-ssh")),
        "URLs as bans": _urls_as_bans,
        "purges": _purges,
    }
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in jobs}
    for _ in range(bench.rounds):
        for name, job in jobs.items():
            rates[name].append(job())
    found = {name: tuple(map(median, zip(*pairs, strict=True))) for name, pairs in rates.items()}
    print_table(
        ("", "cachekit", "one at a time", "ratio"),
        [
            (name, f"{ours:,.0f}", f"{loop:,.0f}", f"{ours / loop:.1f}")
            for name, (ours, loop) in found.items()
        ],
    )
    return [
        at_least(f"varnish: {name} / one at a time", found[name][0] / found[name][1], bar)
        for name, bar in BARS.items()
    ]


def _rate(count: int, act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return count / (time.perf_counter() - began)


def _bans() -> tuple[float, float]:
    """Put up the same number of bans, pipelined and awaited one by one."""
    with Server(origin="", vcl=VCL, cli=True) as server:
        place = _place(server)
        loop = _ban_one_by_one(server, place)
        return _ban_in_a_row(server, place), loop


def _bans_through_ssh(folder: Path) -> tuple[float, float]:
    """Do so where the management port is the node's own, as it mostly is."""
    folder.mkdir()
    client = SshClient(folder)
    os.environ.update([client.setting])
    with (
        Server(origin="", vcl=VCL, cli=True) as server,
        Sshd(client=client, name="edge") as sshd,
    ):
        node = Node(name="edge", address=parse_address("192.0.2.1"), ssh=sshd.name)
        place = Place(name="edge", node=node)
        try:
            loop = _ban_one_by_one(server, place)
            return _ban_in_a_row(server, place), loop
        finally:
            close_masters()


def _urls_as_bans() -> tuple[float, float]:
    """Ban many URLs as `clear` does, many in each ban, and each by a ban of its own."""
    with Server(origin="", vcl=VCL, cli=True) as server:
        place, port = _place(server), _port(server)
        loop = _ban_one_by_one(server, place)
        cache = Varnish(
            on=("edge",), cli=port.address, secret_file=port.secret_file, secret_here=True
        )
        pages = tuple(f"/catalogue/page-{number:05}.html" for number in range(BANS))
        scope = Scope(Kind.URL, pages)
        return _rate(BANS, lambda: cache.clear(place, scope, _conditions())), loop


def _ban_one_by_one(server: Server, place: Place) -> float:
    with closing(_port(server).open(place, Deadline(600))) as cli:

        def loop() -> None:
            for number in range(BANS):
                assert cli.ask(command(f"obj.http.x-url == /loop/{number}")).status == 200

        rate = _rate(BANS, loop)
    # The list is empty again: each new ban is compared with those before it.
    server.adm("stop")
    server.adm("start")
    return rate


def _ban_in_a_row(server: Server, place: Place) -> float:
    bans = [f"obj.http.x-url == /page/{number}" for number in range(BANS)]
    with closing(_port(server).open(place, Deadline(600))) as cli:
        return _rate(BANS, lambda: put_bans(cli, bans))


def _port(server: Server) -> ManagementPort:
    return ManagementPort(
        address=parse_address(server.cli_address), secret_file=server.secret_file, secret_here=True
    )


def _conditions() -> Conditions:
    return Conditions(deadline=Deadline(600), state_dir=Path("/nonexistent"), site=SITE)


def _purges() -> tuple[float, float]:
    """Purge pages that are there from all nodes: side by side, and node after node."""
    pages = [f"/catalogue/page-{number:05}.html" for number in range(URLS)]
    with _nodes() as servers:
        places = [_place(server) for server in servers]
        cache = Varnish(on=tuple(place.name for place in places))
        conditions = _conditions()
        scope = Scope(Kind.URL, tuple(pages))

        def clear(place: Place) -> None:
            assert cache.clear(place, scope, conditions).removed == URLS

        def ours() -> None:
            with ThreadPoolExecutor(NODES) as pool:
                list(pool.map(clear, places))

        def loop() -> None:
            for server in servers:
                _purge_one_by_one(server, pages)

        rates = []
        for way in (ours, loop):
            for place in places:
                _fill(place, pages)
            rates.append(_rate(URLS * NODES, way))
        return rates[0], rates[1]


@contextmanager
def _nodes() -> Iterator[Sequence[Server]]:
    with ExitStack() as stack:
        yield [
            stack.enter_context(Server(origin="", host=f"127.0.0.{2 + number}", vcl=VCL))
            for number in range(NODES)
        ]


def _place(server: Server) -> Place:
    return Place(
        name=server.host, node=Node(name=server.host, address=parse_address(server.address))
    )


def _fill(place: Place, pages: Sequence[str]) -> None:
    assert place.node is not None
    manner = Manner(route_to(place.node, Site(SITE)))
    requests = [Request(f"{SITE}{page}".encode(), manner) for page in pages]
    for response in replay(Batch(requests), terms=Terms()):
        assert response.status == 200


def _purge_one_by_one(server: Server, pages: Sequence[str]) -> None:
    headers = {"Host": "shop.example", "x-cachekit-purge": "hard"}
    with closing(http.client.HTTPConnection(server.host, server.port)) as client:
        for page in pages:
            client.request("PURGE", page, headers=headers)
            answer = client.getresponse()
            answer.read()
            assert answer.getheader("x-cachekit") == "purged 1"
