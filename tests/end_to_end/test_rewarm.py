"""Scheduled warms: only what expires is fetched again, and a maintenance page is never warmed."""

import json
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from email.utils import formatdate
from http.client import HTTPConnection
from pathlib import Path
from threading import Timer
from typing import Any

import pytest
import yaml

from cachekit.caches.varnish import Varnish as VarnishCache
from cachekit.lock import locked
from cachekit.model import Node, Site, parse_address
from cachekit.renewal import Lifetimes, renewed
from cachekit.replay import place_of
from cachekit.settings import Settings, WarmList
from cachekit.sources.url_list import Urls
from cachekit.warming.plan import plan_warm
from cachekit.warming.stop import Stop
from cachekit.warming.warmer import run_warm
from tests.command import Cachekit, Finished
from tests.servers.loop_server import Received
from tests.servers.nginx import Nginx
from tests.servers.origin import Origin, Page
from tests.servers.varnish import Varnish, Visitor, clearable

pytestmark = [pytest.mark.server, pytest.mark.end_to_end]

SITE = "http://shop.example"
FRESH = [f"/fresh/{number}" for number in range(4)]
DUE = [f"/due/{number}" for number in range(3)]
LIFETIME = 7200


def write_settings(cachekit: Cachekit, **settings: Any) -> Path:
    path = cachekit.folder / "cachekit.yaml"
    path.write_text(yaml.safe_dump({"site": SITE, **settings}))
    return path


def lists_of(*paths: str) -> dict[str, Any]:
    return {"all": {"urls": list(paths)}}


def renew(cachekit: Cachekit, *more: str) -> Finished:
    return cachekit.warm("--expiring-within", "1h", "--format", "json", *more)


def renewal(done: Finished) -> dict[str, Any]:
    found: dict[str, Any] = done.report["renewal"]
    return {key: found[key] for key in ("fresh", "expiring", "unknown", "missing", "renewed")}


def counts(origin: Origin, paths: Sequence[str]) -> list[int]:
    return [origin.count(path) for path in paths]


def grown_old(origin: Origin, paths: Sequence[str], age: int) -> None:
    """Let pages be old when they are fetched the first time, and new from then on."""
    asked: set[bytes] = set()

    def page(request: Received) -> Page:
        first = request.target not in asked
        asked.add(request.target)
        headers = {"Cache-Control": f"max-age={LIFETIME}", "Age": str(age) if first else None}
        return Page("page", headers=headers)

    for path in paths:
        origin.answer_with(path, page)


def aged_varnish(origin: Origin, varnish_node: Callable[..., Varnish]) -> Varnish:
    """A node whose fresh pages are 100 s old, and the others so old that they expire in an hour."""
    grown_old(origin, FRESH, 100)
    grown_old(origin, DUE, LIFETIME - 1800)
    return varnish_node(vcl=clearable())


def test_varnish_fetches_only_what_expires_before_the_next_run(
    cachekit: Cachekit, origin: Origin, varnish_node: Callable[..., Varnish]
) -> None:
    nodes = {f"web{n}": aged_varnish(origin, varnish_node).address for n in (1, 2)}
    write_settings(
        cachekit,
        nodes=nodes,
        caches={"pages": {"type": "varnish", "on": list(nodes)}},
        warmlists=lists_of(*FRESH, *DUE),
    )
    # What web1 gets is old; to web2 all come young, as the origin has been asked before.
    for name in nodes:
        first = renew(cachekit, "--node", name)
        assert first.code == 0, first.stderr
        assert renewal(first)["missing"] == 7
    assert set(counts(origin, FRESH + DUE)) == {2}

    second = renew(cachekit)
    assert second.code == 0, second.stderr
    assert renewal(second) == {
        "fresh": 11,
        "expiring": 3,
        "unknown": 0,
        "missing": 0,
        "renewed": 3,
    }
    assert second.report["renewal"]["problems"] == []
    assert counts(origin, FRESH) == [2] * 4, "what is fresh is not asked for"
    assert counts(origin, DUE) == [3] * 3
    assert min(ages(nodes["web1"], FRESH)) >= 100, "what is fresh is as old as it was"
    assert max(ages(nodes["web1"], DUE)) < 100

    assert renewal(renew(cachekit))["fresh"] == 14
    assert sum(counts(origin, FRESH + DUE)) == 17
    assert "14 fresh for more than 1 h 00 min, left alone" in (
        cachekit.warm("--expiring-within", "1h").stdout
    )


def ages(address: str, paths: Sequence[str]) -> list[int]:
    """See the pages as visitors do."""
    found = []
    with closing(HTTPConnection(address)) as connection:
        for path in paths:
            connection.request("GET", path, headers={"Host": "shop.example"})
            response = connection.getresponse()
            response.read()
            found.append(int(response.headers["Age"]))
    return found


