"""Nodes that lie: each fault is a failure with its own name, and harms no other target."""

import pytest

from tests.command import Cachekit
from tests.servers.loop_server import Received
from tests.servers.lying import LyingServer
from tests.servers.origin import Origin, Page
from tests.servers.process import free_port

pytestmark = [pytest.mark.server, pytest.mark.end_to_end]

SITE = "http://shop.example"

REASONS = {
    "/accept_silent": "first-byte-timeout",
    "/close_without_answer": "broken",
    "/garbage": "broken",
    "/huge_header": "broken",
    "/reset_mid_body": "broken",
    "/truncated": "truncated",
    "/slow_drip": "timeout",
    "/big_body": "too-large",
    "/redirect_loop": "redirect-loop",
    "/redirect_offsite": "redirect-off-site",
    "/account": "login-redirect",
    "/wrong_encoding": "not-decodable",
    "/storm_503": "status-503",
}


def settings(node: str, expect: str = "{}") -> str:
    return (
        f"site: {SITE}\nnodes: {{web1: '{node}'}}\n"
        f"warmlists: {{all: {{file: list.txt, expect: {expect}}}}}\n"
        "warm: {first_byte_timeout: 500ms, timeout: 2s, max_body: 2M, max_error_rate: 100%,\n"
        "       follow: true}\n"
    )


def test_each_fault_is_named_and_the_good_pages_are_ok(
    cachekit: Cachekit, lying_server: LyingServer
) -> None:
    lying_server.lie("/storm_503", "storm_503", first=100, retry_after=None)
    lying_server.lie("/account", "redirect_login")
    lying_server.lie("/big_body", "big_body", megabytes=3)
    good = [f"/ok/{number}" for number in range(20)]
    cachekit.write_list([*REASONS, *good])
    (cachekit.folder / "cachekit.yaml").write_text(settings(lying_server.address, "{contains: ok}"))
    done = cachekit.warm("--format", "json", "--verify", "off", "--concurrency", "16")
    assert done.code == 1, done.stderr
    failed = {
        failure["url"].removeprefix(SITE): failure["reasons"] for failure in done.report["failures"]
    }
    assert {path: reasons[0] for path, reasons in failed.items()} == REASONS
    assert done.report["total"]["ok"] == len(good)
    details = {failure["url"]: failure["detail"] for failure in done.report["failures"]}
    assert (
        "500 ms" in details[f"{SITE}/accept_silent"] or "0.5 s" in details[f"{SITE}/accept_silent"]
    )


def test_a_gzip_bomb_is_drained_and_not_inflated(
    cachekit: Cachekit, lying_server: LyingServer
) -> None:
    arguments = ("--url", f"{SITE}/gzip_bomb", "--node", lying_server.address, "--verify", "off")
    assert cachekit.warm(*arguments).code == 0


def test_connect_errors_are_retried_and_the_retries_shown(cachekit: Cachekit) -> None:
    port = free_port("127.0.0.2")
    done = cachekit.warm(
        *("--url", f"{SITE}/", "--node", f"127.0.0.2:{port}", "--retries", "2", "--format", "json")
    )
    (failure,) = done.report["failures"]
    assert (failure["reasons"], failure["retries"], failure["status"]) == (["connect"], 2, 0)


def test_soft_404_and_maintenance_pages_are_failures(cachekit: Cachekit, origin: Origin) -> None:
    origin.page("/gone", body="<h1>Sorry, page not found</h1>")
    origin.page("/closed", body="Down for maintenance", status=503)
    origin.page("/right", body="<h1>Lamps</h1> Add to basket")
    cachekit.write_list(["/gone", "/closed", "/right"])
    (cachekit.folder / "cachekit.yaml").write_text(
        settings(origin.address, "{contains: basket, not_contains: ['page not found']}")
    )
    report = cachekit.warm("--format", "json", "--retries", "0").report
    failed = {f["url"].removeprefix(SITE): f["reasons"] for f in report["failures"]}
    assert failed == {"/gone": ["content", "marker"], "/closed": ["status-503", "content"]}


def test_a_node_without_cache_headers_is_unknown_with_weak_evidence(
    cachekit: Cachekit, origin: Origin
) -> None:
    def page(_request: Received) -> Page:
        cold = len(origin.requests) == 1
        return Page("warm", headers={} if cold else {"Age": "7"}, delay=0.2 if cold else 0)

    origin.default = page
    done = cachekit.warm(
        "--url", f"{SITE}/", "--node", origin.address, "--format", "json", "--min-hit", "1%"
    )
    assert done.code == 1
    assert done.report["total"]["verify"]["verdicts"] == {"unknown": 1}
    assert [r["code"] for r in done.report["reasons"]] == ["no-signal", "weak-age", "weak-time"]
