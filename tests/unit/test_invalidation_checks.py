"""Rules that cannot work are found before any file changes."""

import pytest

from cachekit.caches.varnish import Varnish
from cachekit.checks import problems, show_path
from cachekit.invalidation_settings import Assets, Invalidation, Rule, Stale
from cachekit.model import Node, parse_address
from cachekit.settings import Settings

SEGMENT, FOLDER = "css/(*)", "re:^public(/.*)$"


def faults_of(rule: Rule, assets: Assets | None = None) -> list[tuple[str, str]]:
    settings = Settings(
        site="http://shop.example",
        allow_hosts=("cdn.example",),
        nodes={"web1": Node(name="web1", address=parse_address("127.0.0.1"))},
        caches={"pages": Varnish(on=("web1",))},
        invalidation=Invalidation(rules=(rule,), assets=assets),
    )
    return [
        (show_path(path).removeprefix("invalidation."), why) for path, why in problems(settings)
    ]


@pytest.mark.parametrize(
    ("stale", "where", "message"),
    [
        (Stale(url=("http://other.example/{1}",)), "url", "another host"),
        (Stale(url_prefix=("p/{1}",)), "url_prefix", "not an http(s) URL"),
        (Stale(url_regex=("^/a", "({1}")), "url_regex", "expected a regular expression: missing )"),
        (Stale(key=("a",)), "", "takes no key; it takes everything, "),
    ],
)
def test_what_cannot_be_cleared_whatever_is_captured(
    stale: Stale, where: str, message: str
) -> None:
    ((path, why),) = faults_of(Rule(match=(SEGMENT,), clear={"pages": stale}))
    assert path == f"rules[0].clear.pages.{where}".rstrip(".")
    assert message in why


def test_urls_to_warm_and_of_assets_belong_to_the_site() -> None:
    rule = Rule(match=(SEGMENT,), warm=("/ok", "ftp://shop.example/{1}"))
    assets = Assets(match=(SEGMENT,), url="http://other.example/{1}")
    assert [path for path, _ in faults_of(rule, assets)] == ["rules[0].warm", "assets.url"]


@pytest.mark.parametrize(
    ("pattern", "url"),
    [(SEGMENT, "/a/{1}"), (SEGMENT, "http://cdn.example/{1}"), (FOLDER, "{1}"), (FOLDER, "/a{1}")],
)
def test_what_may_work_is_not_refused(pattern: str, url: str) -> None:
    rule = Rule(
        match=(pattern,), warm=(url,), clear={"pages": Stale(url=(url,), url_prefix=(url,))}
    )
    assert faults_of(rule, Assets(match=(pattern,), url=url)) == []
