"""Words, expressions and settings of the varnish cache, without a server."""

import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachekit.caches.varnish import Varnish
from cachekit.caches.varnish.asking import to_pages
from cachekit.caches.varnish.bans import MAX_BYTES, Headers, Vocabulary, keys
from cachekit.caches.varnish.calls import Call, check_requests
from cachekit.caches.varnish.clearing import command
from cachekit.caches.varnish.marks import set_by
from cachekit.caches.varnish.patterns import literal, of_host, one_of, page_of, tagged, written
from cachekit.caches.varnish.presets import PRESETS
from cachekit.config import load
from cachekit.errors import ConfigError
from cachekit.model import Node, parse_address
from cachekit.scope import EVERYTHING, Kind, Scope
from tests.shelves import conditions

SITE = "https://shop.example"
CLI = parse_address("127.0.0.1:6082")


def bans(scope: Scope, **keys: Any) -> list[str]:
    vocabulary = Vocabulary(**keys)
    return [vocabulary.ban(words) for words in vocabulary.words(scope, SITE)]


@given(st.binary(min_size=1))
def test_a_literal_is_one_printable_word_that_matches_nothing_else(raw: bytes) -> None:
    pattern = literal(raw)
    assert re.fullmatch(r"[!-~]+", pattern)
    assert '"' not in pattern
    assert re.fullmatch(pattern.encode(), raw, re.DOTALL)
    assert not re.fullmatch(pattern.encode(), raw + b"x", re.DOTALL)


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        (EVERYTHING, ["obj.status != 0"]),
        (Scope(Kind.RELEASE, ("r 1",)), [r"obj.http.x-release ~ ^r\x201\z"]),
        (
            Scope(Kind.URL, ("/a.html", f"{SITE}/b?c#d", "http://Other.example")),
            [
                r"obj.http.x-host ~ (?i)^shop\.example(?::(?:80|443))?\z"
                r" && obj.http.x-url ~ ^(?:/a\.html|/b\?c)\z",
                r"obj.http.x-host ~ (?i)^other\.example(?::(?:80|443))?\z"
                r" && obj.http.x-url ~ ^/\z",
            ],
        ),
        (
            Scope(Kind.URL_PREFIX, ("/a/",)),
            [r"obj.http.x-host ~ (?i)^shop\.example(?::(?:80|443))?\z && obj.http.x-url ~ ^/a/"],
        ),
        (
            Scope(Kind.TAG, ("a", "b.c")),
            [r"obj.http.x-cache-tags ~ (?:^|[\x2c\x20])\s*(?:a|b\.c)\s*(?:\z|[\x2c\x20])"],
        ),
    ],
)
def test_what_bans_look_like(scope: Scope, expected: list[str]) -> None:
    assert bans(scope) == expected


def test_headers_have_the_names_of_the_vcl() -> None:
    headers = Headers(url="X-Url", host="X-Host", tags="X-Magento-Tags", release="X-Deploy")
    assert bans(Scope(Kind.RELEASE, ("1",)), headers=headers) == [r"obj.http.X-Deploy ~ ^1\z"]
    (ban,) = bans(Scope(Kind.URL, ("/",)), headers=headers, match="request")
    assert ban.startswith("req.http.host ~ ")
    assert " && req.url ~ " in ban
    with pytest.raises(ValueError, match="'x y' is no name of a header"):
        Headers(url="x y")


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1)))
def test_pieces_are_short_and_lose_nothing(tags: list[str]) -> None:
    tags = [re.sub(r"[\s,]", "-", tag) + "-" * 200 for tag in tags]
    found = list(keys(Scope(Kind.TAG, tuple(tags)))) if tags else []
    assert [tag for words in found for tag in words["keys"].split(" ")] == tags
    assert all(len(words["keys"].encode()) < MAX_BYTES for words in found)


def test_a_command_has_its_backslashes_doubled() -> None:
    assert command(r"obj.http.x-url ~ ^/a\.b") == r"ban obj.http.x-url ~ ^/a\\.b"


@pytest.mark.parametrize(
    ("regex", "expected"),
    [
        ("^/a b", r"^/a\x20b"),
        (r"/\ [ \"]x", r"/\x20[\x20\x22]x"),
        (r"\\ ", r"\\\x20"),
        (r"\d+\.png$", r"\d+\.png$"),
    ],
)
def test_a_regex_stays_what_it_was_in_one_word(regex: str, expected: str) -> None:
    assert written(regex) == expected


