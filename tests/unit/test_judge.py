"""One response against what was expected of it."""

import gzip
import random
import zlib
from collections.abc import Callable
from typing import Any

import brotli
import pytest
import zstandard

from cachekit.events import FILL, VERIFY, TargetDone
from cachekit.model import Expect, Site, Traits, Verdict
from cachekit.replay import Fault
from cachekit.warming.judge import MAX_HOPS, Judge, decoded_text, follow
from cachekit.warming.lane import KEPT_BODY_BYTES, Target
from cachekit.warming.reasons import explain
from cachekit.warming.verdicts import Classifier
from tests.pieces import head_of, response_of, target_of

SITE = Site("http://shop.example")
PAGE = "<h1>Größe 42</h1>" * 200


COLD_SECONDS = 1.0


def judge(
    *headers: str,
    target: Target | None = None,
    status: int = 200,
    verifying: bool = True,
    last_pass: bool = True,
    elapsed: float = 10.0,
    seconds: float = COLD_SECONDS,
    **response: Any,
) -> TargetDone:
    pass_name = VERIFY if verifying else FILL
    cold = {"web1": COLD_SECONDS} if verifying else {}
    one = Judge(
        pass_name, SITE, Classifier(), elapsed=lambda: elapsed, cold=cold, last_pass=last_pass
    )
    target = target or target_of()
    return one.done(target, response_of(target, status, headers, seconds=seconds, **response))


def expecting(body: bytes = b"", **expect: Any) -> Target:
    target = target_of(expect=Expect(**expect))
    target.body = body
    return target


# ---- passes


def test_on_the_fill_pass_a_miss_is_good_and_needs_no_reason() -> None:
    done = judge("X-Cache: MISS", "Set-Cookie: a=1", verifying=False)
    assert (done.ok, done.verdict, done.reasons) == (True, Verdict.MISS, ())
    assert (done.pass_name, done.node, done.url) == (FILL, "web1", b"http://shop.example/page")


def test_on_the_verify_pass_only_a_hit_needs_no_reason() -> None:
    assert judge("X-Cache: HIT").reasons == ()
    assert judge("X-Cache: MISS").reasons == ("gone",)
    assert judge("X-Varnish: 5").verdict is Verdict.MISS
    uncacheable = judge("X-Cache: MISS", "Set-Cookie: a=1", "Cache-Control: private")
    assert uncacheable.verdict is Verdict.UNCACHEABLE
    assert uncacheable.reasons == ("set-cookie", "cache-control-private")
    assert uncacheable.ok
    assert uncacheable.detail == "x-cache: MISS"


def test_without_a_signal_nothing_is_known() -> None:
    done = judge("Age: 7")
    assert (done.ok, done.verdict) == (True, Verdict.UNKNOWN)
    assert done.reasons == ("no-signal", "weak-age")


def test_much_faster_than_cold_is_weak_evidence_and_no_proof() -> None:
    done = judge(seconds=COLD_SECONDS / 5)
    assert (done.verdict, done.reasons) == (Verdict.UNKNOWN, ("no-signal", "weak-time"))
    assert judge(seconds=COLD_SECONDS / 2).reasons == ("no-signal",)
    assert judge("X-Cache: MISS", seconds=COLD_SECONDS / 5).reasons == ("gone",)


def test_a_lifetime_shorter_than_the_run_is_the_reason_of_a_miss() -> None:
    assert judge("X-Cache: MISS", "Cache-Control: max-age=60", elapsed=61).reasons == ("short-ttl",)
    assert judge("X-Cache: MISS", "Cache-Control: max-age=60", elapsed=59).reasons == ("gone",)


def test_a_hit_of_what_must_not_be_cached_is_told() -> None:
    target = target_of(traits=Traits(cacheable=False, required=True))
    done = judge("X-Cache: HIT", target=target)
    assert (done.ok, done.reasons) == (True, ("unexpected-hit",))
    assert (done.asked.counts_for_hit, done.asked.required) == (False, True)


@pytest.mark.parametrize("header", ["Cookie: id=7", "authorization: Basic x"])
def test_personal_pages_say_why_they_are_no_hit(header: str) -> None:
    target = target_of(headers=["Accept: */*", header], personal=True)
    done = judge("X-Cache: MISS", target=target)
    assert done.verdict is Verdict.UNCACHEABLE
    assert done.reasons == (header.partition(":")[0].lower(),)
    assert not done.asked.counts_for_hit


@pytest.mark.parametrize("verifying", [False, True])
@pytest.mark.parametrize("word", ["HIT", "STALE"])
def test_a_personal_page_out_of_a_cache_is_a_leak(word: str, verifying: bool) -> None:
    done = judge(f"X-Cache: {word}", target=target_of(personal=True), verifying=verifying)
    assert (done.ok, done.verdict, done.reasons) == (False, Verdict.ERROR, ("leak",))
    assert done.detail == f"x-cache: {word}"


