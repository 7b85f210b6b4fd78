"""Varnish, as visitors see it before and after: cleared by its management port and by HTTP."""

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cachekit.caches.base import Change, Conditions, Status, Survey
from cachekit.caches.varnish import Varnish as VarnishCache
from cachekit.caches.varnish.bans import Headers
from cachekit.caches.varnish.calls import Call
from cachekit.caches.varnish.clearing import put_bans
from cachekit.caches.varnish.port import ManagementPort
from cachekit.caches.varnish.presets import PresetName
from cachekit.deadline import Deadline, DeadlineError
from cachekit.errors import (
    CachekitError,
    ConfigError,
    RefusedError,
    UnexpectedReplyError,
    UnreachableError,
)
from cachekit.model import Node, parse_address
from cachekit.outcomes import StepOutcome, judged
from cachekit.scope import EVERYTHING, Kind, Scope
from cachekit.transports.ssh import close_masters
from tests.command import Cachekit
from tests.servers.loop_server import Received
from tests.servers.origin import Origin, Page
from tests.servers.process import wait_until
from tests.servers.sshd import SshClient, Sshd
from tests.servers.varnish import Varnish, Visitor, clearable
from tests.shelves import conditions as conditions_of

pytestmark = pytest.mark.server

SITE = "https://shop.example"
TAG_HEADERS = ("X-Cache-Tags", "xkey", "X-Magento-Tags", "Cache-Tags")


def page_as_asked(request: Received) -> Page:
    """Answer with what a visitor asks for: tags, release, variants. PURGE and BAN are fine, too."""
    wishes = request.headers
    headers = {name: wishes["x-tags"] for name in TAG_HEADERS if "x-tags" in wishes}
    headers |= {"X-Release": wishes["x-of"]} if "x-of" in wishes else {}
    return Page("page\n", headers={**headers, "Vary": "Accept-Language"})


@pytest.fixture(scope="module")
def shop() -> Iterator[Origin]:
    with Origin() as origin:
        origin.default = page_as_asked
        yield origin


@pytest.fixture(scope="module")
def running_edge(shop: Origin) -> Iterator[Varnish]:
    patient = ("-p", "timeout_idle=120")
    vcl = clearable("cachekit_xkey")
    with Varnish(origin=shop.address, vcl=vcl, cli=True, arguments=patient) as server:
        yield server


@pytest.fixture
def edge(running_edge: Varnish) -> Varnish:
    """The one Varnish of this module, empty and without bans."""
    running_edge.adm("ban", "obj.status", "!=", "0")
    return running_edge


@pytest.fixture
def visitor(edge: Varnish) -> Iterator[Visitor]:
    with Visitor(edge) as visitor:
        yield visitor


@pytest.fixture
def conditions(tmp_path: Path) -> Conditions:
    return conditions_of(tmp_path / "state", site=SITE, release="r42", previous="r41")


def node_of(server: Varnish, **facts: Any) -> Node:
    return Node(name="edge1", address=parse_address(server.address), **facts)


def by_cli(server: Varnish, **keys: Any) -> VarnishCache:
    given = {"cli": parse_address(server.cli_address), "secret_file": server.secret_file, **keys}
    return VarnishCache(on=("edge1",), **given)


def by_http(**keys: Any) -> VarnishCache:
    return VarnishCache(on=("edge1",), **keys)


def clear(
    cache: VarnishCache, node: Varnish | Node, scope: Scope, conditions: Conditions
) -> Change:
    node = node_of(node) if isinstance(node, Varnish) else node
    assert cache.refusal(scope, conditions) == ""
    return cache.clear(cache.places({"edge1": node})[0], scope, conditions)


def status(cache: VarnishCache, node: Varnish | Node, conditions: Conditions) -> Status:
    node = node_of(node) if isinstance(node, Varnish) else node
    return cache.status(cache.places({"edge1": node})[0], conditions)


def survey(cache: VarnishCache, node: Varnish | Node, conditions: Conditions) -> Survey:
    node = node_of(node) if isinstance(node, Varnish) else node
    return cache.survey(cache.places({"edge1": node})[0], urls("/a"), conditions)


def urls(*values: str, kind: Kind = Kind.URL) -> Scope:
    return Scope(kind, values)


WAYS = pytest.mark.parametrize("way", ["cli", "http"])


def cache_by(way: str, edge: Varnish, **keys: Any) -> VarnishCache:
    return by_cli(edge, **keys) if way == "cli" else by_http(**keys)


# --- scopes ---


@WAYS
def test_all_variants_of_a_page_go_and_its_neighbours_stay(
    way: str, edge: Varnish, visitor: Visitor, conditions: Conditions
) -> None:
    languages = [{"Accept-Language": language} for language in ("de", "en", "fr")]
    for language in languages:
        visitor.visit("/a", language)
        visitor.visit("/a?b", language)
    change = clear(cache_by(way, edge), edge, urls("/a"), conditions)
    assert change.removed == (3 if way == "http" else None)
    assert change.evidence
    assert not any(visitor.finds("/a", language) for language in languages)
    assert all(visitor.finds("/a?b", language) for language in languages)


