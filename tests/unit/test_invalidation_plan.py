"""From changed files by rules to what is cleared and warmed."""

from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from cachekit.caches.apc import Apc
from cachekit.caches.files import Files
from cachekit.caches.memcache import Memcache
from cachekit.caches.varnish import Varnish
from cachekit.errors import ConfigError
from cachekit.invalidation.assets import browser_seconds
from cachekit.invalidation.changes import ChangeKind, FileChange
from cachekit.invalidation.plan import InvalidationPlan, plan_invalidation
from cachekit.invalidation.within import Within
from cachekit.invalidation_settings import Assets, Invalidation, Rule, Stale
from cachekit.model import Entry, Node, Site, parse_address
from cachekit.plan import Selection
from cachekit.scope import Kind, Scope
from cachekit.settings import Settings, WarmList
from cachekit.sources.base import Surroundings
from cachekit.sources.url_list import Urls
from tests.pieces import head_of
from tests.shelves import conditions

SITE = "http://shop.example"
NODES = {
    name: Node(name=name, address=parse_address("127.0.0.1"), groups=("web",))
    for name in ("web1", "web2")
}
PRODUCT = Rule(
    match=("product/(*).twig",),
    clear={"views": Stale(path=("p/{1}.php",)), "pages": Stale(url=("/p/{1}",))},
    warm=("/all",),
)
EVERYTHING = Stale(everything=True)


def settings_of(*rules: Rule, **invalidation: Any) -> Settings:
    return Settings(
        site=SITE,
        nodes=NODES,
        caches={
            "pages": Varnish(on=("web",)),
            "views": Files(on=("web",), path=Path("/srv/cache")),
            "code": Apc(on=("web",)),
            "objects": Memcache(servers=(parse_address("127.0.0.1:11211"),), exclusive=True),
        },
        warmlists={"top": WarmList(source=Urls(urls=("/",)))},
        invalidation=Invalidation(rules=rules, **invalidation),
    )


def planned(
    settings: Settings, *paths: str, kind: ChangeKind = ChangeKind.MODIFIED, **selection: Any
) -> InvalidationPlan:
    changes = [FileChange(path, kind) for path in paths]
    live = conditions(release=settings.release, previous=settings.previous)
    return plan_invalidation(changes, settings, Selection(**selection), live)


def cleared(plan: InvalidationPlan) -> list[str]:
    return [f"{each.cache} {each.scope}".replace(SITE, "") for each in plan.clears]


def warmed(plan: InvalidationPlan) -> list[str]:
    return [url.removeprefix(SITE) for url in plan.warms]


def test_inner_caches_come_first_and_each_line_has_its_causes() -> None:
    plan = planned(settings_of(PRODUCT), "product/1.twig", "product/2.twig")
    assert cleared(plan) == [
        "views path p/1.php",
        "views path p/2.php",
        "pages url /p/1",
        "pages url /p/2",
    ]
    assert warmed(plan) == ["/p/1", "/all", "/p/2"]
    causes = [str(cause) for cause in plan.warms[f"{SITE}/all"]]
    assert causes == [
        f"product/{number}.twig (modified) by rules[0] product/(*).twig" for number in (1, 2)
    ]
    assert plan.chunked == {"pages": {f"{SITE}/p/1", f"{SITE}/p/2"}}
    assert [each.kind for each in plan.at_once] == [Kind.PATH, Kind.PATH]


def test_what_is_made_of_a_deleted_file_is_not_warmed() -> None:
    plan = planned(settings_of(PRODUCT), "product/1.twig", kind=ChangeKind.DELETED)
    assert cleared(plan) == ["views path p/1.php", "pages url /p/1"]
    assert warmed(plan) == ["/all"]
    assert plan.chunked == {"pages": frozenset()}
    assert len(plan.at_once) == 2


def test_all_rules_hold_up_to_one_that_ignores() -> None:
    settings = settings_of(
        Rule(match=("**/*.php",), clear={"code/opcode": Stale(path=("/srv/{0}",))}),
        Rule(match=("lib/tests/**", "docs/**"), ignore=True),
        Rule(match=("lib/**",), clear={"objects": EVERYTHING}),
    )
    assert cleared(planned(settings, "lib/tests/a.php")) == [
        "code/opcode path /srv/lib/tests/a.php"
    ]
    assert cleared(planned(settings, "lib/a.php")) == [
        "code/opcode path /srv/lib/a.php",
        "objects everything",
    ]
    ignored = planned(settings, "docs/a.md")
    assert (cleared(ignored), len(ignored.ignored), ignored.unmatched) == ([], 1, ())


