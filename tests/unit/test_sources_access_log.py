"""Access logs: every common format, the top of them, and nothing that could do harm."""

import gzip
import re
from pathlib import Path

import pytest

from cachekit.sources.access_log import AccessLog
from cachekit.testing.sources import FakeSite

BROWSER = "Mozilla/5.0 (X11; Linux x86_64)"


def line(url: str, *, status: int = 200, agent: str = BROWSER, method: str = "GET") -> str:
    return (
        f'10.0.0.1 - - [10/Oct/2025:13:55:36 -0700] "{method} {url} HTTP/1.1" {status} 2326 '
        f'"https://shop.example/" "{agent}"\n'
    )


def read(
    tmp_path: Path, lines: str | bytes, *, top: int | None = None, **options: object
) -> tuple[list[bytes], FakeSite]:
    file = tmp_path / "access.log"
    file.write_bytes(lines.encode() if isinstance(lines, str) else lines)
    site = FakeSite(allow_hosts=("www.shop.example",))
    source = AccessLog(access_log=(file,), top=top, **options)  # type: ignore[arg-type]
    return [entry.url.removeprefix(b"https://shop.example") for entry in site.read(source)], site


@pytest.mark.parametrize(
    "written",
    [
        '1.2.3.4 - - [10/Oct/2000:13:55:36 -0700] "GET /a HTTP/1.0" 200 2326',
        '1.2.3.4 - - [10/Oct/2000:13:55:36 -0700] "GET /a HTTP/2.0" 200 - "-" "Mozilla"',
        '::1 - - [10/Oct/2000:13:55:36 -0700] "GET /a HTTP/1.1" 304 0 "-" "Moz \\"x\\" illa" 0.003',
        '1.2.3.4 - - [10/Oct/2000:13:55:36] "GET http://shop.example/a HTTP/1.1" 200 5 "-" "M"',
        '1.2.3.4 - - [10/Oct/2000:13:55:36] "GET HTTP://SHOP.example:443/a HTTP/1.1" 200 5',
        'shop.example:443 1.2.3.4 - - [10/Oct/2000:13:55:36 -0700] "GET /a HTTP/1.1" 200 5 "-" "M"',
        '1.2.3.4 [10/Oct/2000:13:55:36 -0700] "GET /a HTTP/1.1" 200 5',
        'shop.example 1.2.3.4 [10/Oct/2000:13:55:36 -0700] "GET /a HTTP/1.1" 200 5',
        '1.2.3.4 - - [10/Oct/2000:13:55:36 -0700] "GET /a" 200 5',
    ],
)
def test_every_common_format_is_read(tmp_path: Path, written: str) -> None:
    urls, site = read(tmp_path, written)
    assert site.drops == {}
    assert urls == [b"/a"]


@pytest.mark.parametrize(
    "before", ["1.2.3.4 - frank", "1.2.3.4 - Anna Berg", "shop.example:443 1.2.3.4 - frank"]
)
def test_what_a_user_saw_who_had_logged_in_is_not_replayed(tmp_path: Path, before: str) -> None:
    urls, site = read(tmp_path, f'{before} [10/Oct/2000:13:55:36 -0700] "GET /a HTTP/1.1" 200 5')
    assert urls == []
    assert site.drops == {"asked for by a user who had logged in": 1}


def test_the_most_asked_for_come_first_and_equals_as_first_seen(tmp_path: Path) -> None:
    visits = "".join(map(line, ["/b", "/a", "/c", "/c", "/d", "/a", "/c", "/e"]))
    urls, site = read(tmp_path, visits, top=4)
    assert urls == [b"/c", b"/a", b"/b", b"/d"]
    assert site.drops == {"not among the top 4": 1}


def test_a_top_of_none_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a top of 1 or more"):
        AccessLog(access_log=(Path("a.log"),), top=0)


def test_hits_are_the_priority(tmp_path: Path) -> None:
    file = tmp_path / "access.log"
    file.write_text(line("/a") * 3 + line("/b", status=304))
    entries = FakeSite().read(AccessLog(access_log=(file,)))
    assert [entry.priority for entry in entries] == [3.0, 1.0]