@WAYS
def test_a_host_is_matched_as_a_whole(
    way: str, edge: Varnish, visitor: Visitor, conditions: Conditions
) -> None:
    kept = ["notshop.example", "shop.example.org", "shopxexample", "shop.example:8080"]
    gone = ["shop.example", "SHOP.example", "shop.example:443"]
    for host in (*kept, *gone):
        visitor.visit("/a/b", host=host)
    clear(cache_by(way, edge), edge, urls("/a/", kind=Kind.URL_PREFIX), conditions)
    assert [host for host in kept if visitor.finds("/a/b", host=host)] == kept
    assert not [host for host in gone if visitor.finds("/a/b", host=host)]
    other = urls("http://shop.example:8080/a/b", kind=Kind.URL)
    clear(cache_by(way, edge), edge, other, conditions)
    assert not visitor.finds("/a/b", host="shop.example:8080")


@WAYS
def test_a_regex_is_searched_in_path_and_query_of_the_site(
    way: str, edge: Varnish, visitor: Visitor, conditions: Conditions
) -> None:
    pages = ["/p/1", "/p/22?x=1", "/p/x", '/p/"9"']
    for page in pages:
        visitor.visit(page)
    visitor.visit("/p/1", host="other.example")
    regexes = (r"^/p/\d+($|\?)", r"/p/[ \"]9\"")
    clear(cache_by(way, edge), edge, urls(*regexes, kind=Kind.URL_REGEX), conditions)
    assert [page for page in pages if visitor.finds(page)] == ["/p/x"]
    assert visitor.finds("/p/1", host="other.example")


@WAYS
def test_what_pcre_does_not_take_is_a_failure(
    way: str, edge: Varnish, conditions: Conditions
) -> None:
    # Python knows this flag, PCRE does not.
    with pytest.raises(RefusedError, match=r"edge1: .*(106|400).*"):
        clear(cache_by(way, edge), edge, urls("(?a)^/p", kind=Kind.URL_REGEX), conditions)


@pytest.mark.parametrize("way", ["cli", "http", "xkey"])
def test_many_and_long_tags_are_split_between_tags(
    way: str, edge: Varnish, visitor: Visitor, conditions: Conditions
) -> None:
    tags = [f"product-{number:04}-{'x' * 20}" for number in range(600)]
    for number in (0, 300, 599):
        visitor.visit(f"/{number}", {"X-Tags": f"all {tags[number]}"})
    visitor.visit("/kept", {"X-Tags": f"all {tags[0]}y {tags[1][:-1]}"})
    keys = {"preset": "cachekit-xkey"} if way == "xkey" else {}
    cache = cache_by("cli" if way == "cli" else "http", edge, **keys)
    change = clear(cache, edge, Scope(Kind.TAG, tuple(tags)), conditions)
    assert change.evidence
    assert change.removed == (3 if way == "xkey" else None)
    assert not any(visitor.finds(f"/{number}") for number in (0, 300, 599))
    assert visitor.finds("/kept")


@pytest.mark.parametrize("way", ["cli", "http", "xkey"])
@pytest.mark.parametrize("tag", ["a-b", "c.d", "e+f", "(g|h)*", "é", "x" * 6000])
def test_tags_of_all_sorts(
    tag: str, way: str, edge: Varnish, visitor: Visitor, conditions: Conditions
) -> None:
    visitor.visit("/gone", {"X-Tags": f"{tag} b"})
    visitor.visit("/kept", {"X-Tags": f"a{tag[:100]} {tag[:100]}a cxd ef g h"})
    keys = {"preset": "cachekit-xkey"} if way == "xkey" else {}
    cache = cache_by("cli" if way == "cli" else "http", edge, **keys)
    assert clear(cache, edge, Scope(Kind.TAG, (tag,)), conditions).evidence
    assert not visitor.finds("/gone")
    assert visitor.finds("/kept")


def test_tags_in_several_headers_are_all_seen(
    edge: Varnish, shop: Origin, visitor: Visitor, conditions: Conditions
) -> None:
    # Two header lines, which the origin of the tests can only send by this trick.
    shop.page("/two", headers={"X-Cache-Tags": "one\r\nX-Cache-Tags: two"})
    visitor.visit("/two")
    clear(by_cli(edge), edge, Scope(Kind.TAG, ("two",)), conditions)
    assert not visitor.finds("/two")


def test_a_tag_that_contains_a_separator_is_refused(edge: Varnish, conditions: Conditions) -> None:
    scope = Scope(Kind.TAG, ("a b",))
    assert "what separates tags" in by_cli(edge).refusal(scope, conditions)
    assert by_cli(edge, tag_separators=",").refusal(scope, conditions) == ""
    assert "separators" in by_http(preset="cachekit-xkey").refusal(scope, conditions)