def test_what_no_rule_matches_is_rebuilt_by_default() -> None:
    plan = planned(settings_of(PRODUCT), "product/1.twig", "else")
    assert cleared(plan) == [
        "views everything",
        "code everything",
        "objects everything",
        "pages everything",
    ]
    assert plan.within == (Scope(Kind.EVERYTHING),)
    assert warmed(plan) == ["/p/1", "/all"]
    assert plan.chunked == {"pages": frozenset()}, "everything is cleared already"
    assert [str(change) for change in plan.unmatched] == ["else (modified)"]
    causes = next(causes for each, causes in plan.clears.items() if each.cache == "pages")
    assert {cause.change.path for cause in causes} == {"product/1.twig", "else"}


def test_where_no_cache_is_a_rebuild_says_that_nothing_is_cleared() -> None:
    plan = planned(Settings(site=SITE, nodes=NODES), "a")
    assert plan.notes[0].startswith("no cache is here to be cleared")
    assert not planned(settings_of(), "a").notes


def test_rebuild_can_be_narrowed() -> None:
    plan = planned(settings_of(rebuild=("views",)), "else")
    assert cleared(plan) == ["views everything"]
    assert plan.within == (Scope(Kind.EVERYTHING),), "its pages are made anew all the same"


SHARED = parse_address("127.0.0.1:11211")


def test_a_store_that_may_be_shared_is_rebuilt_of_the_live_release_alone() -> None:
    apart = Memcache(servers=(SHARED,), namespace="shop:{release}:")
    views = Files(on=("web",), path=Path("/srv/{release}/cache"))
    settings = replace(settings_of(), caches={"objects": apart, "views": views})
    live = replace(settings, release="r{1}", previous="r0")
    plan = planned(live, "else")
    assert cleared(plan) == ["views release r{1}", "objects release r{1}"]
    assert "objects: its entries of release r{1}" in map(str, plan.clears)
    assert plan.notes[0] == (
        "views: all of it cannot be cleared, so its entries of release r{1} go alone"
    )
    alone = {"objects": Memcache(servers=(SHARED,))}
    for unable in (settings, replace(live, caches=alone)):
        assert cleared(planned(unable, "else"))[-1] == "objects everything"


def test_only_the_live_release_can_be_stale() -> None:
    hotfix = conditions(release="r2", previous="r1", live_is_stale=True)
    assert hotfix.kept_refusal(["r2"]) == ""
    assert "r1 is live or kept" in hotfix.kept_refusal(["r2", "r1"])
    assert "which release is live?" in replace(hotfix, release="").kept_refusal(["r2"])
    assert "r2 is live or kept" in replace(hotfix, previous="r2").kept_refusal(["r2"])
    assert "r2 is live or kept" in replace(hotfix, live_is_stale=False).kept_refusal(["r2"])


@pytest.mark.parametrize(("unmatched", "is_refused"), [("ignore", False), ("fail", True)])
def test_or_it_is_not(unmatched: str, is_refused: bool) -> None:
    plan = planned(settings_of(unmatched=unmatched), "else")
    assert (cleared(plan), plan.within, plan.is_refused) == ([], None, is_refused)
    assert len(plan.unmatched) == 1


def test_a_broader_scope_covers_the_narrower() -> None:
    settings = settings_of(
        PRODUCT,
        Rule(match=("all/(*)",), clear={"pages": Stale(url_prefix=("/{1}/", "/{1}/x/"))}),
    )
    plan = planned(settings, "product/1.twig", "all/p")
    assert cleared(plan) == ["views path p/1.php", "pages url-prefix /p/"]
    assert len(next(c for e, c in plan.clears.items() if e.cache == "pages")) == 2
    assert plan.within == (Scope(Kind.URL_PREFIX, (f"{SITE}/p/",)),)
    assert warmed(plan) == ["/p/1", "/all"]


def test_many_urls_become_the_folder_they_share() -> None:
    files = [f"product/{number}.twig" for number in range(3)]
    plan = planned(settings_of(PRODUCT, merge_above=2), *files)
    assert cleared(plan)[-1] == "pages url-prefix /p/"
    (merge,) = plan.merges
    assert (merge.kind, merge.count, merge.limit) == (Kind.URL, 3, 2)
    assert planned(settings_of(PRODUCT, merge_above=3), *files).merges == ()