def test_several_logs_are_counted_together_gzip_or_not(tmp_path: Path) -> None:
    plain, packed = tmp_path / "access.log", tmp_path / "access.log.1"
    plain.write_text(line("/a") + line("/b"))
    packed.write_bytes(gzip.compress(line("/b").encode()) + gzip.compress(line("/b").encode()))
    entries = FakeSite().read(AccessLog(access_log=(plain, packed)))
    assert [(entry.url[-2:], entry.priority) for entry in entries] == [(b"/b", 3), (b"/a", 1)]


@pytest.mark.parametrize(
    ("visit", "reason"),
    [
        ("junk\n", "not a log line"),
        ("\n", "not a log line"),
        ('1.2.3.4 - - [t] "\\x16\\x03\\x01" 400 226\n', "not a log line"),
        ('1.2.3.4 - - [t] "-" 408 0\n', "not a log line"),
        (line("/a", method="POST"), "not a GET"),
        (line("/a", method="HEAD"), "not a GET"),
        (line("/a", status=404), "answered other than 200 or 304"),
        (line("/a", status=206), "answered other than 200 or 304"),
        (line("/a", agent="Googlebot/2.1 (+http://www.google.com/bot.html)"), "asked for by a bot"),
        (line("/a", agent="curl/7.88.1"), "asked for by a bot"),
        (line("/a?x=1"), "query string"),
        (line("/a?"), "query string"),
        (line("/app.CSS"), "static file"),
        (line("http://evil.example/a"), "another host"),
        ("evil.example:80 " + line("/a"), "another host"),
        (line("http://anna:pw@shop.example/a"), "user name or password in the URL"),
        (line("*"), "not a path"),
        (line("/a\\x00b"), "contains a space or control byte"),
        (line("/a\\tb"), "contains a space or control byte"),
    ],
)
def test_what_is_left_out_is_counted(tmp_path: Path, visit: str, reason: str) -> None:
    urls, site = read(tmp_path, visit)
    assert urls == []
    assert site.drops == {reason: 1}


@pytest.mark.parametrize(
    "path",
    [
        "/logout",
        "/user/log-out",
        "/account/signOut",
        "/wp-login.php",
        "/sign_in",
        "/cart",
        "/checkout/step-1",
        "/unsubscribe/all",
        "/item/7/delete",
        "/deleteItem/7",
        "/DELETE/7",
        "/admin/",
        "/wp-admin/index.php",
        "/api/token",
        "/oauth2/callback",
        "/add-to-cart/5",
        "/%6cogout",
        "/reset-password",
        "/shop;jsessionid=1",
        "/users/ban/5",
        "/users/5/unban",
        "/api/posts/5/like",
        "/api/posts/5/unFollow",
        "/invite/anna",
        "/abmelden",
        "/warenkorb/2",
        "/konto/k%C3%BCndigen",
        "/konto-loeschen",
        "/d%C3%A9connexion",
        "/panier",
        "/carrito",
        "/cerrar-sesi%C3%B3n",
        "/carrello",
        "/winkelwagen",
    ],
)
def test_what_may_change_something_is_not_replayed(tmp_path: Path, path: str) -> None:
    urls, site = read(tmp_path, line(path))
    assert urls == []
    assert site.drops == {"not surely harmless (login, cart, admin, delete, ...)": 1}


