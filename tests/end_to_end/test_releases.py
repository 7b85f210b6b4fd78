"""Releases in real caches: what a listing tells and what it leaves alone, whoever answers how."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cachekit.caches.apc import Apc
from cachekit.caches.base import Conditions, Releasing
from cachekit.caches.files import Files, answers
from cachekit.caches.files.agent import main
from cachekit.caches.memcache import Memcache
from cachekit.caches.namespace import prefix_of, release_token
from cachekit.caches.redis import Redis
from cachekit.caches.releases import ReleaseEntries, Releases
from cachekit.errors import CommandError, RefusedError
from cachekit.model import parse_address
from cachekit.scope import EVERYTHING
from tests.command import Cachekit
from tests.node_programs import path_with
from tests.servers.memcached import Memcached
from tests.servers.php_fpm import PhpFpm, Pool
from tests.servers.redis import RedisServer
from tests.shelves import NODES
from tests.shelves import conditions as conditions_of

NAMESPACE = "shop:{release}:"
PROGRAMS = pytest.mark.parametrize("program", ["python3", "perl"])


@pytest.fixture
def conditions(tmp_path: Path) -> Conditions:
    return conditions_of(tmp_path / "state", release="r42", previous="r41")


def keys(release: str, count: int) -> list[str]:
    return [f"{prefix_of(NAMESPACE, release)}{number}" for number in range(count)]


def look(cache: Releasing, conditions: Conditions) -> Releases:
    (place,) = cache.places({"web1": NODES["web1"]})
    return cache.releases(place, conditions)


def by_token(found: Releases) -> dict[str, ReleaseEntries]:
    return {each.token: each for each in found.entries}


# memcached and redis


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


def redis_of(server: RedisServer, **settings: str) -> Redis:
    address = parse_address(server.address)
    return Redis(servers=(address,), namespace=NAMESPACE, **settings)  # type: ignore[arg-type]


@pytest.mark.server
def test_many_items_of_memcached_are_counted_exactly(conditions: Conditions) -> None:
    with Memcached() as server:
        for release, count in (("r40", 3000), ("r42", 20000)):
            server.put(keys(release, count), b"x" * 100)
        server.put([f"blog:{number}" for number in range(500)])
        cache = Memcache(servers=(parse_address(server.address),), namespace=NAMESPACE)
        found = by_token(look(cache, conditions))
        assert {token: each.items for token, each in found.items()} == {
            release_token("r40"): 3000,
            release_token("r42"): 20000,
        }
        assert 3000 * 100 < (found[release_token("r40")].size or 0) < 3000 * 300


@pytest.mark.server
def test_a_memcached_that_lists_nothing_is_refused(conditions: Conditions) -> None:
    with Memcached(arguments=("-X",)) as server:
        server.put(keys("r40", 3))
        cache = Memcache(servers=(parse_address(server.address),), namespace=NAMESPACE)
        with pytest.raises(RefusedError, match="does not list its keys"):
            look(cache, conditions)


@pytest.mark.server
def test_the_size_of_many_entries_of_redis_is_estimated(
    redis: RedisServer, conditions: Conditions
) -> None:
    redis.put(keys("r40", 5000), b"x" * 1000)
    (entry,) = look(redis_of(redis), conditions).entries
    assert entry.items == 5000
    with redis.client() as client:
        one = client.memory_usage(keys("r40", 1)[0])
    assert 0.9 < (entry.size or 0) / (5000 * one) < 1.1


@pytest.mark.server
def test_a_look_leaves_the_ages_of_redis_alone(redis: RedisServer, conditions: Conditions) -> None:
    (key,) = keys("r40", 1)
    with redis.client() as client:
        client.restore(key, 0, dumped(client), idletime=500)
        for _ in range(2):
            (entry,) = look(redis_of(redis), conditions).entries
            assert entry.oldest == entry.newest
            assert 500 <= (entry.oldest or 0) < 600


def dumped(client: object) -> bytes:
    client.set("value", b"x")  # type: ignore[attr-defined]
    return bytes(client.dump("value"))  # type: ignore[attr-defined]


@pytest.mark.server
def test_ages_that_a_policy_does_not_keep_are_not_known(conditions: Conditions) -> None:
    with RedisServer(arguments=("--maxmemory-policy", "allkeys-lfu")) as server:
        server.put(keys("r40", 3))
        (entry,) = look(redis_of(server), conditions).entries
        assert (entry.items, entry.oldest, entry.newest) == (3, None, None)
        assert entry.size


@pytest.mark.server
def test_what_an_acl_does_not_let_us_ask_is_not_known(
    redis: RedisServer, conditions: Conditions
) -> None:
    redis.put(keys("r40", 3))
    with redis.client() as client:
        client.execute_command(
            "ACL", "SETUSER", "narrow", "on", ">secret", "~*", "+info", "+scan", "+select"
        )
    narrow = redis_of(redis, username="narrow", password="secret")
    (entry,) = look(narrow, conditions).entries
    assert (entry.items, entry.size, entry.newest) == (3, None, None)


# APCu


@pytest.mark.server
def test_all_masters_of_a_node_are_added_up(conditions: Conditions) -> None:
    with PhpFpm() as one, PhpFpm() as other:
        one.put(*keys("r40", 3))
        other.put(*keys("r40", 2), *keys("r42", 1))
        cache = Apc(on=("web1",), sockets=(*one.sockets, *other.sockets), namespace=NAMESPACE)
        found = by_token(look(cache, conditions))
        assert found[release_token("r40")].items == 5
        assert found[release_token("r42")].items == 1
        assert (found[release_token("r40")].oldest or 0) < 60


@pytest.mark.server
def test_a_master_that_cannot_be_asked_leaves_the_node_unknown(conditions: Conditions) -> None:
    off = Pool(name="off", admin={"apc.enabled": "0"})
    with PhpFpm() as one, PhpFpm(pools=(off,), ini={"apc.enabled": "0"}) as other:
        one.put(*keys("r40", 3))
        cache = Apc(on=("web1",), sockets=(*one.sockets, *other.sockets), namespace=NAMESPACE)
        with pytest.raises(RefusedError, match="APCu is off"):
            look(cache, conditions)


# Directories


@pytest.fixture
def releases(tmp_path: Path) -> Path:
    """A folder as Capistrano makes it, with more in it than releases."""
    folder = tmp_path / "releases"
    for release in ("r40", "r41", "42"):
        views = folder / release / "views" / "ab"
        views.mkdir(parents=True)
        (views.parent / ".cachekit").touch()
        for name in ("a", "b"):
            (views / name).write_text("<p>")
    (folder / "current").symlink_to("r41")
    (folder / ".trash" / "views").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "no-cache" / "views").mkdir(parents=True)
    (folder / "file").touch()
    return folder


def on_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", path_with(tmp_path / "bin", "sh", program))


@PROGRAMS
def test_only_directories_of_caches_are_releases(
    releases: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    conditions: Conditions,
    program: str,
) -> None:
    on_node(tmp_path, monkeypatch, program)
    os.utime(releases / "r40" / "views" / "ab" / "a", (1e9, 1e9))
    os.utime(releases / "r41" / "views" / "ab" / "a", (2**32, 2**32))
    found = look(Files(on=("web1",), path=releases / "{release}" / "views"), conditions)
    assert {
        token: (each.items, each.size) for token, each in by_token(found).items()
    } == dict.fromkeys(("42", "r40", "r41"), (2, 6))
    old = by_token(found)["r40"]
    assert (old.newest or 0) < 600 < 86400 * 365 < (old.oldest or 0)
    assert by_token(found)["r41"].newest is None, "a date in the future is no age"
    (warning,) = found.warnings
    assert warning.startswith("no-cache is left out: ")
    assert "holds no file .cachekit" in warning


def test_what_there_is_no_time_to_count_is_not_known(releases: Path) -> None:
    path = str(releases / "{release}" / "views")
    job = {"action": "releases", "path": path, "owner": None, "adopt": False, "seconds": 0.0}
    answer = main.answer(job)
    assert [(each["release"], each["items"]) for each in answer["found"]] == [
        ("42", None),
        ("r40", None),
        ("r41", None),
    ]
    assert all(each.size is None for each in answers.releases(answer).entries)


@PROGRAMS
def test_trees_that_cachekit_has_linked_are_releases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, conditions: Conditions, program: str
) -> None:
    on_node(tmp_path, monkeypatch, program)
    folder = tmp_path / "cache"
    for release in ("r40", "r42"):
        (folder / release).mkdir(parents=True)
        (folder / release / "a").write_text("<p>")
    (folder / "foreign").symlink_to("r42")
    cache = Files(on=("web1",), path=folder / "{release}", adopt=True, shared=True)
    (place,) = cache.places({"web1": NODES["web1"]})
    assert cache.clear(place, EVERYTHING, conditions).left == 0
    assert (folder / "r42").is_symlink()
    (folder / "r42" / "b").write_text("<p>")
    found = by_token(look(cache, conditions))
    assert {token: each.items for token, each in found.items()} == {"r40": 1, "r42": 1}


@PROGRAMS
def test_a_folder_that_is_not_there_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, conditions: Conditions, program: str
) -> None:
    on_node(tmp_path, monkeypatch, program)
    found = look(Files(on=("web1",), path=tmp_path / "none" / "{release}" / "views"), conditions)
    assert found.entries == ()
    assert found.warnings == (f"there is no directory {tmp_path}/none",)


@PROGRAMS
def test_a_folder_that_cannot_be_read_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, conditions: Conditions, program: str
) -> None:
    on_node(tmp_path, monkeypatch, program)
    (tmp_path / "file").touch()
    with pytest.raises(CommandError, match="file: Not a directory"):
        look(Files(on=("web1",), path=tmp_path / "file" / "{release}" / "views"), conditions)


# The command


def test_the_command_lists_names_and_reaps(cachekit: Cachekit, releases: Path) -> None:
    (cachekit.folder / "cachekit.yaml").write_text(
        "site: https://shop.example\nrelease: r41\nprevious: '42'\n"
        "nodes: {web1: 127.0.0.1}\n"
        f"caches:\n  views: {{type: files, on: web1, path: '{releases}/{{release}}/views'}}\n"
        f"  logos: {{type: files, on: web1, path: '{releases}/r40/views'}}\n"
    )
    state = ("--state-dir", str(cachekit.state_dir))
    listed = cachekit.run("releases", *state)
    assert listed.code == 0, listed.stderr
    assert "note: logos: holds no release apart" in listed.stdout
    assert "cachekit clear views --release r40" in listed.stdout
    assert cachekit.run("clear", "views", "--release", "r40", "--yes", *state).code == 0
    facts = cachekit.run("releases", "views", "--format", "json", "-q", *state)
    (step,) = json.loads(facts.stdout)["steps"]
    assert [
        (each["release"], each["role"], each["items"]) for each in step["found"]["entries"]
    ] == [
        ("r41", "live", 2),
        ("42", "previous", 2),
        ("r40", "old", 0),
    ]
    assert "cachekit clear" not in cachekit.run("releases", *state).stdout


def test_a_directory_names_what_others_hold_of_it(cachekit: Cachekit, releases: Path) -> None:
    with Memcached() as server:
        server.put([*keys("r40", 3), *keys("r38", 2)])
        (cachekit.folder / "cachekit.yaml").write_text(
            "site: https://shop.example\nrelease: r41\nnodes: {web1: 127.0.0.1}\ncaches:\n"
            f"  views: {{type: files, on: web1, path: '{releases}/{{release}}/views'}}\n"
            f"  objects: {{type: memcache, servers: '{server.address}',"
            f" namespace: '{NAMESPACE}'}}\n"
        )
        state = ("--state-dir", str(cachekit.state_dir))
        listed = cachekit.run("releases", *state)
        assert "cachekit clear objects --release r40" in listed.stdout
        reap = f"cachekit clear objects --prefix shop:{release_token('r38')}:"
        assert reap in listed.stdout
        assert "what is old here may be what a rollback needs" in listed.stdout
        done = cachekit.run(*reap.split()[1:], "--yes", *state)
        assert done.code == 0, done.stderr
        assert server.keys_there([*keys("r40", 3), *keys("r38", 2)]) == keys("r40", 3)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("logos",), "logos: holds no release apart"),
        (("viws",), "viws: no cache is called so; there are: logos; did you mean"),
        (("--node", "web2"), "--node web2: no node is called so"),
    ],
)
def test_mistakes_of_the_command_are_exit_2(
    cachekit: Cachekit, arguments: tuple[str, ...], said: str
) -> None:
    (cachekit.folder / "cachekit.yaml").write_text(
        "site: https://shop.example\nnodes: {web1: 127.0.0.1}\n"
        "caches: {logos: {type: files, on: web1, path: /srv/shop/logos}}\n"
    )
    done = cachekit.run("releases", *arguments)
    assert done.code == 2
    assert said.removesuffix("; did you mean") in done.stderr
