"""The parts of the file cache: what scopes mean, settings, swaps, archives, answers."""

import ast
import contextlib
import errno
import fcntl
import fnmatch
import io
import json
import os
import re
import string
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cachekit.caches.base import Conditions, Place
from cachekit.caches.files import Files, answers, patterns
from cachekit.caches.files.agent import clears, copies, main, roots, skeletons, swaps
from cachekit.caches.files.agent.trees import Clock, RefusedError, Removal
from cachekit.caches.files.call import _perl_value, ask, perl_source
from cachekit.deadline import Deadline
from cachekit.errors import ConfigError, UnexpectedReplyError
from cachekit.model import Node, parse_address
from cachekit.plan import Selection, plan_clear
from cachekit.scope import EVERYTHING, Kind, Scope
from cachekit.settings import Settings
from tests.servers.process import require_program

NAMES = st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=8)
HOSTS = st.from_regex(r"[a-z]{1,5}(\.[a-z]{2,4}){1,2}(:8[0-9]{1,3})?", fullmatch=True)
TARGETS = st.text(string.ascii_letters + string.digits + "/?&=.*+()[]$^|\\%", max_size=12)


def cache(path: str = "/srv/shop/views", **settings: Any) -> Files:
    return Files(on=("web1",), path=Path(path), **settings)


def conditions(**more: Any) -> Conditions:
    return Conditions(deadline=Deadline(10), state_dir=Path("/nonexistent"), **more)


# Scopes


@given(NAMES, NAMES)
def test_a_path_selects_itself_and_what_is_below(name: str, other: str) -> None:
    regex = re.compile(patterns.path_regex(name), re.DOTALL)
    assert regex.fullmatch(name)
    assert regex.fullmatch(f"{name}/{other}/{other}")
    assert not regex.fullmatch(name + other)
    assert not regex.fullmatch(f"x{name}/{other}")


@given(st.text("ab*?.[]!-", max_size=6), st.text("ab.[]-!", max_size=6))
def test_within_one_name_a_glob_means_what_it_means_elsewhere(glob: str, name: str) -> None:
    # `**` is any number of directories here, and a range with nothing in it is refused.
    assume("**" not in glob and not re.search(r"\[.*-.*\]", glob))
    expected = fnmatch.fnmatchcase(name, glob)
    assert bool(re.fullmatch(patterns.glob_regex(glob), name, re.DOTALL)) is expected


@pytest.mark.parametrize(
    ("glob", "names", "others"),
    [
        ("*.php", ["a.php"], ["d/a.php", "a.phpx"]),
        ("**/*.php", ["a.php", "d/a.php", "d/e/a.php"], ["a.php/x"]),
        ("d/**", ["d/a", "d/e/a"], ["d", "e/d/a"]),
        ("[!a]?", ["bc", "éé"], ["ab", "b", "b/"]),
        ("[a-c]x", ["ax", "cx"], ["dx", "-x"]),
        ("[+--a-c-]", ["+", ",", "-", "a", "b", "c"], ["d", "."]),
        ("[]-]", ["]", "-"], ["["]),
        ("a\nb$", ["a\nb$"], ["a\nb"]),
    ],
)
def test_globs(glob: str, names: list[str], others: list[str]) -> None:
    regex = re.compile(patterns.glob_regex(glob), re.DOTALL)
    assert [name for name in names + others if regex.fullmatch(name)] == names


@given(HOSTS, TARGETS, st.sampled_from(["http", "https"]), TARGETS)
def test_a_url_is_found_in_the_usual_forms_of_keys(
    host: str, target: str, scheme: str, more: str
) -> None:
    url = f"{scheme}://{host}/{target}"
    exact = re.compile(patterns.url_regex(url, None, as_prefix=False), re.DOTALL)
    prefix = re.compile(patterns.url_regex(url, None, as_prefix=True), re.DOTALL)
    for before in (
        "",
        "https",
        "http://",
        "GET",
        "GEThttps",
        "httpGET",
        "GET|https|",
        "http:HEAD:",
    ):
        key = f"{before}{host.upper()}/{target}"
        assert exact.fullmatch(key)
        assert prefix.fullmatch(key + more)
        assert bool(exact.fullmatch(key + more)) is (more == "")
    for key in (f"x{host}/{target}", f"http://x.{host}/{target}", f"http://{host}.x/{target}"):
        assert not prefix.fullmatch(key)


