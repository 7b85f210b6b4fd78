"""`cachekit invalidate` on a real Varnish, between real revisions of a site in git."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cachekit.caches.namespace import release_token
from tests.command import Cachekit, Finished
from tests.servers.memcached import Memcached
from tests.servers.origin import Origin
from tests.servers.process import require_program, wait_until
from tests.servers.redis import RedisServer
from tests.servers.varnish import Varnish, Visitor, clearable

pytestmark = [pytest.mark.server, pytest.mark.end_to_end]

SETTINGS = """\
site: http://shop.example
nodes:
  web1: {{address: "{address}", groups: [web]}}
caches:
  views: {{type: files, on: web, path: {views}}}
  pages: {{type: varnish, on: web}}
warmlists:
  all: {{file: all.txt}}
invalidation:
  rules:
    - {{match: ["docs/**"], ignore: true}}
    - match: "templates/product/(*).twig"
      clear: {{views: {{path: "product/{{1}}.php"}}, pages: {{url: "/p/{{1}}"}}}}
    - match: "templates/section/(**).twig"
      clear: {{pages: {{url_prefix: "/s/{{1}}/"}}}}
    - {{match: "lib/**", clear: {{views: everything, pages: everything}}}}
  assets: {{match: "public/(**)", gate: fail}}