@pytest.mark.parametrize(
    ("header", "redirect_url"),
    [
        ("X-Cache: HIT, " + "A" * 60_000, b""),
        ("X-Cache: " + "A" * 60_000, b""),
        ("X-Cache: HIT", b"http://elsewhere.example/" + b"A" * 60_000),
    ],
)
def test_evidence_is_cut_to_what_a_report_has_room_for(header: str, redirect_url: bytes) -> None:
    done = judge(header, status=500, redirect_url=redirect_url)
    assert len(done.detail) == 300
    assert done.detail.endswith("AAA...")


# ---- status and faults


def test_a_fault_is_the_reason_and_its_detail_is_kept() -> None:
    done = judge("X-Cache: HIT", fault=Fault.TRUNCATED)
    assert (done.ok, done.verdict, done.reasons) == (False, Verdict.ERROR, ("truncated",))
    assert done.detail == "because"


@pytest.mark.parametrize("fault", list(Fault))
def test_every_fault_is_explained(fault: Fault) -> None:
    done = judge(status=0, fault=fault)
    assert [explain(code).title != code for code in done.reasons] == [True]
    assert explain(done.reasons[0]).advice


@pytest.mark.parametrize("status", [300, 304, 404, 429, 500, 503])
def test_a_status_outside_200_is_a_failure(status: int) -> None:
    done = judge("X-Cache: HIT", status=status)
    assert (done.ok, done.reasons) == (False, (f"status-{status}",))
    assert explain(done.reasons[0]).title.startswith(f"status {status}")


def test_an_expected_status_is_ok_and_no_other() -> None:
    assert judge("X-Cache: HIT", status=404, target=expecting(status=(404, 410))).ok
    assert judge("X-Cache: HIT", target=expecting(status=(404,))).reasons == ("status-200",)
    gone = judge(
        "X-Cache: HIT",
        status=301,
        redirect_url=b"http://shop.example/new",
        target=expecting(status=(301,), contains=("never looked for in a redirect",)),
    )
    assert gone.ok


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        (b"http://shop.example/other", "redirect"),
        (b"http://shop.example/authors/jane", "redirect"),
        (b"http://elsewhere.example/page", "redirect-off-site"),
        (b"http://shop.example@elsewhere.example/", "redirect-off-site"),
        (b"http://shop.example/login?next=/page", "login-redirect"),
        (b"http://shop.example/user/Sign-In", "login-redirect"),
        (b"https://login.shop.example/", "login-redirect"),
        (b"http://shop.example/?action=log-in&x", "login-redirect"),
        (b"https://sso.corp.example/start", "login-redirect"),
    ],
)
def test_redirects_are_failures_of_their_own_kinds(location: bytes, reason: str) -> None:
    done = judge(status=302, redirect_url=location)
    assert (done.ok, done.reasons) == (False, (reason,))
    assert done.detail.startswith("Location: http")


def test_a_page_about_logging_in_may_move_or_be_asked() -> None:
    target = target_of(b"http://shop.example/login-help")
    moved = judge(status=301, redirect_url=b"http://shop.example/login-help/", target=target)
    assert moved.reasons == ("redirect",)
    assert judge("X-Cache: HIT", target=target).ok


def test_a_followed_redirect_that_ends_at_a_login_page_is_a_failure() -> None:
    target = target_of(b"http://shop.example/auth/orders")
    response = response_of(target, 302, redirect_url=b"http://shop.example/login?to=/auth/orders")
    assert follow(target, response, SITE)
    done = judge("X-Cache: HIT", target=target)
    assert (done.ok, done.reasons) == (False, ("login-redirect",))
    assert done.url == b"http://shop.example/auth/orders"


# ---- following


def test_redirects_are_followed_on_the_site_only() -> None:
    target = target_of()
    for location in (
        b"",
        b"http://elsewhere.example/",
        b"http://elsewhere.example:80@x/",
        b"file:///etc/passwd",
        b"http://user:word@shop.example/",
    ):
        assert not follow(target, response_of(target, 302, redirect_url=location), SITE)
    target.body = b"of the first"
    there = b"https://shop.example/there"
    assert follow(target, response_of(target, 302, redirect_url=there), SITE)
    assert (target.url, target.public_url) == (there, b"http://shop.example/page")
    assert (target.hops, target.body) == (1, b"")


def test_a_redirect_loop_ends() -> None:
    target = target_of()
    response = response_of(target, 302, redirect_url=b"http://shop.example/page")
    for _ in range(MAX_HOPS):
        assert follow(target, response, SITE)
    assert not follow(target, response, SITE)
    done = judge(status=302, redirect_url=b"http://shop.example/page", target=target)
    assert done.reasons == ("redirect-loop",)


# ---- time


def test_time_is_judged_where_visitors_meet_it() -> None:
    slow: dict[str, Any] = {"seconds": 2.5, "target": expecting(max_time=2.0)}
    assert judge("X-Cache: HIT", **slow).reasons == ("slow",)
    assert judge("X-Cache: HIT", last_pass=False, verifying=False, **slow).ok
    assert judge("X-Cache: HIT", seconds=1.9, target=expecting(max_time=2.0)).ok


# ---- content