def test_a_template_tells_the_scheme_and_a_port_may_be_missing() -> None:
    template = "{scheme}{method}|{host}{uri}"
    regex = patterns.url_regex("https://a.b:8443/x?y", template, as_prefix=False)
    assert re.fullmatch(regex, "httpsGET|a.b/x?y")
    assert re.fullmatch(regex, "httpsHEAD|a.b:8443/x?y")
    assert not re.fullmatch(regex, "httpGET|a.b/x?y")
    assert re.fullmatch(
        patterns.url_regex("http://a.b", "{host}{uri}", as_prefix=True), "a.b/anything"
    )


@pytest.mark.parametrize("url", ["//x", "ftp://a/x", "http:///x", "http://[x/", "http://a:x/"])
def test_what_is_no_url_is_refused(url: str) -> None:
    refusal = cache(format="nginx").refusal(Scope(Kind.URL, (url,)), conditions(site="http://a"))
    assert url in refusal


@pytest.mark.parametrize("kind", [Kind.URL, Kind.URL_PREFIX, Kind.URL_REGEX])
def test_a_path_needs_a_site(kind: Kind) -> None:
    assert "no `site:`" in cache(format="nginx").refusal(Scope(kind, ("/x",)), conditions())


def test_a_regex_that_begins_with_a_scheme_is_refused() -> None:
    scope = Scope(Kind.URL_REGEX, ("^https?://a/x",))
    refusal = cache(format="nginx").refusal(scope, conditions(site="http://a"))
    assert "matches path and query" in refusal


def test_uri_is_what_follows_the_host_or_stands_where_the_template_says() -> None:
    plain = re.compile(patterns.uri_regex("https://a.b:8443", None), re.DOTALL)
    for key in ("httpGETa.b/x?/y", "A.B:8443/x?/y"):
        match = plain.fullmatch(key)
        assert match is not None
        assert match["uri"] == "/x?/y"
    assert not plain.fullmatch("http://xa.b/a.b/x")
    last = re.fullmatch(patterns.uri_regex("https://a.b", "{uri}|{host}"), "/x|y|a.b")
    assert last is not None
    assert last["uri"] == "/x|y"


