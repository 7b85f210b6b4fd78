"""What each product's headers mean, and every reason why a page is no hit."""

import time

import pytest

from cachekit.model import Verdict
from cachekit.settings import VerdictRule
from cachekit.warming.headers import header_values
from cachekit.warming.verdicts import (
    FORBIDS_STORING,
    NO_SIGNAL,
    Classifier,
    Signal,
    reasons_not_hit,
)
from tests.pieces import head_of

HIT, MISS, STALE = Verdict.HIT, Verdict.MISS, Verdict.STALE
UNCACHEABLE, BYPASS, ERROR = Verdict.UNCACHEABLE, Verdict.BYPASS, Verdict.ERROR
UNKNOWN = Verdict.UNKNOWN


def verdict_of(*headers: str) -> Verdict:
    return Classifier().signal(head_of(*headers)).verdict


CACHE_STATUS = [
    ("ExampleCache; hit", HIT),
    ("ExampleCache; hit; ttl=30; detail=x", HIT),
    ("ExampleCache; hit; ttl=-412", STALE),
    ('"a, b; fwd=miss"; hit', HIT),
    ("OriginCache; hit; ttl=1100, CDN Company Here; fwd=uri-miss", MISS),
    ("OriginCache; fwd=miss, CDN; hit; ttl=545", HIT),
    ("c; fwd=uri-miss; stored", MISS),
    ("c; fwd=uri-miss;fwd-status=200;stored;collapsed", MISS),
    ("c; fwd=vary-miss", MISS),
    ("c; fwd=miss", MISS),
    ("c; fwd=partial", MISS),
    ("c; fwd=request", BYPASS),
    ("c; fwd=bypass", BYPASS),
    ("c; fwd=method", BYPASS),
    ("c; fwd=stale", STALE),
    ("c; fwd=stale; fwd-status=304; ttl=300", HIT),
    ('c; fwd=miss; key="a, b; hit"', MISS),
    ('c; fwd=miss; detail="say \\"hit, hit\\""', MISS),
    ("HitCache; fwd=miss", MISS),
    ("hit", UNKNOWN),
    ("c", UNKNOWN),
    ('c; hit; detail="never ends, x', HIT),
]
PRODUCTS = [
    # Varnish
    ("X-Varnish: 32770", MISS),
    ("X-Varnish: 32770 3", HIT),
    ("X-Varnish: 5, 32770 3", HIT),
    ("X-Varnish: 32770 3, 5", MISS),
    ("X-Varnish: 1 2 3", UNKNOWN),
    ("X-Varnish: yes", UNKNOWN),
    ("X-Varnish-Cache: HIT", HIT),
    # nginx
    *(
        (f"{name}: {word}", verdict)
        for name in ("X-Cache-Status", "X-Proxy-Cache", "X-Upstream-Cache-Status")
        for word, verdict in (
            ("MISS", MISS),
            ("BYPASS", BYPASS),
            ("EXPIRED", MISS),
            ("STALE", STALE),
            ("UPDATING", STALE),
            ("REVALIDATED", HIT),
            ("HIT", HIT),
            ("-", UNKNOWN),
            ("", UNKNOWN),
        )
    ),
    ("X-FastCGI-Cache: HIT", HIT),
    # Fastly
    ("X-Cache: MISS", MISS),
    ("X-Cache: HIT", HIT),
    ("X-Cache: MISS, HIT", HIT),
    ("X-Cache: HIT, MISS", HIT),
    ("X-Cache: MISS, MISS", MISS),
    # Cloudflare
    *(
        (f"CF-Cache-Status: {word}", verdict)
        for word, verdict in (
            ("HIT", HIT),
            ("MISS", MISS),
            ("EXPIRED", MISS),
            ("STALE", STALE),
            ("UPDATING", STALE),
            ("REVALIDATED", HIT),
            ("BYPASS", BYPASS),
            ("DYNAMIC", UNCACHEABLE),
            ("NONE/UNKNOWN", UNCACHEABLE),
        )
    ),
    # CloudFront
    ("X-Cache: Hit from cloudfront", HIT),
    ("X-Cache: RefreshHit from cloudfront", HIT),
    ("X-Cache: Miss from cloudfront", MISS),
    ("X-Cache: Error from cloudfront", ERROR),
    # Akamai
    *(
        (f"X-Cache: {prefix}{word} from a23-1.deploy.akamaitechnologies.com (AkamaiGHost)", verdict)
        for prefix in ("TCP_", "")
        for word, verdict in (
            ("HIT", HIT),
            ("MEM_HIT", HIT),
            ("IMS_HIT", HIT),
            ("REFRESH_HIT", HIT),
            ("MISS", MISS),
            ("REFRESH_MISS", MISS),
            ("REFRESH_FAIL_HIT", STALE),
            ("NEGATIVE_HIT", ERROR),
            ("DENIED", ERROR),
        )
    ),
    ("X-Cache: TCP_MISS from child, TCP_HIT from parent", HIT),
    # Squid
    ("X-Cache: HIT from proxy.example:3128", HIT),
    ("X-Cache: MISS from proxy.example", MISS),
    # LiteSpeed
    ("X-LiteSpeed-Cache: hit", HIT),
    ("X-LiteSpeed-Cache: miss", MISS),
    ("X-LiteSpeed-Cache: hit,private", HIT),
    ("X-QC-Cache: hit", HIT),
    ("X-LSADC-Cache: hit", HIT),
]