"""
URLS = ["/", "/p/1", "/p/2", "/p/3", "/s/a/1", "/s/a/2", "/s/b/1", "/app.css"]


class Site:
    """A site in git, its caches, and what visitors find in them."""

    def __init__(self, cachekit: Cachekit, varnish: Varnish, visitor: Visitor) -> None:
        self.cachekit = cachekit
        self.varnish = varnish
        self.visitor = visitor
        self.source = cachekit.folder / "source"
        self.views = cachekit.folder / "views"
        self.settings = cachekit.folder / "cachekit.yaml"
        self.settings.write_text(SETTINGS.format(address=varnish.address, views=self.views))
        cachekit.write_list(URLS, "all.txt")
        self.views.mkdir()
        (self.views / ".cachekit").touch()
        self.source.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")
        self.write("templates/product/1.twig", "templates/product/2.twig", "public/app.css")
        self.write("templates/section/a.twig", "docs/a.md", "lib/a.php", "unknown.txt")
        self.commit("r1")

    def git(self, *arguments: str) -> None:
        identity = ["-c", "user.name=Test", "-c", "user.email=test@shop.example"]
        argv = [require_program("git"), *identity, *arguments]
        subprocess.run(argv, check=True, cwd=self.source, capture_output=True)

    def write(self, *paths: str, text: str = "old\n") -> None:
        for path in paths:
            (self.source / path).parent.mkdir(parents=True, exist_ok=True)
            (self.source / path).write_text(text)

    def commit(self, tag: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", tag)
        self.git("tag", tag)

    def view(self, name: str) -> Path:
        path = self.views / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        return path

    def visit(self) -> None:
        for url in URLS:
            self.visitor.visit(url)

    def set(self, old: str, new: str) -> None:
        text = self.settings.read_text()
        assert old in text
        self.settings.write_text(text.replace(old, new))

    def invalidate(self, *arguments: str, stdin: str = "") -> Finished:
        what = () if "--changes" in arguments else ("--from", "r1", "--to", "r2")
        return self.cachekit.run(
            "invalidate",
            *what,
            *("--repository", str(self.source), "--state-dir", str(self.cachekit.state_dir)),
            *arguments,
            stdin=stdin,
        )


@pytest.fixture
def site(cachekit: Cachekit, varnish_node: Callable[..., Varnish]) -> Iterator[Site]:
    varnish = varnish_node(vcl=clearable())
    with Visitor(varnish) as visitor:
        site = Site(cachekit, varnish, visitor)
        site.visit()
        yield site


def counts(origin: Origin) -> dict[str, int]:
    return {url: origin.count(url) for url in URLS}


def fetched_again(*urls: str) -> dict[str, int]:
    return {url: 1 + (url in urls) for url in URLS}


def test_one_changed_template_has_only_its_pages_fetched_again(site: Site, origin: Origin) -> None:
    kept, gone = site.view("product/2.php"), site.view("product/1.php")
    site.write("templates/product/1.twig", "docs/a.md", text="new\n")
    site.commit("r2")
    done = site.invalidate("--yes", "--format", "json")
    assert done.code == 0, done.stdout + done.stderr
    assert counts(origin) == fetched_again("/p/1")
    assert all(site.visitor.finds(url) for url in URLS), "no page is cold"
    assert (kept.exists(), gone.exists()) == (True, False)
    plan = done.report["plan"]
    assert [(each["cache"], each["value"]) for each in plan["clear"]] == [
        ("views", "product/1.php"),
        ("pages", "http://shop.example/p/1"),
    ]
    assert plan["clear"][1]["causes"] == [
        {
            "path": "templates/product/1.twig",
            "change": "modified",
            "rule": "rules[1] templates/product/(*).twig",
        }
    ]
    assert [each["path"] for each in plan["ignored"]] == ["docs/a.md"]


def test_a_plan_explains_each_line_and_changes_nothing(site: Site, origin: Origin) -> None:
    site.write("templates/product/1.twig", text="new\n")
    site.commit("r2")
    looked = site.invalidate("--dry-run")
    assert looked.code == 0, looked.stdout
    cause = "templates/product/1.twig (modified) by rules[1] templates/product/(*).twig"
    assert "pages: url http://shop.example/p/1\n      " + cause in looked.stdout
    assert "nothing was changed" in looked.stdout
    asked = site.invalidate()
    assert asked.code == 2
    assert "--yes clears without asking" in asked.stderr
    assert cause in asked.stderr
    assert counts(origin) == fetched_again()


def test_what_no_rule_matches_rebuilds_everything(site: Site, origin: Origin) -> None:
    view = site.view("product/9.php")
    site.write("unknown.txt", text="new\n")
    site.commit("r2")
    done = site.invalidate("--yes")
    assert done.code == 0, done.stdout
    assert "no rule matches: everything is cleared" in done.stdout
    assert counts(origin) == fetched_again(*URLS)
    assert not view.exists()


def test_what_no_rule_matches_can_fail(site: Site, origin: Origin) -> None:
    site.set("  rules:", "  unmatched: fail\n  rules:")
    site.write("unknown.txt", "templates/product/1.twig", text="new\n")
    site.commit("r2")
    done = site.invalidate("--yes")
    assert done.code == 1
    assert "unknown.txt (modified)" in done.stdout
    assert counts(origin) == fetched_again()
    site.set("unmatched: fail", "unmatched: ignore")
    assert site.invalidate("--yes").code == 0
    assert counts(origin) == fetched_again("/p/1")


def test_a_section_is_cleared_at_once_and_warmed_from_the_lists(site: Site, origin: Origin) -> None:
    site.write("templates/section/a.twig", text="new\n")
    site.commit("r2")
    done = site.invalidate("--yes")
    assert done.code == 0, done.stdout
    assert counts(origin) == fetched_again("/s/a/1", "/s/a/2")


def test_no_limit_keeps_what_was_cleared_cold(site: Site) -> None:
    site.set("warmlists:", "warm: {limit: 1, exclude: [/s/a/2]}\nwarmlists:")
    done = site.invalidate("--changes", "paths", "--yes", stdin="templates/section/a.twig\n")
    assert done.code == 0, done.stdout
    assert "warmed at once: 1 URL, 1 of 1 target ok" in done.stdout
    assert "; left out: 1 x excluded\n" in done.stdout
    site.set("limit: 1, exclude: [/s/a/2]", "limit: 1")
    site.invalidate("--changes", "paths", "--yes", stdin="templates/section/a.twig\n")
    assert all(site.visitor.finds(url) for url in URLS)


def test_too_many_urls_become_one_scope(site: Site, origin: Origin) -> None:
    site.set("  rules:", "  merge_above: 2\n  rules:")
    site.write(*(f"templates/product/{number}.twig" for number in range(1, 4)), text="new\n")
    site.commit("r2")
    done = site.invalidate("--yes", "--format", "json")
    assert done.code == 0, done.stdout
    (merge,) = done.report["plan"]["merged"]
    assert merge["into"] == "url-prefix http://shop.example/p/"
    assert (merge["kind"], merge["count"]) == ("url", 3)
    assert done.report["chunks"] == []
    assert counts(origin) == fetched_again("/p/1", "/p/2", "/p/3")
    assert all(site.visitor.finds(url) for url in URLS)


def test_an_asset_that_browsers_keep_fails_the_gate(site: Site, origin: Origin) -> None:
    origin.page("/app.css", headers={"Cache-Control": "max-age=31536000, immutable"})
    origin.page("/new.css", headers={"Cache-Control": "max-age=31536000, immutable"})
    site.write("public/app.css", "public/new.css", text="new\n")
    site.commit("r2")
    assert site.invalidate("--dry-run").code == 0, "what is kept now says ten minutes"
    assert site.invalidate("--yes").code == 0
    done = site.invalidate("--yes")
    assert done.code == 1
    assert "changed assets need changed URLs" in done.stdout
    assert "http://shop.example/app.css\n      web1: immutable" in done.stdout
    assert "/new.css" not in done.stdout.partition("changed assets")[2], "its URL is new"
    site.set("gate: fail", "gate: report")
    reported = site.invalidate("--yes")
    assert reported.code == 0
    assert "http://shop.example/app.css\n      web1: immutable" in reported.stdout


def test_what_a_dead_node_serves_is_not_known(site: Site) -> None:
    site.write("public/app.css", text="new\n")
    site.commit("r2")
    site.varnish.stop()
    looked = site.invalidate("--dry-run")
    assert looked.code == 3, looked.stdout
    assert "not known, web1: connect" in looked.stdout


def test_a_page_that_fails_ends_the_chunks(site: Site, origin: Origin) -> None:
    site.set("  rules:", "  chunk: 1\n  rules:")
    origin.page("/p/1", status=500)
    site.write("templates/product/1.twig", "templates/product/2.twig", text="new\n")
    site.commit("r2")
    done = site.invalidate("--yes")
    assert done.code == 1
    assert "1 URL not reached: neither cleared nor cold" in done.stdout
    assert site.visitor.finds("/p/2")
    assert origin.count("/p/2") == 1


def test_killed_between_clear_and_warm_it_is_run_again(site: Site, origin: Origin) -> None:
    site.set("  rules:", "  chunk: 1\n  rules:")
    origin.page("/p/1", delay=2.0)
    site.write("templates/product/1.twig", "templates/product/2.twig", text="new\n")
    site.commit("r2")
    where = ("--repository", str(site.source), "--state-dir", str(site.cachekit.state_dir))
    arguments = ("invalidate", "--from", "r1", "--to", "r2", "--yes", *where)
    with site.cachekit.start(*arguments) as killed:
        assert wait_until(lambda: origin.count("/p/1") == 2, 30)
        killed.kill()
    assert site.visitor.finds("/p/2"), "no more than a chunk was touched"
    done = site.invalidate("--yes")
    assert done.code == 0, done.stdout
    assert all(site.visitor.finds(url) for url in URLS)
    assert origin.count("/p/2") == 2


def test_two_directories_of_releases(site: Site, origin: Origin) -> None:
    old = site.cachekit.folder / "r1"
    shutil.copytree(site.source, old)
    site.write("templates/product/1.twig", text="new\n")
    (site.source / "templates/product/2.twig").unlink()
    done = site.invalidate("--from", str(old), "--to", str(site.source), "--yes")
    assert done.code == 0, done.stdout
    assert counts(origin) == fetched_again("/p/1")
    assert not site.visitor.finds("/p/2"), "what was deleted is cleared, and not asked for again"


def test_what_rsync_says(site: Site, origin: Origin, tmp_path: Path) -> None:
    live = tmp_path / "live"
    shutil.copytree(site.source, live, ignore=shutil.ignore_patterns(".git"))
    site.write("templates/product/1.twig", text="newer\n")
    site.write("templates/product/bücher.twig", text="new\n")
    rsync = subprocess.run(
        [
            *(require_program("rsync"), "--archive", "--itemize-changes", "--delete"),
            *("--exclude=.git", f"{site.source}/", f"{live}/"),
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    done = site.invalidate("--changes", "rsync", "--yes", stdin=rsync.stdout)
    assert done.code == 0, done.stdout + done.stderr
    assert counts(origin) == fetched_again("/p/1")
    assert origin.count("/p/b%C3%BCcher") == 1


def test_paths_on_standard_input(site: Site, origin: Origin) -> None:
    done = site.invalidate("--changes", "paths", "--yes", stdin="templates/product/3.twig\n")
    assert done.code == 0, done.stdout + done.stderr
    assert counts(origin) == fetched_again("/p/3")


def test_nothing_changed(site: Site, origin: Origin) -> None:
    done = site.invalidate("--from", "r1", "--to", "HEAD", "--yes")
    assert done.code == 0, done.stdout
    assert "no file has changed" in done.stdout
    assert counts(origin) == fetched_again()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--from", "r0", "--to", "r1"), "git diff r0 r1"),
        (("--from", "", "--to", "r1"), "is a variable not set?"),
        (("--from", "-x", "--to", "r1"), "'-x' is no revision"),
        (("--from", ".", "--to", "r1"), "is a file or directory, and r1 is none"),
    ],
)
def test_what_cannot_be_compared_is_said(
    site: Site, arguments: tuple[str, ...], message: str
) -> None:
    done = site.invalidate(*arguments, "--yes")
    assert done.code == 2
    assert message in done.stderr


def test_what_a_cache_refuses_is_said_with_file_and_rule(site: Site, origin: Origin) -> None:
    site.set("  assets:", '    - {match: "tag/(*)", clear: {pages: {tag: "{1}"}}}\n  assets:')
    done = site.invalidate("--changes", "paths", "--yes", stdin="tag/a\ntag/a b\n")
    assert done.code == 2
    refused = "cachekit: tag/a b (modified) by rules[4] tag/(*): pages: tag a b: contains"
    assert done.stderr.startswith(refused)
    assert len(done.stderr.splitlines()) == 1
    assert counts(origin) == fetched_again()


def test_a_rebuild_that_is_refused_says_how_to_narrow_it(site: Site, origin: Origin) -> None:
    site.set("caches:", 'caches:\n  objects: {type: memcache, servers: "127.0.0.1:1"}')
    done = site.invalidate("--changes", "paths", "--yes", stdin="unknown.txt\n")
    assert done.code == 2
    assert "unknown.txt (modified) by unmatched: rebuild: objects: the store may be" in done.stderr
    assert done.stderr.endswith("; `rebuild:` can leave it out\n")
    assert counts(origin) == fetched_again()


def test_a_rebuild_takes_the_live_release_alone_of_a_store_that_may_be_shared(
    site: Site, origin: Origin
) -> None:
    kept = ["other:1", *(f"shop:{release_token(release)}:1" for release in ("r41", "r40"))]
    namespace = "shop:{release}:"
    live = [f"shop:{release_token('r42')}:{number}" for number in range(50)]
    with Memcached() as objects, RedisServer() as tags:
        for server in (objects, tags):
            server.put([*kept, *live])
        shared = "\n".join(
            f'  {kind}: {{type: {kind}, servers: "{server.address}", namespace: "{namespace}"}}'
            for kind, server in (("memcache", objects), ("redis", tags))
        )
        site.set("caches:", f"release: r42\nprevious: r41\ncaches:\n{shared}")
        looked = site.invalidate("--changes", "paths", "--dry-run", stdin="unknown.txt\n")
        assert looked.code == 0, looked.stdout + looked.stderr
        for kind in ("memcache", "redis"):
            line = (
                f"  {kind}: its entries of release r42\n      unknown.txt (modified) by unmatched"
            )
            assert line in looked.stdout
        assert objects.keys_there(live) == live, "a look changes nothing"
        done = site.invalidate("--changes", "paths", "--yes", stdin="unknown.txt\n")
        assert done.code == 0, done.stdout + done.stderr
        assert objects.keys_there([*kept, *live]) == kept
        assert tags.names() == set(kept)
    assert counts(origin) == fetched_again(*URLS)


def test_of_a_path_that_would_be_a_host_only_that_line_is_left_out(
    site: Site, origin: Origin
) -> None:
    listed = "public//other.example/x\ntemplates/product/1.twig\n"
    done = site.invalidate("--changes", "paths", "--yes", stdin=listed)
    assert done.code == 1, done.stdout + done.stderr
    assert "left out, neither cleared nor warmed:\n  public//other.example/x (mod" in done.stdout
    assert "next: give what was left out in another form" in done.stdout
    assert counts(origin) == fetched_again("/p/1")
    assert len(origin.requests) == len(URLS) + 1
    looked = site.invalidate("--changes", "paths", "--dry-run", "--format", "json", stdin=listed)
    assert looked.code == 1
    (left,) = looked.report["plan"]["left_out"]
    assert left["message"].startswith("/{1} becomes //other.example/x, where // would begin a host")


def test_a_plan_for_people_is_no_longer_than_they_read(site: Site) -> None:
    listed = "".join(f"unknown/{number}\n" for number in range(250))
    done = site.invalidate("--changes", "paths", "--dry-run", stdin=listed)
    assert done.stdout.count(" (modified)\n") == 200
    assert "  and 50 more; --format json has all\n" in done.stdout


def test_one_way_of_saying_what_changed(site: Site) -> None:
    for arguments in ((), ("--from", "r1"), ("--from", "r1", "--to", "r2", "--changes", "paths")):
        done = site.cachekit.run("invalidate", *arguments)
        assert done.code == 2
        assert "say what changed" in done.stderr