def test_a_few_hundred_are_cleared_one_by_one() -> None:
    plan = planned(settings_of(PRODUCT), *(f"product/{number}.twig" for number in range(2000)))
    assert plan.merges == ()
    assert len(plan.chunked["pages"]) == 2000


@pytest.mark.parametrize(
    ("stale", "found"),
    [
        (Stale(url_prefix=("/p/{1}/",)), "pages url-prefix /p/"),
        (Stale(url_regex=("^/p/{1}$",)), "pages everything"),
        (Stale(tag=("{1}",)), "pages everything"),
    ],
)
def test_so_do_many_scopes_of_any_kind(stale: Stale, found: str) -> None:
    rule = Rule(match=("(*)",), clear={"pages": stale})
    assert cleared(planned(settings_of(rule, merge_above=2), "a", "b", "c")) == [found]
    assert len(planned(settings_of(rule, merge_above=3), "a", "b", "c").clears) == 3


def test_or_everything_where_they_share_none() -> None:
    rule = Rule(match=("(**)",), clear={"pages": Stale(url=("/{1}",))})
    plan = planned(settings_of(rule, merge_above=1), "ab", "ac")
    assert cleared(plan) == ["pages everything"]


def test_an_asset_is_cleared_from_pages_and_asked_about() -> None:
    settings = settings_of(assets=Assets(match=("public/(**)",)))
    plan = planned(settings, "public/a b.css")
    assert cleared(plan) == ["pages url /a%20b.css"]
    assert warmed(plan) == ["/a%20b.css"]
    assert list(plan.assets) == [f"{SITE}/a%20b.css"]
    for kind in (ChangeKind.ADDED, ChangeKind.DELETED):
        assert planned(settings, "public/a.css", kind=kind).assets == {}


def test_pages_cleared_by_tag_are_told_to_be_warmed_only_by_rules() -> None:
    rule = Rule(match=("(*)",), clear={"pages": Stale(tag=("product-{1}",))}, warm=("/p/{1}",))
    plan = planned(settings_of(rule), "1")
    assert cleared(plan) == ["pages tag product-1"]
    assert plan.within is None
    assert plan.notes == ("pages: pages cleared by tag are warmed only as `warm:` names them",)


def test_only_what_is_chosen_is_touched() -> None:
    settings = settings_of(PRODUCT)
    assert cleared(planned(settings, "product/1.twig", caches=("pages",))) == ["pages url /p/1"]
    with pytest.raises(ConfigError, match="no node is called so"):
        planned(settings, "product/1.twig", nodes=("web9",))


@pytest.mark.parametrize(
    ("path", "chosen", "found"),
    [
        ("a.php", "code", ["code/opcode path /srv/a.php"]),
        ("a.php", "code/opcode", ["code/opcode path /srv/a.php"]),
        ("a.php", "code/user", []),
        ("all", "code", ["code everything"]),
        ("all", "code/opcode", ["code/opcode everything"]),
        ("unmatched", "code/user", ["code/user everything"]),
    ],
)
def test_of_a_cache_only_the_part_that_is_chosen(path: str, chosen: str, found: list[str]) -> None:
    rules = (
        Rule(match=("*.php",), clear={"code/opcode": Stale(path=("/srv/{0}",))}),
        Rule(match=("all",), clear={"code": EVERYTHING}),
    )
    assert cleared(planned(settings_of(*rules), path, caches=(chosen,))) == found


def test_a_whole_cache_covers_its_parts() -> None:
    opcode = Rule(match=("*",), clear={"code/opcode": Stale(path=("/srv/{0}",))})
    whole = Rule(match=("*",), clear={"code": EVERYTHING})
    assert cleared(planned(settings_of(opcode, whole), "a.php")) == ["code everything"]


@pytest.mark.parametrize(
    ("stale", "path", "message"),
    [
        (Stale(url=("http://other.example/{0}",)), "a", "another host"),
        (Stale(url=("{0}",)), "a", "not an http"),
        (Stale(tag=("{1}",)), "", "--tag is empty"),
        (Stale(tag=("{0}",)), "a\nb", "control character"),
    ],
)
def test_what_no_cache_could_take_names_file_and_rule(
    stale: Stale, path: str, message: str
) -> None:
    rule = Rule(match=("(**)",), clear={"pages": stale})
    with pytest.raises(ConfigError, match=message) as refused:
        planned(settings_of(rule), path)
    assert "by rules[0] (**)" in str(refused.value)