@pytest.mark.parametrize(
    ("expect", "reasons"),
    [
        ({"contains": ("Größe", "42")}, ()),
        ({"contains": ("Größe", "43")}, ("content",)),
        ({"matches": r"Gr.{1,2}e \d+<"}, ()),
        ({"matches": r"^Größe"}, ("content",)),
        ({"not_contains": ("maintenance", "soon back")}, ()),
        ({"not_contains": ("maintenance", "42</h1>")}, ("marker",)),
        (
            {"contains": ("43",), "not_contains": ("42",), "max_time": 0.001},
            ("slow", "content", "marker"),
        ),
    ],
)
def test_content(expect: dict[str, Any], reasons: tuple[str, ...]) -> None:
    target = expecting(PAGE.encode(), **expect)
    done = judge("X-Cache: HIT", target=target)
    assert (done.reasons, done.ok) == (reasons, not reasons)


def test_a_maintenance_page_is_named_by_all_its_signs() -> None:
    target = expecting(b"<h1>Soon back</h1>", contains=("shop",), not_contains=("Soon back",))
    assert judge(status=503, target=target).reasons == ("status-503", "content", "marker")


ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "GZIP": gzip.compress,
    "deflate": zlib.compress,
    "br": lambda data: bytes(brotli.compress(data, quality=4)),
    "zstd": zstandard.compress,
    "identity": bytes,
}


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize("encoding", ENCODERS)
def test_content_is_found_in_every_encoding(encoding: str) -> None:
    packed = ENCODERS[encoding](PAGE.encode())
    target = expecting(packed, contains=("Größe 42",))
    assert judge("X-Cache: HIT", f"Content-Encoding: {encoding}", target=target).ok


def test_raw_deflate_and_several_encodings() -> None:
    assert decoded_text(raw_deflate(b"page"), head_of("content-encoding: deflate")) == "page"
    twice = gzip.compress(brotli.compress(b"page"))
    assert decoded_text(twice, head_of("Content-Encoding: br, gzip")) == "page"
    assert decoded_text(twice, head_of("Content-Encoding: br", "Content-Encoding: gzip")) == "page"


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
def test_a_page_that_was_kept_in_part_is_decoded_in_part(encoding: str) -> None:
    noise = random.Random(1).randbytes(200_000).hex()
    packed = ENCODERS[encoding](b"Welcome " + noise.encode())
    text = decoded_text(packed[: len(packed) // 2], head_of(f"Content-Encoding: {encoding}"))
    assert text.startswith("Welcome ")


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "compress", "aes128gcm"])
def test_a_body_that_is_not_what_it_says_is_unknown_and_not_ok(encoding: str) -> None:
    target = expecting(b"<!doctype html><title>plain</title>" * 50, contains=("plain",))
    done = judge("X-Cache: HIT", f"Content-Encoding: {encoding}", target=target)
    assert (done.ok, done.verdict, done.reasons) == (False, Verdict.UNKNOWN, ("not-decodable",))


def test_an_encoding_is_not_looked_at_without_need() -> None:
    assert judge("X-Cache: HIT", "Content-Encoding: compress").ok


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
def test_bombs_are_inflated_to_a_bound(encoding: str) -> None:
    bomb = ENCODERS[encoding](bytes(40 << 20))
    assert len(bomb) < KEPT_BODY_BYTES
    # Brotli rounds its bound up to its own buffers.
    assert len(decoded_text(bomb, head_of(f"Content-Encoding: {encoding}"))) <= 16 << 20


@pytest.mark.parametrize(
    ("content_type", "body", "text"),
    [
        ("text/html; charset=ISO-8859-1", b"Gr\xf6\xdfe", "Größe"),
        ('text/html; Charset="utf-8"', "Größe".encode(), "Größe"),
        ("text/html", "Größe".encode(), "Größe"),
        ("text/html", b"Gr\xf6\xdfe", "Gr\ufffd\ufffde"),
        ("text/html; charset=klingon", b"Gr", "Gr"),
        ("text/html; charset=base64", b"Gr", "Gr"),
        ("text/html; charset=punycode", b"tda", "tda"),
        ("text/html; charset=idna", b"xn--tda", "xn--tda"),
        ("text/html; charset=Windows-1251", b"\xcc\xe8\xf0", "Мир"),
        ("text/html; charset=latin1", b"Gr\xf6\xdfe", "Größe"),
        ("text/html; charset=Shift_JIS", "東京".encode("shift_jis"), "東京"),
        ("text/html; charset=GB2312", "北京".encode("gb2312"), "北京"),
        ("text/html; charset=utf-16", "Größe".encode("utf-16"), "Größe"),
    ],
)
def test_charsets(content_type: str, body: bytes, text: str) -> None:
    assert decoded_text(body, head_of(f"Content-Type: {content_type}")) == text


def test_a_target_keeps_its_first_megabyte_only_if_somebody_looks() -> None:
    assert target_of().sink is None
    target = expecting(contains=("x",))
    assert target.sink is not None
    chunk = b"x" * 100_000
    assert {target.sink(chunk) for _ in range(100)} == {len(chunk)}
    assert KEPT_BODY_BYTES <= len(target.body) < KEPT_BODY_BYTES + len(chunk)