def test_nginx_tells_it_by_the_date_of_expiry(
    cachekit: Cachekit, origin: Origin, nginx_node: Callable[..., Nginx]
) -> None:
    lasting = dict.fromkeys(FRESH, LIFETIME) | dict.fromkeys(DUE, 1800)

    def page(request: Received) -> Page:
        until = time.time() + lasting[request.target.decode()]
        return Page(
            "page", headers={"Expires": formatdate(until, usegmt=True), "Cache-Control": None}
        )

    for path in lasting:
        origin.answer_with(path, page)
    node = nginx_node()
    write_settings(
        cachekit,
        nodes={"web1": node.address},
        caches={
            "pages": {
                "type": "files",
                "on": "web1",
                "path": str(node.cache_dir),
                "adopt": True,
                "format": "nginx",
                "key": "{scheme}://{host}{uri}",
            }
        },
        warmlists=lists_of(*lasting),
    )
    assert renewal(renew(cachekit))["missing"] == 7
    lasting |= dict.fromkeys(DUE, LIFETIME)
    second = renew(cachekit)
    assert second.code == 0, second.stderr
    assert renewal(second) == {
        "fresh": 4,
        "expiring": 3,
        "unknown": 0,
        "missing": 0,
        "renewed": 3,
    }
    assert counts(origin, FRESH) == [1] * 4
    assert counts(origin, DUE) == [2] * 3
    assert renewal(renew(cachekit))["fresh"] == 7


def test_nginx_that_tells_nothing_is_left_alone(
    cachekit: Cachekit, origin: Origin, nginx_node: Callable[..., Nginx]
) -> None:
    write_settings(cachekit, nodes={"web1": nginx_node().address}, warmlists=lists_of(*FRESH, *DUE))
    renew(cachekit)
    second = renew(cachekit)
    assert second.code == 0, second.stderr
    assert renewal(second)["unknown"] == 7
    assert len(origin.requests) == 7


def test_without_a_cache_that_can_be_cleared_it_says_so_and_warms_what_is_missing(
    cachekit: Cachekit, origin: Origin, varnish_node: Callable[..., Varnish]
) -> None:
    node = aged_varnish(origin, varnish_node)
    arguments = ("--site", SITE, "--node", node.address, *(f"--url={path}" for path in DUE))
    renew(cachekit, *arguments)
    second = renew(cachekit, *arguments, "--url", "/new")
    assert second.code == 0, second.stderr
    assert renewal(second) == {
        "fresh": 0,
        "expiring": 3,
        "unknown": 0,
        "missing": 1,
        "renewed": 0,
    }
    (problem,) = second.report["renewal"]["problems"]
    assert problem.startswith(f"no cache at {node.address} can be cleared by URL")
    assert counts(origin, DUE) == [1] * 3
    text = cachekit.warm("--expiring-within", "1h", *arguments).stdout
    assert f"not renewed: no cache at {node.address}" in text


def test_an_origin_that_fails_ends_it_before_more_is_cleared(
    cachekit: Cachekit, origin: Origin, varnish_node: Callable[..., Varnish]
) -> None:
    due = [f"/due/{number}" for number in range(60)]
    grown_old(origin, due, LIFETIME - 1800)
    node = varnish_node(vcl=clearable())
    write_settings(
        cachekit,
        nodes={"web1": node.address},
        caches={"pages": {"type": "varnish", "on": "web1"}},
        warmlists=lists_of(*due),
    )
    renew(cachekit)
    for path in due:
        origin.page(path, status=500)
    done = renew(cachekit)
    assert (done.code, done.report["outcome"]) == (1, "no-go")
    assert renewal(done)["renewed"] == 0
    problems = " ".join(done.report["renewal"]["problems"])
    assert "status 500" in problems
    assert "10 URLs were left as they were: an earlier one failed" in problems
    assert counts(origin, due[50:]) == [1] * 10
    record = cachekit.state_dir / "runs" / done.report["run"] / "run.json"
    assert json.loads(record.read_text())["outcome"] == "no-go", "so --max-age does not count it"