# Settings


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/", "of the system"),
        ("/srv", "of the system"),
        ("/var/www", "of the system"),
        ("/home/deploy", "of the system"),
        ("/etc/nginx/cache", "belongs to"),
        ("/usr/lib/x/y", "belongs to"),
        ("/proc/1/fd", "belongs to"),
        ("srv/shop/views", "absolute"),
        ("/srv/shop/../../etc/views", "without `..`"),
    ],
)
def test_what_cannot_be_a_cache_is_refused_in_the_settings(path: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        cache(path)


@pytest.mark.parametrize(
    "settings",
    [
        {"keep": -1},
        {"max_keys": -5},
        {"key": "{host}{uri}"},
        {"key": "{host}", "format": "nginx"},
        {"key": "{uri}{uri}", "format": "nginx"},
        {"opcache": "code", "format": "nginx"},
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        cache(**settings)


@pytest.mark.parametrize(
    ("scope", "reason"),
    [
        (Scope(Kind.PATH, ("../x",)), "no path below"),
        (Scope(Kind.PATH, ("/srv/shop/other",)), "no path below"),
        (Scope(Kind.PATH, ("a/./b",)), "no path below"),
        (Scope(Kind.PATH, ("/",)), "no path below"),
        (Scope(Kind.GLOB, ("[b-a]",)), "bad character range"),
        (EVERYTHING, ""),
        (Scope(Kind.PATH, ("a/b/",)), ""),
    ],
)
def test_refusals(scope: Scope, reason: str) -> None:
    refusal = cache().refusal(scope, conditions())
    assert reason in refusal
    assert bool(reason) is bool(refusal)


def test_pages_of_nginx_have_keys_and_lie_further_out() -> None:
    plain, pages = cache(), cache(format="nginx")
    assert pages.scopes - plain.scopes == {
        Kind.KEY,
        Kind.PREFIX,
        Kind.URL,
        Kind.URL_PREFIX,
        Kind.URL_REGEX,
    }
    assert (plain.layer, pages.layer) == (10, 40)


RELEASED = "/srv/{release}/cache"
OLD = Scope(Kind.RELEASE, ("r1",))


def test_only_directories_of_releases_are_cleared_by_release() -> None:
    settings = Settings(
        site="https://shop.example",
        nodes={"web1": Node(name="web1", address=parse_address("127.0.0.1"))},
        caches={"views": cache(), "built": cache(RELEASED)},
    )
    chosen = Selection(caches=("views",))
    with pytest.raises(ConfigError, match=r"views: takes no --release; these do: built"):
        plan_clear(settings, chosen, OLD, conditions(release="r2"))


@pytest.mark.parametrize(
    "scope", [EVERYTHING, Scope(Kind.GLOB, ("**/*",)), Scope(Kind.RELEASE, ("r1", "r2"))]
)
def test_a_release_that_is_kept_is_not_emptied_without_force(scope: Scope) -> None:
    files = cache(RELEASED)
    refusal = files.refusal(scope, conditions(release="r2"))
    assert "release r2 is live" in refusal
    assert "--force" in refusal
    assert not files.refusal(scope, conditions(release="r2", force=True))
    assert not cache().refusal(EVERYTHING, conditions(release="r2"))


def test_parts_of_the_live_release_and_old_ones_may_go() -> None:
    files = cache(RELEASED)
    for scope in (Scope(Kind.PATH, ("a",)), Scope(Kind.OLDER_THAN, ("1d",)), OLD):
        assert not files.refusal(scope, conditions(release="r2", previous="r0"))
    assert "r1 is live or kept" in files.refusal(OLD, conditions(release="r2", previous="r1"))


def test_without_the_live_release_nothing_is_known_not_to_be_it() -> None:
    files = cache(RELEASED)
    for scope in (EVERYTHING, Scope(Kind.PATH, ("a",)), OLD):
        assert "set `release:`, or give --live" in files.refusal(scope, conditions())
    assert not files.refusal(OLD, conditions(force=True))
    assert "--live" in files.refusal(EVERYTHING, conditions(force=True))


@pytest.mark.parametrize("name", ["..", ".", "a/b"])
def test_a_release_is_the_name_of_a_directory(name: str) -> None:
    files = cache(RELEASED)
    assert "no name" in files.refusal(Scope(Kind.RELEASE, (name,)), conditions(release="r2"))
    assert "no name" in files.refusal(EVERYTHING, conditions(release=name))


@pytest.mark.parametrize(
    ("path", "scope", "implied"),
    [
        ("/srv/shop/views", EVERYTHING, ("/srv/shop/views",)),
        ("/srv/shop/views", Scope(Kind.GLOB, ("*.php",)), ("/srv/shop/views",)),
        ("/srv/shop/views", Scope(Kind.PATH, ("a", "b/c")), None),
        ("/srv/{release}/views", Scope(Kind.RELEASE, ("r1",)), ("/srv/r1/views",)),
        ("/srv/shop-{release}/views", EVERYTHING, ("/srv",)),
    ],
)
def test_bytecode_is_implied(path: str, scope: Scope, implied: tuple[str, ...] | None) -> None:
    expected = implied or ("/srv/shop/views/a", "/srv/shop/views/b/c")
    assert cache(path, opcache="code").implied(scope) == {"code": Scope(Kind.PATH, expected)}
    assert cache(path).implied(scope) == {}


# The program that is sent


def agent_sources() -> list[tuple[str, str]]:
    package = files("cachekit.caches.files.agent")
    return [(each.name, each.read_text()) for each in package.iterdir() if each.name[-3:] == ".py"]


@pytest.mark.parametrize(("name", "source"), agent_sources())
def test_the_program_runs_on_old_pythons(name: str, source: str) -> None:
    tree = ast.parse(source, feature_version=(3, 6))
    annotations = [
        annotation
        for node in ast.walk(tree)
        for annotation in (getattr(node, "annotation", None), getattr(node, "returns", None))
        if isinstance(node, ast.arg | ast.FunctionDef)
    ]
    # Python 3.6 would evaluate these, and has no list[str] or X | None.
    modern = [each for each in annotations if isinstance(each, ast.Subscript | ast.BinOp)]
    assert not modern, name


@given(
    st.lists(
        st.text(max_size=5) | st.booleans() | st.integers(0, 10**6) | st.none(), max_size=5
    ).map(lambda values: [*values, "'; die; '\"\\$(x)@y\0\n"])
)
def test_perl_gets_text_as_it_is(values: list[Any]) -> None:
    written = [_perl_value(value) for value in values]
    for value, literal in zip(values, written, strict=True):
        if isinstance(value, str):
            digits = re.fullmatch(r'pack\("H\*", "([0-9a-f]*)"\)', literal)
            assert digits is not None
            assert bytes.fromhex(digits[1]).decode() == value


def test_perl_finds_nothing_to_warn_about() -> None:
    done = subprocess.run(
        [require_program("perl"), "-cw", "-"],
        input=perl_source(),
        capture_output=True,
        check=False,
    )
    assert done.stderr.strip() == b"- syntax OK"


@pytest.mark.parametrize("said", ["", "hello", "[1]", "null"])
def test_a_node_that_answers_nonsense_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    (tmp_path / "sh").symlink_to(require_program("sh"))
    (tmp_path / "python3").write_text(f"#!/bin/sh\necho '{said}'\n")
    (tmp_path / "python3").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    place = Place(name="web1", node=Node(name="web1", address=parse_address("127.0.0.1")))
    with pytest.raises(UnexpectedReplyError, match="web1"):
        ask(place, {"action": "status"}, Deadline(10))


# Trees


@pytest.fixture
def root(tmp_path: Path) -> Iterator[roots.Root]:
    top = tmp_path / "views"
    (top / "d").mkdir(parents=True)
    for number in range(5):
        (top / "d" / f"{number}").touch()
    opened = roots.open_root(str(top), None)
    yield opened
    os.close(opened.fd)
    os.close(opened.parent)


def path_of(root: roots.Root) -> Path:
    return Path(os.fsdecode(root.path))


def job(root: roots.Root, **more: Any) -> dict[str, Any]:
    plain = {"action": "clear", "everything": True, "owner": None, "adopt": True, "shared": False}
    return plain | {"path": str(path_of(root)), "seconds": 20.0} | more


def without_exchange(_parent: int, _one: bytes, _other: bytes) -> None:
    """As NFS and old kernels do."""
    raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))


def test_two_renames_are_left_where_nothing_can_be_exchanged(root: roots.Root) -> None:
    fresh, fd = skeletons.make_fresh(root, shared=False)
    swap = swaps.swap(root, fresh, False, without_exchange)
    assert swap.how == "two renames"
    assert roots.is_in_place(root, fd)
    os.close(fd)
    assert (path_of(root).parent / os.fsdecode(swap.retired) / "d" / "1").exists()
    change = answers.change({"how": swap.how, "usable": 0.1, "left": 0, "removed": 5, "found": 5})
    assert "nothing was there" in change.warnings[0]


def test_a_writer_that_makes_the_root_anew_in_the_gap_is_moved_away(root: roots.Root) -> None:
    ended = threading.Event()

    def insist() -> None:
        while not ended.is_set():
            with contextlib.suppress(OSError):
                (path_of(root) / "new").mkdir(parents=True, exist_ok=True)

    writer = threading.Thread(target=insist)
    writer.start()
    try:
        for _ in range(50):
            fresh, fd = skeletons.make_fresh(root, shared=False)
            swaps.swap(root, fresh, False, without_exchange)
            assert roots.is_in_place(root, fd)
            os.close(fd)
    finally:
        ended.set()
        writer.join()


def test_an_exchange_that_fails_for_another_reason_changes_nothing(root: roots.Root) -> None:
    def full(_parent: int, _one: bytes, _other: bytes) -> None:
        raise OSError(errno.ENOSPC, "full")

    fresh, fd = skeletons.make_fresh(root, shared=False)
    os.close(fd)
    with pytest.raises(OSError, match="full"):
        swaps.swap(root, fresh, False, full)
    assert (path_of(root) / "d" / "1").exists()


def test_what_the_deadline_left_is_named(root: roots.Root) -> None:
    fresh, fd = skeletons.make_fresh(root, shared=False)
    swap = swaps.swap(root, fresh, shared=False)
    os.close(fd)
    answer = clears._remove_retired(root, swap, Clock(0))
    change = answers.change({"how": swap.how, "usable": 0.1, "left": 0, **answer})
    assert (change.found, change.left) == (None, 0)
    assert os.fsdecode(swap.retired) in change.warnings[0]
    assert main.answer(job(root))["removed"] == 0
    # The next run has removed it, although it had nothing else to do.
    assert list(path_of(root).parent.iterdir()) == [path_of(root)]


def test_a_root_that_another_run_is_at_work_on_is_waited_for(root: roots.Root) -> None:
    fcntl.flock(root.fd, fcntl.LOCK_EX)
    assert "another run" in main.answer(job(root, seconds=0.2))["late"]
    threading.Timer(0.2, fcntl.flock, (root.fd, fcntl.LOCK_UN)).start()
    assert main.answer(job(root))["removed"] == 5


def test_a_tree_that_a_living_run_holds_is_no_orphan(root: roots.Root) -> None:
    fresh, fd = skeletons.make_fresh(root, shared=False)
    assert swaps.orphans(root) == []
    os.close(fd)
    assert swaps.orphans(root) == [fresh]
    assert swaps.collect(root, [fresh], Removal(Clock(5))) == {}
    assert swaps.orphans(root) == []


def test_a_tree_as_deep_as_it_gets_is_cleared(root: roots.Root) -> None:
    fd = os.dup(root.fd)
    for _ in range(150):
        os.mkdir("d" * 50, dir_fd=fd)
        below = os.open("d" * 50, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    os.close(fd)
    assert main.answer(job(root))["removed"] == 6


# Archives and directories


def archive(folder: Path, *members: tarfile.TarInfo) -> bytes:
    with tarfile.open(folder / "a.tar", "w") as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(b"x" * member.size))
    return os.fsencode(folder / "a.tar")


def member(name: str, kind: bytes = tarfile.REGTYPE, size: int = 1) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.size = size if kind == tarfile.REGTYPE else 0
    info.linkname = "/etc/passwd"
    return info


@pytest.mark.parametrize(
    "hostile",
    [
        member("../out"),
        member("a/../../out"),
        member("/out"),
        member("a//b"),
        member("link", tarfile.SYMTYPE),
        member("hard", tarfile.LNKTYPE),
        member("device", tarfile.CHRTYPE),
        member("pipe", tarfile.FIFOTYPE),
        member("good"),
    ],
    ids=lambda info: info.name,
)
def test_an_archive_leads_nowhere_else(tmp_path: Path, hostile: tarfile.TarInfo) -> None:
    (tmp_path / "fresh").mkdir()
    fd = os.open(tmp_path / "fresh", os.O_RDONLY)
    try:
        with pytest.raises(RefusedError, match=r"in the archive"):
            copies.unpack(archive(tmp_path, member("good"), hostile), fd, Clock(5))
    finally:
        os.close(fd)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar", "fresh"]


@pytest.mark.parametrize("keep", [0, 100, 700])
def test_a_damaged_archive_is_refused(tmp_path: Path, keep: int) -> None:
    path = Path(os.fsdecode(archive(tmp_path, member("a", size=5000))))
    path.write_bytes(path.read_bytes()[:keep])
    (tmp_path / "fresh").mkdir()
    fd = os.open(tmp_path / "fresh", os.O_RDONLY)
    try:
        with pytest.raises(RefusedError, match="damaged"):
            copies.unpack(os.fsencode(path), fd, Clock(5))
    finally:
        os.close(fd)


def test_a_link_in_a_directory_is_not_copied(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "link").symlink_to("/etc/passwd")
    (tmp_path / "fresh").mkdir()
    fd = os.open(tmp_path / "fresh", os.O_RDONLY)
    with pytest.raises(RefusedError, match="no plain file"):
        copies.copy(os.fsencode(tmp_path / "source"), fd, Clock(5))
    os.close(fd)


def test_a_directory_that_holds_the_cache_is_not_copied_into_it(root: roots.Root) -> None:
    source = str(path_of(root).parent)
    answer = main.answer(job(root, action="prime", source=source, keep=1))
    assert "holds the cache itself" in answer["refused"]
    assert len(list(path_of(root).parent.iterdir())) == 1


def test_answers_are_json(root: roots.Root, capsys: pytest.CaptureFixture[str]) -> None:
    (path_of(root) / "\udcff").touch()
    main.main(job(root, action="survey"))
    assert json.loads(capsys.readouterr().out)["found"] == 6