@pytest.mark.parametrize("scope", [urls("/a"), Scope(Kind.TAG, ("t",))])
def test_a_soft_purge_serves_stale_once_and_a_hard_one_takes_it(
    scope: Scope, edge: Varnish, shop: Origin, visitor: Visitor, conditions: Conditions
) -> None:
    visitor.visit("/a", {"X-Tags": "t"})
    soft = clear(by_http(preset="cachekit-xkey", soft=True), edge, scope, conditions)
    assert (soft.removed, soft.evidence) == (1, ("x-cachekit: expired 1",))
    fetched = shop.count("/a")
    assert visitor.finds("/a")
    visitor.visit("/a")
    assert wait_until(lambda: shop.count("/a") > fetched), "stale, so it is fetched anew"
    hard = by_http(preset="cachekit-xkey")

    def is_gone() -> bool:
        clear(hard, edge, urls("/a"), conditions)
        return not visitor.finds("/a")

    # Not at once: Varnish keeps what it was fetching during a purge.
    assert wait_until(is_gone)


@WAYS
def test_a_release_goes_and_kept_ones_are_refused(
    way: str, edge: Varnish, visitor: Visitor, conditions: Conditions
) -> None:
    for release in ("r40", "r41", "r42", "r4"):
        visitor.visit(f"/{release}", {"X-Of": release})
    cache = cache_by(way, edge)
    clear(cache, edge, Scope(Kind.RELEASE, ("r40",)), conditions)
    assert not visitor.finds("/r40")
    assert all(visitor.finds(f"/{release}") for release in ("r41", "r42", "r4"))
    old = Scope(Kind.RELEASE, ("r40",))
    assert "which release is live?" in cache.refusal(old, replace(conditions, release=""))
    for release in ("r41", "r42"):
        scope = Scope(Kind.RELEASE, ("r40", release))
        assert f"release {release} is live or kept" in cache.refusal(scope, conditions)
    clear(cache, edge, Scope(Kind.RELEASE, ("r41",)), replace(conditions, force=True))
    assert not visitor.finds("/r41")


@WAYS
def test_a_deploy_may_spare_the_live_release(
    way: str, edge: Varnish, visitor: Visitor, conditions: Conditions
) -> None:
    for release in ("r41", "r42", "r421"):
        visitor.visit(f"/{release}", {"X-Of": release})
    visitor.visit("/untold")
    cache = cache_by(way, edge, spare_live=True)
    for _ in range(2):
        clear(cache, edge, EVERYTHING, conditions)
        assert visitor.finds("/r42")
        assert not any(visitor.finds(f"/{page}") for page in ("r41", "r421", "untold"))
    assert "spare_live" in cache.refusal(EVERYTHING, replace(conditions, release=""))
    clear(cache, edge, EVERYTHING, replace(conditions, force=True))
    assert not visitor.finds("/r42")


def test_many_urls_are_few_bans_and_the_same_again_none_more(
    edge: Varnish, visitor: Visitor, conditions: Conditions
) -> None:
    pages = [f"/catalogue/page-{number:05}.html" for number in range(2000)]
    for page in pages[::200]:
        visitor.visit(page)
    for _ in range(2):
        clear(by_cli(edge), edge, urls(*pages), conditions)
    assert not any(visitor.finds(page) for page in pages[::200])
    # The older ones of equal bans are completed at once (ban_dups).
    assert len(edge.bans()) < 40


def test_without_marks_bans_look_at_requests_and_it_is_said(
    shop: Origin, conditions: Conditions
) -> None:
    peek = clearable().rpartition("include")[2].partition("\n")[2]
    with Varnish(origin=shop.address, vcl=peek, cli=True) as server, Visitor(server) as visitor:
        for page in ("/a", "/ab"):
            visitor.visit(page)
        change = clear(by_cli(server), server, urls("/a"), conditions)
        assert visitor.finds("/a"), "this VCL marks nothing"
        assert judged(change)[0] is StepOutcome.UNKNOWN
        assert "puts no x-url and no x-host on what it stores" in change.warnings[0]
        change = clear(by_cli(server, match="request"), server, urls("/a"), conditions)
        assert not visitor.finds("/a")
        assert visitor.finds("/ab")
        assert any("req.*" in warning for warning in change.warnings)
        assert any("req.*" in each for each in status(by_cli(server), server, conditions).hazards)


HALF_MARKED = """
# set beresp.http.x-url = bereq.url;
sub vcl_backend_response { set beresp.http.x-host = bereq.http.host; }
sub vcl_deliver { unset resp.http.x-url; }
"""


def test_what_a_vcl_only_speaks_of_is_no_mark(shop: Origin, conditions: Conditions) -> None:
    peek = clearable().rpartition("include")[2].partition("\n")[2]
    vcl = HALF_MARKED + peek
    with Varnish(origin=shop.address, vcl=vcl, cli=True) as server, Visitor(server) as visitor:
        visitor.visit("/a")
        change = clear(by_cli(server), server, urls("/a"), conditions)
        assert visitor.finds("/a")
        assert judged(change)[0] is StepOutcome.UNKNOWN
        assert "puts no x-url on what it stores" in change.warnings[-1]


