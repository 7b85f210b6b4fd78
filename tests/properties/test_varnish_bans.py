"""Whatever bytes a URL or a tag has: exactly what is meant dies, in a real Varnish."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cachekit.caches.base import Change
from cachekit.caches.varnish import Varnish as VarnishCache
from cachekit.caches.varnish.calls import Call, KindName
from cachekit.caches.varnish.presets import PRESETS
from cachekit.model import Node, parse_address
from cachekit.scope import EVERYTHING, Kind, Scope
from tests.servers.loop_server import Received
from tests.servers.origin import Origin, Page
from tests.servers.varnish import Varnish, Visitor, clearable
from tests.shelves import conditions

pytestmark = pytest.mark.server

SITE = "http://shop.example"
WAYS = ("cli", "ban", "purge")

# What regular expressions, the management port, VCL or HTTP could take for something else.
NASTY = b"\"\\.*+?()[]{}|^$&=~!%'<>;:,/aA1-"
wire_bytes = st.one_of(
    st.sampled_from(NASTY), st.integers(0x21, 0xFF).filter(lambda byte: byte not in b"#\x7f")
)
targets = st.lists(wire_bytes, max_size=12).map(lambda found: b"/" + bytes(found))


def arrives(value: bytes) -> bool:
    """Tell whether the origin gets a header's value whole: it strips what Python takes for space.

    That is more than HTTP does: also NEL and the no-break space.
    """
    text = value.decode("latin-1")
    return bool(text) and text == text.strip()


tags = (
    st.lists(st.one_of(wire_bytes, st.just(0x20)), min_size=1, max_size=10)
    .map(lambda found: bytes(found).replace(b",", b"").strip())
    .filter(arrives)
)
hostile = st.sampled_from(
    [
        "/a && obj.status != 0",
        '/a" && obj.status != "0',
        "/a\\x20&&\\x20obj.status\\x20!=\\x200",
        "/a\\",
        "/a|",
        "/(?:a|)",
        "/\\E.*",
        "/a <<",
        "/ ",
    ]
)


def tagged(request: Received) -> Page:
    """Tag and release a page as the visitor wishes."""
    return Page(
        "page\n",
        headers={
            "X-Cache-Tags": request.headers.get("x-tags", "none"),
            "X-Release": request.headers.get("x-of-release", "none"),
        },
    )


class Stand:
    """One Varnish, its visitor, and the ways to clear it."""

    def __init__(self, server: Varnish, visitor: Visitor, folder: Path) -> None:
        self.visitor = visitor
        # No release that is made up here is this one.
        self._conditions = conditions(folder, site=SITE, release="live release")
        self._nodes = {"edge1": Node(name="edge1", address=parse_address(server.address))}
        cli, secret = parse_address(server.cli_address), server.secret_file
        ban: dict[KindName, Call] = {"url": PRESETS["cachekit"].calls["tag"]}
        self._caches = {
            "cli": VarnishCache(on=("edge1",), cli=cli, secret_file=secret, tag_separators=","),
            "ban": VarnishCache(on=("edge1",), requests=ban, tag_separators=","),
            "purge": VarnishCache(on=("edge1",)),
        }

    def refusal(self, way: str, scope: Scope) -> str:
        return self._caches[way].refusal(scope, self._conditions)

    def clear(self, way: str, scope: Scope) -> Change:
        cache = self._caches[way]
        assert cache.refusal(scope, self._conditions) == ""
        return cache.clear(cache.places(self._nodes)[0], scope, self._conditions)


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    with Origin() as origin:
        origin.default = tagged
        # A visitor may be busy elsewhere for longer than the usual five seconds.
        patient = ("-p", "timeout_idle=120")
        vcl = clearable()
        with (
            Varnish(origin=origin.address, vcl=vcl, cli=True, arguments=patient) as server,
            Visitor(server) as visitor,
        ):
            yield Stand(server, visitor, tmp_path_factory.mktemp("state"))


def text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def around(value: bytes) -> set[bytes]:
    """Make values that are nearly the one, and those that it would match if it were a pattern."""
    return {
        value + b"x",
        value[:-1] + b"~" if len(value) > 1 else b"/~",
        value.swapcase(),
        value.replace(b".", b"x"),
        value.replace(b"\\", b""),
        value.replace(b"*", b"").replace(b"+", b"").replace(b"?", b""),
    }


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=40, deadline=None)
@given(target=targets)
@example(b"/a.html")
@example(b"/(a|b)*")
@example(b'/"\\x61"')
@example(b"/caf\xc3\xa9?%c3%A9")
def test_exactly_one_url_dies(stand: Stand, way: str, target: bytes) -> None:
    others = {b"/x" + target, *around(target)} - {target}
    others = {other for other in others if other.startswith(b"/")}
    for each in (target, *others):
        stand.visitor.visit(each)
    assert stand.clear(way, Scope(Kind.URL, (SITE + text(target),))).evidence
    assert not stand.visitor.finds(target)
    assert {other for other in others if stand.visitor.finds(other)} == others


@settings(max_examples=40, deadline=None)
@given(target=targets, way=st.sampled_from(WAYS[:2]))
def test_a_prefix_takes_what_starts_with_it(stand: Stand, way: str, target: bytes) -> None:
    pages = {target, target + b"?q", b"/x" + target, *around(target)}
    pages = {page for page in pages if page.startswith(b"/")}
    for page in pages:
        stand.visitor.visit(page)
    stand.clear(way, Scope(Kind.URL_PREFIX, (SITE + text(target),)))
    kept = {page for page in pages if stand.visitor.finds(page)}
    assert kept == {page for page in pages if not page.startswith(target)}


@pytest.mark.parametrize(("kind", "header"), [(Kind.TAG, "X-Tags"), (Kind.RELEASE, "X-Of-Release")])
@settings(max_examples=40, deadline=None)
@given(tag=tags, way=st.sampled_from(WAYS[:2]))
@example(b"\xc3\xa9 t\xc3\xa9", "cli")
@example(b"a.b-c", "ban")
def test_exactly_one_tag_or_release_dies(
    stand: Stand, kind: Kind, header: str, tag: bytes, way: str
) -> None:
    stand.clear(way, EVERYTHING)
    others = {other for other in (b"x" + tag, *around(tag)) if b"," not in other}
    others = {other for other in others - {tag} if arrives(other)}
    carried = {b"/%d" % number: value for number, value in enumerate((tag, *others))}
    if kind is Kind.TAG:
        carried = {page: b"first," + value + b", last" for page, value in carried.items()}
    for page, value in carried.items():
        stand.visitor.visit(page, {header: value})
    assert stand.clear(way, Scope(kind, (text(tag),))).evidence
    assert not stand.visitor.finds(b"/0")
    assert all(stand.visitor.finds(page) for page in list(carried)[1:])


@settings(max_examples=40, deadline=None)
@given(
    value=hostile,
    kind=st.sampled_from([Kind.URL, Kind.TAG, Kind.RELEASE]),
    way=st.sampled_from(WAYS),
)
def test_nothing_widens_a_ban(stand: Stand, value: str, kind: Kind, way: str) -> None:
    stand.clear(way, EVERYTHING)
    for page in (b"/a", b"/b"):
        stand.visitor.visit(page, {"X-Tags": "a"})
    scope = Scope(kind, (value,))
    if not stand.refusal(way, scope):
        stand.clear(way, scope)
    assert stand.visitor.finds(b"/a")
    assert stand.visitor.finds(b"/b")