@pytest.mark.parametrize(("value", "verdict"), CACHE_STATUS)
def test_cache_status_is_read_by_its_last_member(value: str, verdict: Verdict) -> None:
    assert verdict_of(f"Cache-Status: {value}") is verdict


@pytest.mark.parametrize(("header", "verdict"), PRODUCTS)
def test_every_product(header: str, verdict: Verdict) -> None:
    assert verdict_of("Server: x", header, "Age: 0") is verdict


def test_cache_status_may_stand_in_several_lines() -> None:
    assert verdict_of("Cache-Status: a; fwd=miss", "Cache-Status: b; hit") is HIT
    assert verdict_of("Cache-Status: b; hit", "Cache-Status: a; fwd=miss") is MISS


def test_age_alone_says_nothing() -> None:
    assert Classifier().signal(head_of("Age: 100")) is NO_SIGNAL


@pytest.mark.parametrize("name", ["x-cache-status", "X-CACHE-STATUS", "X-cAcHe-StAtUs"])
@pytest.mark.parametrize("space", ["", " ", "\t  "])
def test_names_come_in_any_case(name: str, space: str) -> None:
    assert verdict_of(f"{name}:{space}hIt ") is HIT


def test_a_name_inside_another_or_inside_a_value_is_no_signal() -> None:
    assert verdict_of("Not-X-Cache: HIT", "X-Cache-Hits: 1", "Via: X-Cache: HIT") is UNKNOWN


def test_the_standard_comes_before_products_and_the_near_before_the_far() -> None:
    assert verdict_of("X-Cache: HIT", "Cache-Status: c; fwd=miss") is MISS
    assert verdict_of("X-Varnish: 1 2", "CF-Cache-Status: MISS") is MISS
    assert verdict_of("X-Varnish: 1 2", "X-Cache: MISS") is MISS


def test_what_is_not_understood_leaves_the_word_to_the_next() -> None:
    assert verdict_of("X-Cache: CONFIG_NOCACHE", "X-Varnish: 1 2") is HIT
    signal = Classifier().signal(head_of("X-Cache: CONFIG_NOCACHE"))
    assert signal == Signal(UNKNOWN, "x-cache: CONFIG_NOCACHE", "signal-not-understood")


def test_the_signal_shows_its_evidence() -> None:
    assert Classifier().signal(head_of("X-CACHE:  MISS, HIT")).shown == "x-cache: MISS, HIT"