@WAYS
@pytest.mark.parametrize(
    "scope", [urls("/a", kind=Kind.URL_PREFIX), urls("^/a", kind=Kind.URL_REGEX)]
)
def test_a_ban_on_marks_of_another_name_proves_nothing(
    way: str, scope: Scope, edge: Varnish, visitor: Visitor, conditions: Conditions
) -> None:
    visitor.visit("/a")
    misnamed = cache_by(way, edge, headers=Headers(url="x-my-url"))
    change = clear(misnamed, edge, scope, conditions)
    assert visitor.finds("/a")
    assert judged(change)[0] is StepOutcome.UNKNOWN
    assert "puts no x-my-url on what it stores" in change.warnings[-1]
    well_named = cache_by(way, edge, headers=Headers(url="X-Url"))
    assert judged(clear(well_named, edge, scope, conditions))[0] is StepOutcome.DONE
    assert not visitor.finds("/a")


@WAYS
@pytest.mark.parametrize(
    ("scope", "header"),
    [(Scope(Kind.TAG, ("a",)), "x-cache-tags"), (Scope(Kind.RELEASE, ("r1",)), "x-release")],
)
def test_what_the_application_must_send_is_said_with_the_proof(
    way: str, scope: Scope, header: str, edge: Varnish, conditions: Conditions
) -> None:
    said = f"not known: whether any page has {header}, which the application sends"
    cache = cache_by(way, edge)
    assert clear(cache, edge, scope, conditions).evidence[-1] == said
    assert said not in clear(cache, edge, EVERYTHING, conditions).evidence


def test_keys_that_are_counted_leave_no_doubt(edge: Varnish, conditions: Conditions) -> None:
    change = clear(by_http(preset="cachekit-xkey"), edge, Scope(Kind.TAG, ("a",)), conditions)
    assert change.evidence == ("x-cachekit: purged 0",)


# --- by HTTP ---


@pytest.fixture
def plain_edge(shop: Origin) -> Iterator[Varnish]:
    """A Varnish whose VCL knows of nothing: it pipes PURGE and BAN to the backend."""
    with Varnish(origin=shop.address) as server:
        yield server


@pytest.mark.parametrize("presets", [("cachekit", "fos", "magento", "purge", "fos-xkey")])
def test_a_200_of_the_backend_is_no_clear(
    presets: tuple[str, ...], plain_edge: Varnish, shop: Origin, conditions: Conditions
) -> None:
    for preset in presets:
        scope = urls("/a") if preset == "purge" else Scope(Kind.TAG, ("a",))
        with pytest.raises(UnexpectedReplyError, match=r"200 OK.*cachekit\.vcl"):
            clear(by_http(preset=preset), plain_edge, scope, conditions)
    assert {"PURGE", "BAN", "PURGEKEYS"} <= {request.method for request in shop.requests}
    (hazard,) = status(by_http(), plain_edge, conditions).hazards
    assert "a clear would fail" in hazard
    assert survey(by_http(), plain_edge, conditions).warnings == (hazard,)


def test_a_vcl_that_knows_no_keys_is_told_before_a_clear(
    shop: Origin, conditions: Conditions
) -> None:
    with Varnish(origin=shop.address, vcl=clearable()) as server:
        (hazard,) = status(by_http(preset="cachekit-xkey"), server, conditions).hazards
        assert re.search(r"a clear by tag would fail: .*cachekit_xkey\.vcl", hazard)
        assert status(by_http(), server, conditions).hazards == ()


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("preset", ["cachekit-xkey", "fos-xkey"])
def test_keys_are_tried_out_without_harm(
    preset: PresetName, soft: bool, request: pytest.FixtureRequest, conditions: Conditions
) -> None:
    fixture = "edge" if preset == "cachekit-xkey" else "foreign_edge"
    server: Varnish = request.getfixturevalue(fixture)
    with Visitor(server) as visitor:
        visitor.visit("/kept", {"X-Tags": "kept"})
        assert status(by_http(preset=preset, soft=soft), server, conditions).hazards == ()
        assert visitor.finds("/kept")


def test_a_foreign_vcl_without_evidence_leaves_it_unknown(
    plain_edge: Varnish, conditions: Conditions
) -> None:
    requests = {"url": Call(method="PURGE", to_page=True)}
    change = clear(by_http(requests=requests), plain_edge, urls("/a"), conditions)
    assert judged(change)[0] is StepOutcome.UNKNOWN


def test_who_is_not_admitted_is_told_so(shop: Origin, conditions: Conditions) -> None:
    with Varnish(origin=shop.address, vcl=clearable(admitted="10.0.0.0")) as server:
        for scope in (urls("/a"), EVERYTHING):
            with pytest.raises(RefusedError, match=r"not admitted.*ACL"):
                clear(by_http(), server, scope, conditions)
        (hazard,) = status(by_http(), server, conditions).hazards
        assert "ACL" in hazard


def test_nobody_gets_past_the_acl_by_an_early_return(shop: Origin, conditions: Conditions) -> None:
    vcl = "sub vcl_recv { return (hash); }\n" + clearable(admitted="10.0.0.0")
    with Varnish(origin=shop.address, vcl=vcl) as server, Visitor(server) as visitor:
        visitor.visit("/a", {"Accept-Language": "de"})
        with pytest.raises(RefusedError, match="not admitted"):
            clear(by_http(), server, urls("/a"), conditions)
        assert visitor.finds("/a", {"Accept-Language": "de"})