def test_a_node_that_did_not_pass_its_gate_keeps_what_it_has(
    cachekit: Cachekit, origin: Origin, varnish_node: Callable[..., Varnish]
) -> None:
    with Origin() as sick:
        well = aged_varnish(origin, varnish_node)
        grown_old(sick, DUE, LIFETIME - 1800)
        ill = varnish_node(vcl=clearable(), origin=sick.address)
        write_settings(
            cachekit,
            nodes={"web1": well.address, "web2": ill.address},
            caches={"pages": {"type": "varnish", "on": ["web1", "web2"]}},
            warmlists=lists_of(*DUE),
        )
        renew(cachekit)
        for path in (*DUE, "/new"):
            sick.page(path, status=500)
        write_settings(
            cachekit,
            nodes={"web1": well.address, "web2": ill.address},
            caches={"pages": {"type": "varnish", "on": ["web1", "web2"]}},
            warmlists=lists_of(*DUE, "/new"),
        )
        done = renew(cachekit, "--retries", "0")
        assert (done.code, done.report["outcome"]) == (1, "no-go")
        assert (renewal(done)["expiring"], renewal(done)["renewed"]) == (6, 3)
        (problem,) = done.report["renewal"]["problems"]
        assert problem.startswith("web2 did not pass the gate, so no page was cleared there")
        assert counts(origin, DUE) == [2] * 3
        with Visitor(ill) as visitor:
            assert all(visitor.finds(path) for path in DUE), "its visitors still get the old ones"


def test_a_run_between_the_look_and_the_renewal_is_waited_for(
    tmp_path: Path, origin: Origin, varnish_node: Callable[..., Varnish]
) -> None:
    varnish = aged_varnish(origin, varnish_node)
    node = Node(name="web1", address=parse_address(varnish.address))
    settings = Settings(
        site=SITE,
        nodes={"web1": node},
        caches={"pages": VarnishCache(on=("web1",))},
        warmlists={"all": WarmList(source=Urls(urls=tuple(DUE)))},
    )
    plan, stop, lifetimes = plan_warm(settings), Stop(None), Lifetimes(3600)
    run_warm(plan, tmp_path)
    report = run_warm(plan, tmp_path, listeners=[lifetimes])
    other = ExitStack()
    timer = Timer(1.0, other.close)
    other.enter_context(locked(tmp_path, SITE, [place_of(node, Site(SITE))]))
    timer.start()
    done = renewed(report, plan, lifetimes, tmp_path, stop)
    timer.join()
    assert done.renewal is not None
    assert (done.renewal.renewed, done.renewal.problems) == (3, ())
    assert counts(origin, DUE) == [2] * 3


def test_variants_and_headers_of_a_list_are_those_of_the_first_fill(
    cachekit: Cachekit, origin: Origin, varnish_node: Callable[..., Varnish]
) -> None:
    asked: set[tuple[bytes, str]] = set()

    def page(request: Received) -> Page:
        device = request.headers["x-device"]
        first = (request.target, device) not in asked
        asked.add((request.target, device))
        old = {"Age": str(LIFETIME - 1800)} if first else {}
        return Page(
            device, headers={"Cache-Control": f"max-age={LIFETIME}", "Vary": "X-Device", **old}
        )

    for path in DUE:
        origin.answer_with(path, page)
    node = varnish_node(vcl=clearable())
    write_settings(
        cachekit,
        nodes={"web1": node.address},
        caches={"pages": {"type": "varnish", "on": "web1"}},
        warm={"variants": {name: {"X-Device": name} for name in ("desk", "mob", "tv")}},
        warmlists={
            "two": {"urls": DUE[:2], "variants": ["desk", "mob"], "headers": {"X-List": "two"}},
            "one": {"urls": DUE[2:], "variants": ["tv"], "expect": {"contains": "tv"}},
        },
    )
    renew(cachekit)
    first = origin.counts("X-Device", "X-List")
    assert sum(first.values()) == 5
    second = renew(cachekit)
    assert renewal(second)["renewed"] == 5, str(second.report["renewal"])
    assert origin.counts("X-Device", "X-List") == dict.fromkeys(first, 2)


@pytest.mark.parametrize("status", [503, 200])
def test_a_maintenance_page_is_never_warmed(
    cachekit: Cachekit, origin: Origin, nginx_node: Callable[..., Nginx], status: int
) -> None:
    """nginx serves it: as 503, or, as some do, as 200 with nothing but its text to tell it by."""
    served = f'return {status} "<h1>Down for maintenance</h1>";'
    node = nginx_node(server=f"default_type text/html; location ~ ^/ {{ {served} }}")
    urls = cachekit.write_list([SITE + path for path in FRESH])
    cachekit_yaml = write_settings(
        cachekit,
        nodes={"web1": node.address},
        warm={"expect": {"not_contains": "Down for maintenance"}},
    )
    done = cachekit.warm(
        *("--scheduled", "--settings", str(cachekit_yaml), "--list", str(urls)),
        *("--retries", "0", "--format", "json"),
    )
    assert (done.code, done.report["outcome"]) == (1, "no-go")
    total = done.report["total"]
    assert (total["ok"], total["fill"]["hits"], total["verify"]["asked"]) == (0, 0, 0)
    codes = {reason["code"] for reason in done.report["reasons"]}
    assert codes == ({"status-503", "marker"} if status == 503 else {"marker"})
    assert not origin.requests