@pytest.mark.parametrize(
    ("scope", "said"),
    [
        (Scope(Kind.URL_REGEX, ("/é",)), "%C3%A9"),
        (Scope(Kind.URL_REGEX, ("(?x) /a",)), "flag x"),
        (Scope(Kind.URL_REGEX, ("^https?://shop/a",)), "path and query"),
        (Scope(Kind.URL, ("a/b",)), "starts with /"),
        (Scope(Kind.URL, ("//cdn.example/a",)), "starts with /"),
        (Scope(Kind.URL, ("http:///a",)), "starts with /"),
        (Scope(Kind.URL, ("http://me:pw@shop.example/a",)), "starts with /"),
        (Scope(Kind.URL, ("/a b",)), "%20"),
        (Scope(Kind.URL, ("https://café.example/",)), "xn--"),
        (Scope(Kind.URL, ("/" + "x" * MAX_BYTES,)), "too long"),
        (Scope(Kind.TAG, ("a b",)), "separates"),
    ],
)
def test_what_cannot_be_said_is_refused_while_planning(scope: Scope, said: str) -> None:
    cache = Varnish(on=("edge",), cli=CLI)
    assert said in cache.refusal(scope, conditions(site=SITE))


def test_a_release_that_cannot_be_spared_is_refused() -> None:
    cache = Varnish(on=("edge",), cli=CLI, spare_live=True)
    assert "`spare_live` takes ids" in cache.refusal(EVERYTHING, conditions(release='r "42"'))
    assert cache.refusal(EVERYTHING, conditions(release="r42.1")) == ""


@pytest.mark.parametrize("site", ["https://shop.example", "https://shop.example/"])
def test_a_path_begins_at_the_host_of_the_site(site: str) -> None:
    assert page_of("/a?b", site).url == b"http://shop.example/a?b"


def test_a_path_needs_a_site() -> None:
    assert "site" in Varnish(on=("edge",)).refusal(Scope(Kind.URL, ("/a",)), conditions())
    whole = Scope(Kind.URL, ("http://shop.example/a",))
    assert Varnish(on=("edge",)).refusal(whole, conditions()) == ""


@pytest.mark.parametrize(
    ("netloc", "yes", "no"),
    [
        (
            "a.example",
            ["a.example", "A.Example:80", "a.example:443"],
            ["nota.example", "axexample"],
        ),
        ("a.example", [], ["a.example:8080", "a.example.org", "a.example:80x"]),
        ("a.example:8080", ["a.example:8080"], ["a.example", "a.example:80"]),
        ("a.example:80", ["a.example"], ["a.example:8080"]),
        ("[::1]:81", ["[::1]:81"], ["[::1]", "[::1]:8"]),
        ("[::1]", ["[::1]", "[::1]:80"], ["[::1]:81"]),
    ],
)
def test_hosts(netloc: str, yes: list[str], no: list[str]) -> None:
    pattern = of_host(netloc).replace(r"\z", r"\Z")
    assert all(re.search(pattern, host) for host in yes)
    assert not any(re.search(pattern, host) for host in no)


def test_a_tag_ends_where_its_list_says() -> None:
    pattern = tagged(["a"], ",").replace(r"\z", r"\Z")
    assert all(re.search(pattern, each) for each in ("a", "b,a", "a,b", "b, a ,c"))
    assert not any(re.search(pattern, each) for each in ("ab", "b a", "ba", "a b", ""))


def test_a_page_is_what_varnish_sees_of_a_url() -> None:
    page = page_of("HTTPS://Shop.example:8443?q=1#top", "")
    assert (page.netloc, page.target, page.url) == (
        "shop.example:8443",
        b"/?q=1",
        b"http://shop.example:8443/?q=1",
    )
    assert one_of(["a"], whole=False) == "^a"


@given(st.lists(st.from_regex(r"/[!-~]{0,40}", fullmatch=True), min_size=1), st.booleans())
def test_pages_are_asked_for_each_once_and_few_at_a_time(targets: list[str], long: bool) -> None:
    targets = [target.replace("#", "-") + "x" * 3000 * long for target in targets]
    scope = Scope(Kind.URL, tuple(f"http://{n % 2}.example{t}" for n, t in enumerate(targets)))
    call = Call(method="PURGE", to_page=True, more="x-more")
    asked = []
    for url, lines in to_pages(call, scope, SITE):
        more = [target for line in lines for target in line.removeprefix("x-more: ").split(" ")]
        assert len(more) <= 4
        assert sum(map(len, lines)) < MAX_BYTES
        host, _, first = url.decode().removeprefix("http://").partition("/")
        asked += [f"http://{host}{target}" for target in (f"/{first}", *more)]
    assert sorted(asked) == sorted(scope.values)


@pytest.mark.parametrize(
    ("vcl", "names"),
    [
        ("set beresp.http.x-url = bereq.url;", {"x-url"}),
        ('set  beresp.http."X-Url"=bereq.url;set beresp.http.x-host = "";', {"X-Url", "x-host"}),
        ('set beresp.http.a = "http://#/*"; set beresp.http.b = {" " // "};', {"a", "b"}),
        ('set beresp.http.a = """x # " /*\n"""; set beresp.http.b = "";', {"a", "b"}),
        ("set /* as */ beresp.http.x-url = bereq.url;", {"x-url"}),
        ("# set beresp.http.x-url = bereq.url;", set()),
        ("// set beresp.http.x-url = bereq.url;", set()),
        ("/* set\nberesp.http.x-url = bereq.url; */", set()),
        ("unset resp.http.x-url; set resp.http.x-url = req.url;", set()),
        ("set beresp.ttl = 1h; if (beresp.http.x-url == req.url) {}", set()),
    ],
)
def test_only_what_a_vcl_sets_on_objects_is_a_mark(vcl: str, names: set[str]) -> None:
    assert set_by(vcl) == names