def test_who_comes_through_a_proxy_is_not_admitted(
    edge: Varnish, visitor: Visitor, conditions: Conditions
) -> None:
    headers = {"x-cachekit-purge": "hard", "X-Forwarded-For": "192.0.2.1"}
    call = Call(method="PURGE", to_page=True, headers=headers, answer="x-cachekit")
    visitor.visit("/a")
    with pytest.raises(RefusedError, match=r"405 .*not admitted"):
        clear(by_http(requests={"url": call}), edge, urls("/a"), conditions)
    assert visitor.finds("/a")


def test_a_404_may_mean_that_nothing_was_there(
    plain_edge: Varnish, shop: Origin, conditions: Conditions
) -> None:
    shop.page("/404", status=404)
    strict = Call(method="PURGE", to_page=True)
    mild = replace(strict, answer="200 Purged|404 Not Found")
    assert clear(by_http(requests={"url": mild}), plain_edge, urls("/404"), conditions).evidence
    with pytest.raises(UnexpectedReplyError, match="404"):
        clear(by_http(requests={"url": strict}), plain_edge, urls("/404"), conditions)


def test_an_answer_of_some_other_server_is_named(
    plain_edge: Varnish, shop: Origin, conditions: Conditions
) -> None:
    shop.page("/501", status=501)
    with pytest.raises(UnexpectedReplyError, match=r"edge1: answered HTTP/1.1 501"):
        clear(by_http(), plain_edge, urls("/501"), conditions)


FOREIGN = """
sub vcl_recv {
    if (req.method == "PURGE") {
        if (!req.http.X-Magento-Tags-Pattern) { return (purge); }
        ban("obj.http.X-Magento-Tags ~ " + req.http.X-Magento-Tags-Pattern);
        return (synth(200, "Purged"));
    }
    if (req.method == "BAN" && req.http.Cache-Tags) {
        ban("obj.http.Cache-Tags ~ " + req.http.Cache-Tags);
        return (synth(200, "Ban added."));
    }
    if (req.method == "BAN") {
        set req.http.n = "obj.http.X-Host ~ " + req.http.X-Host + " && obj.http.X-Url ~ "
            + req.http.X-Url + " && obj.http.content-type ~ " + req.http.X-Content-Type;
        if (req.http.X-Cache-Tags) {
            set req.http.n = req.http.n + " && obj.http.X-Cache-Tags ~ " + req.http.X-Cache-Tags;
        }
        ban(req.http.n);
        return (synth(200, "Banned"));
    }
    if (req.method == "PURGEKEYS") {
        set req.http.n = "0";
        set req.http.soft = "0";
        if (req.http.xkey-purge) { set req.http.n = xkey.purge(req.http.xkey-purge); }
        if (req.http.xkey-softpurge) {
            set req.http.soft = xkey.softpurge(req.http.xkey-softpurge);
        }
        set req.http.n = "Purged " + req.http.n + " objects, expired " + req.http.soft + " objects";
        return (synth(200, req.http.n));
    }
}
sub vcl_backend_response {
    set beresp.http.X-Url = bereq.url;
    set beresp.http.X-Host = bereq.http.host;
}
"""
"""The conventions of FOSHttpCache, Magento and Drupal."""


@pytest.fixture(scope="module")
def foreign_edge(shop: Origin) -> Iterator[Varnish]:
    peek = clearable().rpartition("include")[2].partition("\n")[2]
    with Varnish(origin=shop.address, vcl="import xkey;" + FOREIGN + peek) as server:
        yield server


TAGGED = Scope(Kind.TAG, ("a.b",))


@pytest.mark.parametrize(
    ("keys", "scope", "said"),
    [
        ({"preset": "purge"}, urls("/gone"), "200 Purged"),
        ({"preset": "fos"}, EVERYTHING, "200 Banned"),
        ({"preset": "fos"}, urls("/gone"), "200 Purged"),
        ({"preset": "fos"}, urls("/go", kind=Kind.URL_PREFIX), "200 Banned"),
        ({"preset": "fos"}, urls("^/g.ne$", kind=Kind.URL_REGEX), ""),
        ({"preset": "fos"}, TAGGED, "200 Banned"),
        ({"preset": "fos-xkey"}, TAGGED, "200 Purged 1 objects"),
        ({"preset": "fos-xkey", "soft": True}, TAGGED, "expired 1 objects"),
        ({"preset": "magento"}, TAGGED, "200 Purged"),
        ({"preset": "drupal"}, TAGGED, "200 Ban added"),
    ],
)
def test_vcls_of_others_are_spoken_to(
    keys: dict[str, Any],
    scope: Scope,
    said: str,
    foreign_edge: Varnish,
    conditions: Conditions,
) -> None:
    spared = [] if scope == EVERYTHING else ["/kept", "/xgone"]
    separator = " " if keys["preset"] == "drupal" else ","
    with Visitor(foreign_edge) as visitor:
        visitor.visit("/gone", {"X-Tags": f"x{separator}a.b{separator}y"})
        for page in spared:
            visitor.visit(page, {"X-Tags": f"a.bc{separator}axb{separator}xa.b"})
        change = clear(by_http(**keys), foreign_edge, scope, conditions)
        if said:
            assert said in change.evidence[0]
        else:
            assert judged(change)[0] is StepOutcome.UNKNOWN
        assert visitor.finds("/gone") is bool(keys.get("soft"))
        assert all(visitor.finds(page) for page in spared)
        clear(by_http(preset="fos"), foreign_edge, EVERYTHING, conditions)