def test_rules_of_the_site_come_first_in_their_order() -> None:
    rules = [
        VerdictRule(header="X-Shop-Cache", matches="^(warm|hot)$", verdict=HIT),
        VerdictRule(header="X-Shop-Cache", matches="^cold", verdict=MISS, reason="shop-cold"),
        VerdictRule(header="x-cache", matches="HIT", verdict=STALE, reason="never-trust-it"),
        VerdictRule(header="X-Cache", matches="", verdict=BYPASS),
    ]
    classifier = Classifier(rules)
    assert classifier.signal(head_of("x-shop-cache: hot", "X-Cache: MISS")).verdict is HIT
    cold = classifier.signal(head_of("Cache-Status: c; hit", "X-SHOP-CACHE: cold: 3"))
    assert cold == Signal(MISS, "x-shop-cache: cold: 3", "shop-cold")
    assert classifier.signal(head_of("X-Cache: HIT")).reason == "never-trust-it"
    assert classifier.signal(head_of("X-Cache: anything")).verdict is BYPASS
    unmatched = classifier.signal(head_of("X-Shop-Cache: lukewarm"))
    assert (unmatched.verdict, unmatched.reason) == (UNKNOWN, "signal-not-understood")


@pytest.mark.parametrize("name", ["X", "x-", "X.Y+Z", "^$", "[a]"])
def test_rules_take_any_header_name(name: str) -> None:
    classifier = Classifier([VerdictRule(header=name, matches="1", verdict=HIT)])
    head = b"HTTP/1.1 200 OK\r\n" + name.encode() + b": 1\r\n\r\n"
    assert classifier.signal(head).verdict is HIT


def test_equal_headers_are_decided_once_and_the_memory_is_bounded() -> None:
    classifier = Classifier()
    one, two = (classifier.signal(head_of("X-Cache: HIT", f"Date: {n}")) for n in range(2))
    assert one is two
    for number in range(3000):
        assert classifier.signal(head_of(f"X-Varnish: {number} 5")).verdict is HIT
    assert len(classifier._memo) <= 1000


@pytest.mark.parametrize(
    "value",
    ['c; hit, "' * 20_000, "," * 100_000, '"' * 99_999, '\\"' * 50_000, '"' + "\\" * 99_999],
)
def test_a_hostile_header_takes_no_time(value: str) -> None:
    begun = time.process_time()
    for name in ("Cache-Status", "X-Cache", "X-Varnish", "Cache-Control", "Vary"):
        head = head_of(f"{name}: {value}")
        signal = Classifier().signal(head)
        list(reasons_not_hit(head, 200, signal, elapsed=1.0))
    assert time.process_time() - begun < 5.0


def test_values_of_one_header_in_order() -> None:
    head = head_of("Vary: a", "VARY:b ", "X-Vary: c", "vary :d")
    assert header_values(head, "Vary") == ["a", "b", "d"]


# ---- reasons


def reasons(*headers: str, status: int = 200, elapsed: float = 10.0) -> list[str]:
    head = head_of(*headers, status=status)
    signal = Classifier().signal(head)
    return list(reasons_not_hit(head, status, signal, elapsed=elapsed))