@pytest.mark.parametrize(
    "path",
    [
        "/x/d41d8cd98f00b204e9800998ecf8427e",
        "/x/3F2504E0-4F89-41D3-9A0C-0305E82C3301",
        "/x/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N",
        "/x/8Vt5q0XbTnR2mKzL9wYc",
        "/x/kF3_9sLq-Zt7Ye2RwXo1Vb",
        "/x/k3j9x0a8q1w2e4r5",
        "/x/40000000000000000123",
        "/unsub/anna.berg@mail.example",
        "/u/anna%40mail.example",
        "/r/AbC9xQ2",
        "/go/x8Kd92mQ",
        "/watch/dQw4w9WgXcQ",
        "/thanks-for-your-visit-x8Kd92mQ",
    ],
)
def test_what_looks_secret_is_not_replayed(tmp_path: Path, path: str) -> None:
    urls, site = read(tmp_path, line(path))
    assert urls == []
    assert site.drops == {"looks like a token or an e-mail address": 1}


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/product/12345-red-summer-dress",
        "/blog-index",
        "/blog-in-depth",
        "/catalog/women/shoes",
        "/cartoons/carton",
        "/administrative-law-explained",
        "/p/B07XJ8C8F7",
        "/ean/4006381333931",
        "/iPhone-15-Pro-Max-256GB-Blue",
        "/sony-wh1000xm5-noise-cancelling-headphones",
        "/AboutOurCompanyHistory",
        "/donaudampfschifffahrtsgesellschaft-2024",
        "/just-like-home",
        "/blog/report-2024",
        "/likes",
        "/kassel",
        "/iPhone15Pro",
        "/PS5Pro",
        "/MacBookPro14",
        "/AB12CD34",
        "/2024-01-02-03-04-05-news",
        "/@anna",
        "/%D0%B4%D0%BE%D0%BC",
        "/a//b/../%61",
    ],
)
def test_ordinary_pages_are_kept_byte_for_byte(tmp_path: Path, path: str) -> None:
    urls, site = read(tmp_path, line(path))
    assert urls == [path.encode()]
    assert site.drops == {}


def test_escapes_become_the_bytes_that_were_asked_for(tmp_path: Path) -> None:
    urls, _ = read(tmp_path, line("/caf\\xC3\\xA9/\\x22x\\x22") + line('/\\"q\\\\'))
    assert urls == [b'/caf\xc3\xa9/"x"', b'/"q\\']


def test_a_path_of_two_slashes_is_no_other_host(tmp_path: Path) -> None:
    urls, _ = read(tmp_path, line("//a/b"))
    assert urls == [b"//a/b"]


def test_an_allowed_virtual_host_keeps_its_name(tmp_path: Path) -> None:
    urls, _ = read(tmp_path, "www.shop.example:443 " + line("/a"))
    assert urls == [b"https://www.shop.example/a"]


def test_static_files_and_bots_can_be_kept(tmp_path: Path) -> None:
    visits = line("/app.css") + line("/a", agent="Googlebot/2.1")
    assert read(tmp_path, visits, static=True, bots=True)[0] == [b"/app.css", b"/a"]


def test_query_strings_can_be_allowed_by_name(tmp_path: Path) -> None:
    visits = line("/s?page=2&sort=up") + line("/s?page=2&utm=x") + line("/s?page")
    urls, site = read(tmp_path, visits, allow_query=("page", "sort"))
    assert urls == [b"/s?page=2&sort=up", b"/s?page"]
    assert site.drops == {"query string": 1}


def test_an_allowed_query_string_must_be_harmless_all_the_same(tmp_path: Path) -> None:
    visits = line("/?b=2&a=1") + line("/?add-to-cart=5") + line("/?key=8Vt5q0XbTnR2mKzL9wYc")
    urls, site = read(tmp_path, visits, allow_query=True)
    assert urls == [b"/?b=2&a=1"]
    assert site.drops.total() == 2


def test_unsafe_looking_paths_can_be_allowed(tmp_path: Path) -> None:
    visits = line("/how-to-remove-stains") + line("/remove/5")
    urls, _ = read(tmp_path, visits, allow=(re.compile("^/how-to-"),))
    assert urls == [b"/how-to-remove-stains"]


def test_what_is_dropped_is_told_nowhere(tmp_path: Path) -> None:
    visits = line("/x/8Vt5q0XbTnR2mKzL9wYc") + line("/u/anna@mail.example") + line("/logout?k=s3cr")
    _, site = read(tmp_path, visits)
    told = str(site.drops)
    assert not any(secret in told for secret in ("8Vt5", "anna", "s3cr"))


def test_standard_input_is_read() -> None:
    site = FakeSite(stdin=line("/a").encode())
    source = AccessLog(access_log=(Path("-"),))
    assert [entry.url for entry in site.read(source)] == [b"https://shop.example/a"]
    assert source.describe() == "standard input"


def test_hostile_paths_are_judged_quickly(tmp_path: Path) -> None:
    """An e-mail address that never ends took time by the square of its length: minutes for this."""
    visits = "".join(line(f"/{number}{'z' * 64000}@") for number in range(20))
    urls, _ = read(tmp_path, visits)
    assert len(urls) == 20