def test_a_preset_names_what_it_takes(conditions: Conditions) -> None:
    refusal = by_http(preset="purge").refusal(EVERYTHING, conditions)
    assert "takes no --everything, but --url" in refusal


def test_where_nothing_can_be_asked_a_status_only_connects(
    foreign_edge: Varnish, conditions: Conditions
) -> None:
    cache = by_http(preset="magento")
    assert status(cache, foreign_edge, conditions).hazards == ()
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = parse_address("{}:{}".format(*closed.getsockname()))
    with pytest.raises(UnreachableError, match=r"edge1: .*refused"):
        status(cache, Node(name="edge1", address=address), conditions)


def test_ten_thousand_urls_are_purged_and_counted(
    edge: Varnish, visitor: Visitor, conditions: Conditions
) -> None:
    pages = [f"/page-{number}" for number in range(10_000)]
    for page in pages[:50]:
        visitor.visit(page)
    change = clear(by_http(), edge, urls(*pages), conditions)
    assert change.removed == 50
    assert not any(visitor.finds(page) for page in pages[:50])


def test_pages_are_purged_as_vcl_recv_rewrites_them(shop: Origin, conditions: Conditions) -> None:
    rewriting = 'sub vcl_recv { set req.url = regsub(req.url, "[?]utm=.*", ""); }\n'
    pages = [f'/"{number}"\\é?q={number}' for number in range(7)]
    hosts = ("shop.example", "other.example")
    scope = urls(*(f"http://{host}{page}?utm=mail" for host in hosts for page in pages))
    with (
        Varnish(origin=shop.address, vcl=rewriting + clearable()) as server,
        Visitor(server) as visitor,
    ):
        for host in hosts:
            for page in (*pages, "/kept"):
                visitor.visit(f"{page}?utm=search", host=host)
        change = clear(by_http(), server, scope, conditions)
        assert change.removed == 14
        assert not any(visitor.finds(page, host=host) for page in pages for host in hosts)
        assert all(visitor.finds("/kept", host=host) for host in hosts)


def test_a_dead_node_ends_at_its_first_request(conditions: Conditions) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = parse_address("{}:{}".format(*closed.getsockname()))
    node = Node(name="edge1", address=address)
    many = urls(*(f"/{number}" for number in range(5000)))
    with pytest.raises(UnreachableError, match=r"edge1: 127.0.0.1:.*connect: "):
        clear(by_http(), node, many, conditions)
    cli = by_http(cli=address)
    with pytest.raises(UnreachableError, match=r"edge1: 127.0.0.1:.*refused"):
        clear(cli, node, many, conditions)


@WAYS
def test_a_survey_connects_and_counts_nothing(
    way: str, edge: Varnish, visitor: Visitor, conditions: Conditions
) -> None:
    visitor.visit("/a")
    assert survey(cache_by(way, edge), edge, conditions) == Survey()
    assert visitor.finds("/a")


def test_a_survey_warns_of_bans_that_cannot_be_worked_off(
    edge: Varnish, visitor: Visitor, conditions: Conditions
) -> None:
    visitor.visit("/old")  # what bans wait for
    with fresh_child_after(edge):
        edge.adm("ban", "req.url", "~", "^/nothing")
        (warning,) = survey(by_cli(edge), edge, conditions).warnings
    assert "bans look at req.*" in warning


def states(group: int) -> set[str]:
    """Give the states of all processes of a group."""
    facts = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            facts.append(path.read_text().rpartition(")")[2].split())
    return {state for state, _, each, *_ in facts if int(each) == group}


@WAYS
def test_a_frozen_node_is_given_up_at_the_deadline(
    way: str, edge: Varnish, conditions: Conditions
) -> None:
    conditions = replace(conditions, deadline=Deadline(1.0))
    edge.pause()
    try:
        # Not at once: its threads come to a stop one after the other.
        assert wait_until(lambda: states(edge.pid) == {"T"})
        with pytest.raises(
            (UnreachableError, DeadlineError), match=r"not done|timed? ?out|in time"
        ):
            clear(cache_by(way, edge), edge, urls("/a"), conditions)
    finally:
        edge.resume()


# --- the management port ---


@contextmanager
def secret_of(edge: Varnish, secret: bytes) -> Iterator[None]:
    """Rotate the secret for a while."""
    before = edge.secret_file.read_bytes()
    edge.secret_file.write_bytes(secret)
    try:
        yield
    finally:
        edge.secret_file.write_bytes(before)


def test_secrets_are_taken_to_the_last_byte_and_may_change(
    edge: Varnish, tmp_path: Path, conditions: Conditions
) -> None:
    copy = tmp_path / "secret"
    for secret in (b"no newline", b"newline\n", b"\xff\x00\n\n"):
        with secret_of(edge, secret):
            assert clear(by_cli(edge), edge, EVERYTHING, conditions).evidence
            copy.write_bytes(secret)
            here = by_cli(edge, secret_file=copy, secret_here=True)
            assert clear(here, edge, EVERYTHING, conditions).evidence
            copy.write_bytes(secret + b"\n")
            with pytest.raises(RefusedError, match=r"does not accept the secret.*last newline"):
                clear(here, edge, EVERYTHING, conditions)


