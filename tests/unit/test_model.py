"""Sites, addresses, and how URLs and foreign text are shown."""

import pytest

from cachekit.model import (
    Address,
    Expect,
    Site,
    UrlRefusedError,
    has_userinfo,
    parse_address,
    shown,
    shown_url,
)

SITE = Site("https://Shop.Example/start", allow_hosts=("www.shop.example", "img.example:8443"))


def test_a_site_is_a_scheme_and_a_host() -> None:
    assert (str(SITE), SITE.scheme, SITE.host, SITE.port) == (
        "https://shop.example",
        "https",
        "shop.example",
        443,
    )
    assert (Site("http://a.example:8080").host, Site("http://a.example:8080").port) == (
        "a.example",
        8080,
    )
    assert (Site("http://[::1]:81").host, Site("http://[::1]:81").port) == ("[::1]", 81)


@pytest.mark.parametrize(
    "written",
    [
        "",
        "shop.example",
        "ftp://shop.example",
        "https://",
        "https://u:p@shop.example",
        "http://a b",
    ],
)
def test_what_is_no_site_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="expected a base URL"):
        Site(written)


@pytest.mark.parametrize(
    ("written", "absolute"),
    [
        (b"/", b"https://shop.example/"),
        (b"/a//b/../c?z=1&a=%2f&&#top", b"https://shop.example/a//b/../c?z=1&a=%2f&&"),
        (b"//www.shop.example/x", b"https://www.shop.example/x"),
        (b"https://shop.example/%61", b"https://shop.example/%61"),
        (b"HTTPS://SHOP.example/A", b"HTTPS://SHOP.example/A"),
        (b"http://shop.example/plain", b"http://shop.example/plain"),
        (b"https://shop.example:443/", b"https://shop.example:443/"),
        (b"https://shop.example?q", b"https://shop.example?q"),
        (b"https://img.example:8443/i.png", b"https://img.example:8443/i.png"),
        (b"https://u:p@shop.example/", b"https://u:p@shop.example/"),
        ("/größe".encode(), "https://shop.example/größe".encode()),
        (b"/\\evil.example/[x]{y}|^`\"'<>", b"https://shop.example/\\evil.example/[x]{y}|^`\"'<>"),
    ],
)
def test_a_url_is_completed_and_otherwise_left_alone(written: bytes, absolute: bytes) -> None:
    assert SITE.absolute(written) == absolute
    assert SITE.owns(absolute)


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        (b"/a b", "space or control"),
        (b"/a\r\nHost: evil", "space or control"),
        (b"/\x00", "space or control"),
        (b"/\x7f", "space or control"),
        (b"page", "not an http"),
        (b"", "not an http"),
        (b"#top", "not an http"),
        (b"javascript:alert(1)", "not an http"),
        (b"ftp://shop.example/", "not an http"),
        (b"https://evil.example/", "another host"),
        (b"//evil.example/", "another host"),
        (b"https://shop.example:8443/", "another host"),
        (b"https://img.example/", "another host"),
        (b"https://shop.example@evil.example/", "another host"),
        (b"https://shop.example.evil.example/", "another host"),
        (b"https://evil.example?@shop.example/", "another host"),
        (b"https://evil.example/@shop.example/", "another host"),
    ],
)
def test_a_url_that_must_not_be_asked_is_refused_with_a_reason(written: bytes, reason: str) -> None:
    with pytest.raises(UrlRefusedError, match=reason):
        SITE.absolute(written)


def test_a_site_owns_its_hosts_only() -> None:
    assert SITE.owns(b"http://www.shop.example:80/x")
    assert SITE.owns(b"https://user:word@SHOP.EXAMPLE/")
    assert not SITE.owns(b"https://shop.example:8080/")
    assert not SITE.owns(b"file:///etc/passwd")
    assert not SITE.owns(b"")


@pytest.mark.parametrize(
    ("written", "address", "shown_as"),
    [
        ("10.0.0.11", Address(host="10.0.0.11"), "10.0.0.11"),
        (" web1:8443 ", Address(host="web1", port=8443), "web1:8443"),
        ("[::1]:80", Address(host="[::1]", port=80), "[::1]:80"),
        ("unix:/run/web.sock", Address(unix_path="/run/web.sock"), "unix:/run/web.sock"),
    ],
)
def test_addresses(written: str, address: Address, shown_as: str) -> None:
    assert parse_address(written) == address
    assert str(address) == shown_as


@pytest.mark.parametrize(
    ("written", "is_number"),
    [("10.0.0.11:80", True), ("[::1]:80", True), ("web1:80", False), ("unix:/web.sock", False)],
)
def test_a_number_need_not_be_looked_up(written: str, is_number: bool) -> None:
    assert parse_address(written).is_number is is_number


@pytest.mark.parametrize(
    "written",
    [
        *(
            "",
            "::1",
            "web1:0",
            "web1:65536",
            "web1:http",
            "-oProxy",
            "http://web1",
            "a b",
            "u@web1",
        ),
        *("unix:run/web.sock", "[::1", None, 80),
    ],
)
def test_what_is_no_address_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match="expected an address"):
        parse_address(written)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        (b"https://shop.example/a@b", "https://shop.example/a@b"),
        (b"https://user:pass@word@shop.example/x?y=@", "https://***@shop.example/x?y=@"),
        (b"HTTPS://user@shop.example", "HTTPS://***@shop.example"),
        ("https://shop.example/größe".encode(), "https://shop.example/größe"),
        (b"https://shop.example/\xff\x1b[31m", "https://shop.example/\\udcff\\x1b[31m"),
        ("https://shop.example/\u202egnp".encode(), "https://shop.example/\\u202egnp"),
    ],
)
def test_urls_are_shown_without_credentials_or_harm(url: bytes, text: str) -> None:
    assert shown_url(url) == text


def test_userinfo_is_noticed() -> None:
    assert has_userinfo(b"https://user@shop.example/")
    assert not has_userinfo(b"https://shop.example/user@x")
    assert not has_userinfo(b"/user@x")


def test_what_acts_on_a_terminal_is_escaped() -> None:
    assert shown("plain ä") == "plain ä"
    assert shown("\x1b]0;owned\x07\r\n\u2028") == "\\x1b]0;owned\\x07\\r\\n\\u2028"


def test_expectations_inherit_what_they_leave_unset() -> None:
    wide = Expect(status=(200,), contains=("shop",), not_contains=("soon back",), max_time=2.0)
    narrow = Expect(status=(404,), contains=(), matches="x").under(wide)
    assert narrow == Expect(
        status=(404,), contains=(), matches="x", not_contains=("soon back",), max_time=2.0
    )
    assert narrow.needs_body
    assert not Expect(status=(200,), max_time=1.0).needs_body