MISSED = "X-Cache: MISS"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], ["no-signal"]),
        (["Age: 100"], ["no-signal", "weak-age"]),
        (["Age: 0"], ["no-signal"]),
        (["Age: 00"], ["no-signal"]),
        (["X-Cache: what"], ["signal-not-understood"]),
        ([MISSED], []),
        ([MISSED, "Set-Cookie: a=1"], ["set-cookie"]),
        ([MISSED, "Cache-Control: private"], ["cache-control-private"]),
        ([MISSED, "Cache-Control: PRIVATE, max-age=60"], ["cache-control-private"]),
        ([MISSED, 'Cache-Control: private="x"'], ["cache-control-private"]),
        ([MISSED, "Cache-Control: no-store"], ["cache-control-no-store"]),
        ([MISSED, "cache-control: no-cache"], ["cache-control-no-cache"]),
        ([MISSED, "Surrogate-Control: no-store"], ["cache-control-no-store"]),
        ([MISSED, "X-LiteSpeed-Cache-Control: no-cache"], ["cache-control-no-cache"]),
        ([MISSED, "Cache-Control: max-age=0"], ["max-age-0"]),
        ([MISSED, "Cache-Control: s-maxage=0, max-age=60"], ["max-age-0"]),
        ([MISSED, "Cache-Control: max-age=0, s-maxage=60"], []),
        ([MISSED, 'Cache-Control: max-age="0"'], ["max-age-0"]),
        ([MISSED, "Cache-Control: max-age=9"], ["short-ttl"]),
        ([MISSED, "Cache-Control: max-age=11"], []),
        ([MISSED, "Cache-Control: max-age=soon"], []),
        ([MISSED, "Cache-Control: max-age=" + "9" * 6000], []),
        ([MISSED, "Expires: 0"], ["max-age-0"]),
        ([MISSED, "Expires: Thu, 19 Nov 1981 08:52:00 GMT"], ["max-age-0"]),
        ([MISSED, "Expires: Thu, 19 Nov 2099 08:52:00 GMT"], []),
        (
            [
                MISSED,
                "Date: Thu, 19 Nov 2020 08:52:00 GMT",
                "Expires: Thu, 19 Nov 2020 08:52:09 GMT",
            ],
            ["short-ttl"],
        ),
        ([MISSED, "Expires: 0", "Cache-Control: max-age=60"], []),
        ([MISSED, "Pragma: no-cache"], ["pragma-no-cache"]),
        ([MISSED, "Pragma: no-cache", "Cache-Control: max-age=60"], []),
        ([MISSED, "Vary: *"], ["vary-star"]),
        ([MISSED, "Vary: Accept-Encoding, cookie"], ["vary-cookie"]),
        ([MISSED, "Vary: Accept-Encoding", "Vary: User-Agent"], ["vary-user-agent"]),
        (["X-Cache-Status: BYPASS"], ["bypass"]),
        (["X-Cache-Status: STALE"], ["stale"]),
        (["CF-Cache-Status: DYNAMIC"], ["uncacheable"]),
        (["X-Cache: TCP_NEGATIVE_HIT from a"], ["error"]),
    ],
)
def test_every_reason(headers: list[str], expected: list[str]) -> None:
    assert reasons(*headers) == expected


@pytest.mark.parametrize("status", [201, 202, 206, 302, 307, 400, 403, 418, 500, 503])
def test_a_status_that_caches_do_not_keep(status: int) -> None:
    assert reasons(MISSED, status=status) == ["status-not-cacheable"]


@pytest.mark.parametrize("status", [200, 203, 204, 300, 301, 308, 404, 410])
def test_a_status_that_caches_keep(status: int) -> None:
    assert reasons(MISSED, status=status) == []


def test_all_reasons_that_apply_are_named() -> None:
    found = reasons(
        "Set-Cookie: session=1",
        "Cache-Control: private, no-store, max-age=0",
        "Vary: *, Cookie",
        status=500,
    )
    assert found == [
        "no-signal",
        "set-cookie",
        "cache-control-no-store",
        "cache-control-private",
        "max-age-0",
        "vary-star",
        "vary-cookie",
        "status-not-cacheable",
    ]
    assert set(found) & FORBIDS_STORING == set(found) - {"no-signal", "vary-cookie"}


def test_a_reason_of_the_sites_own_comes_first() -> None:
    head = head_of("X-Shop: cold", "Set-Cookie: a=1")
    rule = VerdictRule(header="x-shop", matches="cold", verdict=MISS, reason="shop-cold")
    signal = Classifier([rule]).signal(head)
    assert list(reasons_not_hit(head, 200, signal, elapsed=1)) == ["shop-cold", "set-cookie"]