def test_a_missing_secret_is_named(edge: Varnish, tmp_path: Path, conditions: Conditions) -> None:
    with pytest.raises(RefusedError, match=r"edge1: .*wants a secret.*secret_file"):
        clear(by_cli(edge, secret_file=None), edge, EVERYTHING, conditions)
    nowhere = tmp_path / "nowhere"
    with pytest.raises(RefusedError, match=r"edge1: .*nowhere.*No such file.*secret_here"):
        clear(by_cli(edge, secret_file=nowhere), edge, EVERYTHING, conditions)
    here = by_cli(edge, secret_file=nowhere, secret_here=True)
    with pytest.raises(RefusedError, match=r"edge1: .*nowhere.*No such file"):
        clear(here, edge, EVERYTHING, conditions)


def test_a_port_that_wants_no_secret_needs_none(shop: Origin, conditions: Conditions) -> None:
    with Varnish(origin=shop.address, cli=True, arguments=("-S", "none")) as server:
        assert clear(by_cli(server, secret_file=None), server, EVERYTHING, conditions).evidence


def test_a_port_at_the_address_of_the_node_is_dialled_from_here(
    edge: Varnish, conditions: Conditions
) -> None:
    cli = parse_address(f"{{address}}:{edge.cli_port}")
    cache = by_cli(edge, cli=cli, secret_here=True)
    far = replace(node_of(edge), address=parse_address("192.0.2.1"))
    assert cache.places({"edge1": far}), "no command needs to run there"
    assert clear(cache, edge, EVERYTHING, conditions).evidence
    hostless = replace(far, address=parse_address("unix:/run/varnish.sock"))
    with pytest.raises(RefusedError, match="needs a node with a host address"):
        clear(cache, hostless, EVERYTHING, conditions)
    with pytest.raises(ConfigError, match=r"192.0.2.1 is another machine"):
        by_cli(edge).places({"edge1": far})


@contextmanager
def fresh_child_after(edge: Varnish) -> Iterator[None]:
    """Give the other tests a child that runs and has no bans."""
    try:
        yield
    finally:
        if "running" in edge.adm("status"):
            edge.adm("stop")
        edge.adm("start")
        assert wait_until(edge.is_ready, 10)


def test_a_stopped_child_is_named(edge: Varnish, conditions: Conditions) -> None:
    with fresh_child_after(edge):
        edge.adm("stop")
        with pytest.raises(RefusedError, match="edge1: its child process does not run"):
            clear(by_cli(edge), edge, EVERYTHING, conditions)
        found = status(by_cli(edge), edge, conditions)
    assert found.details["child"] == "stopped"
    assert "serves and keeps nothing" in found.hazards[0]


def test_more_bans_than_a_reply_holds_are_told(
    edge: Varnish, visitor: Visitor, conditions: Conditions
) -> None:
    visitor.visit("/old")  # what bans wait for
    port = ManagementPort(
        address=parse_address(edge.cli_address), secret_file=edge.secret_file, secret_here=True
    )
    place = by_cli(edge).places({"edge1": node_of(edge)})[0]
    with fresh_child_after(edge):
        with closing(port.open(place, conditions.deadline)) as cli:
            change = put_bans(cli, [f"obj.http.x-release == {number}" for number in range(1500)])
        seen = status(by_cli(edge, instance=str(edge.work_dir)), edge, conditions)
        cut = status(by_cli(edge), edge, conditions)
    assert "1,500 bans" in change.evidence[0]
    assert int(seen.details["bans"]) >= 1500
    assert re.match(r"1,5\d\d bans wait", seen.hazards[0])
    # Without varnishstat the list is cut at cli_limit, and says so.
    assert str(cut.details["bans_waiting"]).startswith("at least ")
    assert "bans wait" in cut.hazards[0]


def frame(status: int, text: str = "") -> bytes:
    return b"%-3d %-8d\n%b\n" % (status, len(text), text.encode())