@pytest.mark.parametrize("stale", [Stale(url=("/{1}",)), Stale(url_prefix=("/{1}/",))])
def test_a_capture_cannot_become_a_host(stale: Stale) -> None:
    rule = Rule(match=("public/(**)",), clear={"pages": stale}, warm=("/{1}",))
    plan = planned(settings_of(rule, assets=Assets(match=("public/(**)",))), "public//evil/x")
    assert (cleared(plan), warmed(plan), plan.assets) == ([], [], {})
    assert all(each.where.startswith("public//evil/x (modified)") for each in plan.left_out)
    assert {each.where.partition(" by ")[2] for each in plan.left_out} == {
        "rules[0] public/(**)",
        "assets public/(**)",
    }
    beside = planned(settings_of(rule), "public//evil/x", "public/y")
    assert warmed(beside) == ["/y"]


def test_a_rule_may_name_a_host_by_itself() -> None:
    rule = Rule(match=("(*)",), clear={"pages": Stale(url=("//shop.example/{1}",))})
    assert cleared(planned(settings_of(rule), "x")) == ["pages url /x"]


def test_a_capture_cannot_widen_a_regular_expression_or_a_glob() -> None:
    rule = Rule(
        match=("(*)",),
        clear={
            "pages": Stale(url_regex=("^/p/{1}/\\d{{2}}$",)),
            "objects": Stale(glob=("product:{1}:*",)),
        },
    )
    assert cleared(planned(settings_of(rule), ".*")) == [
        "objects glob product:.[*]:*",
        "pages url-regex ^/p/\\.\\*/\\d{2}$",
    ]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Rule(match=("a",)),
        lambda: Rule(match=(), ignore=True),
        lambda: Rule(match=("a",), ignore=True, warm=("/",)),
        lambda: Rule(match=("(a)", "b"), warm=("/{1}",)),
        lambda: Rule(match=("(a",), ignore=True),
        Stale,
        lambda: Assets(match=("public/**",)),
    ],
)
def test_rules_that_cannot_work_are_refused(make: Any) -> None:
    with pytest.raises(ValueError, match="expected"):
        make()


def test_of_a_list_what_was_cleared() -> None:
    listed = ("/p/1", f"{SITE}/p/2", "/q/1", "/q/22", "http://other.example/p/1", "/")
    scopes = (Scope(Kind.URL_PREFIX, (f"{SITE}/p/",)), Scope(Kind.URL_REGEX, (r"^/q/\d$",)))

    def found(*scopes: Scope) -> list[bytes | Entry]:
        def unfetched(_: str) -> Any:
            raise AssertionError

        here = Surroundings(site=Site(SITE), fetch=unfetched, stdin=BytesIO())
        return list(Within(source=Urls(urls=listed), scopes=scopes).entries(here))

    assert found(*scopes) == [
        b"/p/1",
        b"http://shop.example/p/2",
        b"/q/1",
        b"http://other.example/p/1",
    ]
    assert len(found(Scope(Kind.EVERYTHING))) == len(listed)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        (("Cache-Control: public, max-age=600",), 600),
        (('Cache-Control: max-age="600"',), 600),
        (("Cache-Control: max-age=600, immutable",), float("inf")),
        (("Cache-Control: max-age=600", "Cache-Control: no-cache"), 0),
        (("Cache-Control: s-maxage=600",), 0),
        (("Cache-Control: max-age=x",), 0),
        (("Expires: Thu, 02 Jan 2025 00:00:00 GMT", "Date: Wed, 01 Jan 2025 00:00:00 GMT"), 86400),
        (("Expires: 0", "Date: Wed, 01 Jan 2025 00:00:00 GMT"), 0),
        (("Cache-Control: max-age=1", "Expires: Thu, 02 Jan 2035 00:00:00 GMT"), 1),
        ((), 0),
    ],
)
def test_how_long_browsers_keep_an_answer(headers: tuple[str, ...], seconds: float) -> None:
    assert browser_seconds(head_of(*headers)) == seconds