# --- settings ---


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"cli": parse_address("127.0.0.1")}, "expected host:port"),
        ({"cli": parse_address("unix:/run/v.sock")}, "expected host:port"),
        ({"cli": CLI, "preset": "fos"}, "are for HTTP"),
        ({"cli": CLI, "soft": True}, "are for HTTP"),
        ({"cli": CLI, "secret_file": Path("secret")}, "absolute path on the node"),
        ({"secret_file": Path("/secret")}, "belongs to `cli`"),
        ({"preset": "fos", "soft": True}, "no way to let pages expire"),
        ({"preset": "fos", "spare_live": True}, "cannot leave a release out"),
        ({"preset": "purge", "spare_live": True}, "cannot leave a release out"),
        ({"tag_separators": ""}, "at least one character"),
    ],
)
def test_settings_that_cannot_work(given: Mapping[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        Varnish(on=("edge",), **given)


@pytest.mark.parametrize(
    ("kind", "call", "said"),
    [
        ("url", Call(method="BAN", headers={"x": "{tags}"}), "{tags} is not known here; there are"),
        ("url", Call(method="PURGE", to_page=True, headers={"x": "{url}"}), "the page itself"),
        (
            "tag",
            Call(method="PURGE", headers={"x": "{keys}", "y": "{tags}"}),
            "{keys} stands alone",
        ),
        ("url-prefix", Call(method="PURGE", to_page=True), "only `url` can go `to_page`"),
    ],
)
def test_requests_that_cannot_be_written(kind: Any, call: Call, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        check_requests({kind: call})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"method": "purge it"}, "in capitals"),
        ({"method": "PURGE", "headers": {"x y": "1"}}, "no name of a header"),
        ({"method": "PURGE", "headers": {"x": "1\r\nHost: other"}}, "control character"),
        ({"method": "PURGE", "answer": "("}, "answer: "),
    ],
)
def test_calls_that_cannot_be_sent(given: Mapping[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        Call(**given)


def test_presets_are_sound() -> None:
    for preset in PRESETS.values():
        for calls in (preset.calls, preset.soft):
            check_requests(calls)  # type: ignore[arg-type]


SETTINGS = """
site: https://shop.example
nodes: {edge1: {address: 127.0.0.1:6081, groups: [edge]}}
caches:
  pages:
    type: varnish
    on: edge
"""


def read(tmp_path: Path, *lines: str) -> Varnish:
    file = tmp_path / "cachekit.yaml"
    file.write_text(SETTINGS + "".join(f"    {line}\n" for line in lines))
    cache = load(file, {}).caches["pages"]
    assert isinstance(cache, Varnish)
    return cache


def test_settings_of_a_site_s_own_vcl(tmp_path: Path) -> None:
    cache = read(
        tmp_path,
        "preset: fos",
        "headers: {tags: X-Tags}",
        "requests:",
        "  tag: {method: BAN, headers: {X-Regex: '{tags}'}, answer: Ban added}",
    )
    assert cache.headers.tags == "X-Tags"
    assert cache.requests["tag"].answer == "Ban added"


def test_settings_of_a_management_port(tmp_path: Path) -> None:
    cache = read(tmp_path, 'cli: "{address}:6082"', "secret_file: secret", "secret_here: true")
    assert cache.cli == parse_address("{address}:6082")
    assert cache.secret_file == tmp_path / "secret"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["cli: 127.0.0.1"], "expected host:port"),
        (["preset: fso"], "fos"),
        (["requests: {tag: {method: BAN, heders: {}}}"], "did you mean 'headers'"),
        (["requests: {tags: {method: BAN}}"], "tag"),
        (["headers: {urls: x}"], "did you mean 'url'"),
    ],
)
def test_faults_are_named_in_place(lines: list[str], said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        read(tmp_path, *lines)


def test_a_management_port_of_another_machine_needs_a_way_there() -> None:
    far = Node(name="edge", address=parse_address("192.0.2.1"))
    with pytest.raises(ConfigError, match="another machine"):
        Varnish(on=("edge",), cli=CLI).places({"edge": far})
    assert Varnish(on=("edge",)).places({"edge": far})


def test_the_vcl_is_shipped() -> None:
    folder = files("cachekit.caches.varnish")
    assert "std.ban_error()" in (folder / "cachekit.vcl").read_text()
    assert "import xkey" in (folder / "cachekit_xkey.vcl").read_text()