@contextmanager
def lying_cli(*answers: bytes) -> Iterator[VarnishCache]:
    """A port that greets, answers each line in turn whatever it is, and then closes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)

        def serve() -> None:
            connection, _ = listener.accept()
            with connection, connection.makefile("rb") as lines:
                for answer in answers:
                    connection.sendall(answer)
                    if answer is not answers[-1]:
                        lines.readline()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield by_http(cli=parse_address("{}:{}".format(*listener.getsockname())))
        finally:
            thread.join()


GREETING = frame(200, "Varnish Cache CLI 1.0\nvarnish-7.1.1 revision 7cee1c58\n")


@pytest.mark.parametrize(
    ("answers", "error", "said"),
    [
        ((b"",), UnreachableError, "it was closed"),
        ((GREETING[:30],), UnreachableError, "closed in the middle of a reply"),
        ((GREETING, b"200 0"), UnreachableError, "closed in the middle of a reply"),
        ((b"HTTP/1.1 400 Bad Request\r\n\r\n",), UnexpectedReplyError, "no management port"),
        ((b"200 99999999999\n",), UnexpectedReplyError, "no management port|closed"),
        ((frame(400, "busy"),), UnexpectedReplyError, "greets with 400 busy"),
        ((frame(107, "x" * 32), frame(500)), RefusedError, "wants a secret"),
        ((GREETING, frame(106, "Unknown field")), RefusedError, "does not take .*106 Unknown"),
        ((GREETING, frame(300, "No\x1b[2J")), UnexpectedReplyError, r"300 No\\x1b"),
        ((GREETING, frame(200), frame(101, "?")), UnexpectedReplyError, "`ban.list` says 101"),
    ],
)
def test_a_port_that_lies_is_named(
    answers: tuple[bytes, ...], error: type[CachekitError], said: str, conditions: Conditions
) -> None:
    node = Node(name="edge1", address=parse_address("127.0.0.1"))
    with lying_cli(*answers) as cache, pytest.raises(error, match=f"edge1: .*({said})"):
        clear(cache, node, EVERYTHING, conditions)


def test_a_list_of_bans_that_is_cut_off_counts_as_at_least(conditions: Conditions) -> None:
    cut = frame(201, "Present bans:\n1699999999.123456     0 -  obj.status != 0\n1699999999.1")
    node = Node(name="edge1", address=parse_address("127.0.0.1"))
    with lying_cli(GREETING, frame(200), cut) as cache:
        change = clear(cache, node, EVERYTHING, conditions)
    assert change.evidence == (
        "Varnish took 1 ban (200)",
        "at least 1 in its list still to be worked off",
    )


def test_the_node_s_own_port_is_reached_over_ssh(
    edge: Varnish,
    visitor: Visitor,
    conditions: Conditions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = SshClient(tmp_path)
    monkeypatch.setenv(*client.setting)
    with Sshd(client=client, name="edge1") as sshd:
        node = Node(name="edge1", address=parse_address("192.0.2.1"), ssh=sshd.name)
        visitor.visit("/a")
        try:
            assert clear(by_cli(edge), node, urls("/a"), conditions).evidence
            assert not visitor.finds("/a")
            cache = by_cli(edge, instance=str(edge.work_dir))
            assert status(cache, node, conditions).version == "7.1.1"
            wrong = by_cli(edge, secret_file=Path("/nowhere"))
            with pytest.raises(RefusedError, match=r"nowhere.*No such file"):
                clear(wrong, node, EVERYTHING, conditions)
        finally:
            close_masters()


# --- status ---


@WAYS
def test_a_status_tells_hits_objects_and_uptime(
    way: str, edge: Varnish, visitor: Visitor, conditions: Conditions
) -> None:
    visitor.visit("/a")
    visitor.visit("/a")
    cache = cache_by(way, edge, instance=str(edge.work_dir))
    # Its threads add up their counters once in a while.
    assert wait_until(lambda: bool(status(cache, edge, conditions).hits))
    found = status(cache, edge, conditions)
    assert found.misses
    assert found.items
    assert found.capacity == 32 * 1024**2
    assert "uptime_seconds" in found.details
    assert found.hazards == ()
    assert found.version == ("7.1.1" if way == "cli" else None)


def test_without_varnishstat_the_counters_are_unknown(
    edge: Varnish, conditions: Conditions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    cache = by_cli(edge, secret_here=True)
    found = status(cache, edge, conditions)
    assert (found.hits, found.items) == (None, None)
    assert found.details["child"] == "running"


# --- the command ---


@pytest.mark.end_to_end
def test_a_dead_node_among_three_fails_alone(
    edge: Varnish, shop: Origin, cachekit: Cachekit, visitor: Visitor
) -> None:
    with Varnish(origin=shop.address, host="127.0.0.2", vcl=clearable(), cli=True) as other:
        other.secret_file.write_bytes(edge.secret_file.read_bytes())
        dead = "127.0.0.3:9"
        (cachekit.folder / "cachekit.yaml").write_text(
            f"""
site: {SITE}
nodes:
  edge1: {{address: "{edge.address}", groups: [edge]}}
  edge2: {{address: "{dead}", groups: [edge]}}
  edge3: {{address: "{other.address}", groups: [edge]}}
caches:
  pages: {{type: varnish, on: edge}}
"""
        )
        with Visitor(other) as second:
            visitor.visit("/a")
            second.visit("/a")
            done = cachekit.run("clear", "pages", "--url", "/a", "--yes", "--format", "json")
            plan = cachekit.run("plan", "clear", "pages", "--url", "/a", "--format", "json")
            assert (done.code, plan.code) == (1, 1)
            assert [step["outcome"] for step in plan.report["steps"]] == ["done", "failed", "done"]
            steps = {step["place"]: step for step in done.report["steps"]}
            assert {name: step["outcome"] for name, step in steps.items()} == {
                "edge1": "done",
                "edge2": "failed",
                "edge3": "done",
            }
            assert dead in steps["edge2"]["reason"]
            assert not visitor.finds("/a")
            assert not second.finds("/a")
        shown = cachekit.run("status", "pages", "--node", "edge1")
        assert shown.code == 0, shown.stderr
