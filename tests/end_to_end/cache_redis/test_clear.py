"""What a clear of redis removes, what it spares, and what it refuses."""

import threading
from pathlib import Path
from typing import Any

import pytest

from cachekit.caches.base import Conditions, Survey
from cachekit.caches.redis import Redis
from cachekit.errors import (
    RefusedError,
)
from cachekit.execution import Limits, execute, survey
from cachekit.model import parse_address
from cachekit.outcomes import ActionReport, StepOutcome
from cachekit.plan import Selection, plan_clear
from cachekit.scope import EVERYTHING, Kind, Scope
from cachekit.warming.stop import Stop
from tests.end_to_end.cache_redis.common import (
    NAMESPACE,
    acl_user,
    cache_of,
    clear,
    key,
    prime,
    release,
)
from tests.servers.redis import RedisServer
from tests.shelves import conditions as conditions_of
from tests.shelves import settings

pytestmark = pytest.mark.server


def test_an_old_release_goes_and_the_others_stay(
    server: RedisServer, conditions: Conditions
) -> None:
    old = {key(number, "r40") for number in range(12_000)}
    others = {key(1), key(1, "r41"), "blog:1"}
    server.put(old | others)
    change = clear(cache_of(server), Scope(Kind.RELEASE, ("r40",)), conditions)
    assert (change.found, change.removed, change.left) == (12_000, 12_000, 0)
    assert server.names() == others


def test_characters_of_globs_in_a_prefix_mean_themselves(
    server: RedisServer, conditions: Conditions
) -> None:
    mine = {"g[1]*x", "g[1]*x:2", "g[1]*x\udcff\n"}
    others = {"g1yx", "g1", "g[1]", "g[1]x", "g\\[1]*x"}
    server.put(mine | others)
    change = clear(cache_of(server, namespace="g"), Scope(Kind.PREFIX, ("g[1]*x",)), conditions)
    assert (change.removed, change.left) == (3, 0)
    assert server.names() == others


def test_globs_mean_characters_where_redis_counts_bytes(
    server: RedisServer, conditions: Conditions
) -> None:
    server.put(["a:é", "a:éé", "a:x", "a:\\", "b:é"])
    change = clear(cache_of(server, namespace="a:"), Scope(Kind.GLOB, ("a:[!x]",)), conditions)
    assert (change.removed, change.left) == (2, 0)
    assert server.names() == {"a:éé", "a:x", "b:é"}


def test_keys_go_by_name(server: RedisServer, conditions: Conditions) -> None:
    server.put([key("a"), key("b"), key("c")])
    scope = Scope(Kind.KEY, (key("a"), key("b"), key("not there")))
    change = clear(cache_of(server), scope, conditions)
    assert (change.found, change.removed, change.left) == (2, 2, 0)
    assert server.names() == {key("c")}


def test_everything_is_everything_of_one_database(
    server: RedisServer, conditions: Conditions
) -> None:
    server.put(["other database"])
    with server.client(db=3) as client:
        client.mset(dict.fromkeys(map(str, range(700)), "x"))
    change = clear(cache_of(server, db=3, exclusive=True), EVERYTHING, conditions)
    assert (change.removed, change.left) == (700, 0)
    assert server.names(db=3) == set()
    assert server.names() == {"other database"}


def through_a_plan(cache: Redis, scope: Scope, conditions: Conditions) -> ActionReport:
    plan = plan_clear(settings({"pages": cache}), Selection(), scope, conditions)
    return execute(plan, conditions, limits=Limits(), stop=Stop(None))


@pytest.mark.parametrize(
    ("guard", "why"),
    [
        ({"max_keys": 5}, "6 entries would go, more than max_keys 5; nothing was removed"),
        ({"max_share": 0.5}, "6 of 8 entries would go, more than max_share 50%"),
    ],
)
def test_a_clear_of_more_than_its_guard_allows_is_refused(
    guard: dict[str, Any], why: str, server: RedisServer, conditions: Conditions
) -> None:
    server.put([*(key(number, "r40") for number in range(6)), key(1), "blog:1"])
    scope = Scope(Kind.RELEASE, ("r40",))
    (step,) = through_a_plan(cache_of(server, **guard), scope, conditions).steps
    assert (step.outcome, why in step.reason) == (StepOutcome.FAILED, True)
    assert len(server.names()) == 8
    forced = conditions_of(conditions.state_dir, release="r42", force=True)
    (step,) = through_a_plan(cache_of(server, **guard), scope, forced).steps
    assert (step.outcome, len(server.names())) == (StepOutcome.DONE, 2)


def test_a_plan_shows_what_would_go_and_touches_nothing(
    server: RedisServer, conditions: Conditions
) -> None:
    server.put([key("a", "r40"), key("b", "r40"), key(1)])
    scope = Scope(Kind.RELEASE, ("r40",))
    plan = plan_clear(settings({"pages": cache_of(server)}), Selection(), scope, conditions)
    (step,) = survey(plan, conditions, limits=Limits(), stop=Stop(None)).steps
    assert isinstance(step.found, Survey)
    assert (step.found.found, step.found.total) == (2, 3)
    assert set(step.found.examples) == {key("a", "r40"), key("b", "r40")}
    assert len(server.names()) == 3


def test_a_live_writer_is_told_of(server: RedisServer, conditions: Conditions) -> None:
    server.put([f"shop:{number}" for number in range(3000)])
    server.put([f"blog:{number}" for number in range(50_000)])
    writing, ended = threading.Event(), threading.Event()

    def write() -> None:
        number = 0
        with server.client() as client:
            while not ended.is_set():
                client.mset({f"shop:new:{number + i}": b"x" for i in range(100)})
                number += 100
                writing.set()

    writer = threading.Thread(target=write)
    writer.start()
    assert writing.wait(10)
    try:
        cache = cache_of(server, namespace="shop:")
        change = clear(cache, Scope(Kind.PREFIX, ("shop:",)), conditions)
    finally:
        ended.set()
        writer.join()
    assert change.left
    assert (change.removed or 0) >= 3000
    assert "still being written" in change.warnings[0]


def test_nothing_that_blocks_or_flushes_is_ever_sent(
    server: RedisServer, conditions: Conditions
) -> None:
    server.put([key(number, "r40") for number in range(100)])
    cache = cache_of(server, exclusive=True)
    prime(cache, release("r40"), conditions)
    clear(cache, Scope(Kind.RELEASE, ("r40",)), conditions)
    clear(cache, EVERYTHING, conditions)
    cache.status(cache.places({})[0], conditions)
    with server.client() as client:
        sent = {name.removeprefix("cmdstat_") for name in client.info("commandstats")}
    assert "scan" in sent
    assert not sent & {"keys", "flushall", "flushdb", "eval", "evalsha", "del", "monitor"}


# --- tags ---


def test_a_tag_takes_its_keys_and_its_set_along(
    server: RedisServer, conditions: Conditions
) -> None:
    tagged = [key(number) for number in range(2500)]
    server.put([*tagged, key("plain")])
    with server.client() as client:
        client.sadd("tag:shoes", *tagged, key("gone already"))
        client.zadd("tag:hats", {key("plain"): 1.5})
    cache = cache_of(server, tags="tag:{tag}")
    scope = Scope(Kind.TAG, ("shoes", "no such tag"))
    place = cache.places({})[0]
    assert cache.survey(place, scope, conditions).found == 2500
    change = clear(cache, scope, conditions)
    assert (change.found, change.removed, change.left) == (2500, 2500, 0)
    assert server.names() == {key("plain"), "tag:hats"}
    change = clear(cache, Scope(Kind.TAG, ("hats",)), conditions)
    assert (change.removed, change.left) == (1, 0)
    assert server.names() == set()


def test_a_tag_that_lists_foreign_keys_is_refused_untouched(
    server: RedisServer, conditions: Conditions
) -> None:
    server.put([key(1), "session:7"])
    with server.client() as client:
        client.sadd("tag:shoes", key(1), "session:7")
    cache = cache_of(server, tags="tag:{tag}")
    with pytest.raises(RefusedError, match="1 keys outside of the namespace, such as session:7"):
        clear(cache, Scope(Kind.TAG, ("shoes",)), conditions)
    assert server.names() == {key(1), "session:7", "tag:shoes"}
    forced = conditions_of(conditions.state_dir, release="r42", force=True)
    assert clear(cache, Scope(Kind.TAG, ("shoes",)), forced).removed == 2
    assert server.names() == set()


def test_members_may_lack_the_start_of_their_keys(
    server: RedisServer, conditions: Conditions
) -> None:
    server.put([key(1), key(2)])
    with server.client() as client:
        # As Laravel: without the prefixes, with the time of expiry for a score.
        client.zadd("tag:shoes:entries", {"1": -1, "2": 1790000000})
    scope = Scope(Kind.TAG, ("shoes",))
    pattern = {"namespace": "", "tags": "tag:{tag}:entries"}
    cache = cache_of(server, **pattern, member_prefix=NAMESPACE)
    assert cache.survey(cache.places({})[0], scope, conditions).found == 2
    change = clear(cache, scope, conditions)
    assert (change.removed, change.left, change.warnings) == (2, 0, ())
    assert server.names() == set()


def test_members_that_name_no_key_are_told_of(server: RedisServer, conditions: Conditions) -> None:
    server.put([key(1)])
    with server.client() as client:
        client.sadd("tag:shoes", "1")
    change = clear(
        cache_of(server, namespace="", tags="tag:{tag}"), Scope(Kind.TAG, ("shoes",)), conditions
    )
    assert (change.found, change.removed) == (0, 0)
    assert "none of the 1 listed keys was there; does `member_prefix` fit?" in change.warnings


def test_a_tag_whose_set_is_not_there_is_told_of(
    server: RedisServer, conditions: Conditions
) -> None:
    server.put([key(1)])
    with server.client() as client:
        client.sadd("tag:shoes", key(1))
    cache = cache_of(server, tags="tags:{tag}")
    scope = Scope(Kind.TAG, ("shoes",))
    expected = ("there is no set tags:shoes: no entry carries the tag, or `tags` does not fit",)
    assert cache.survey(cache.places({})[0], scope, conditions).warnings == expected
    change = clear(cache, scope, conditions)
    assert (change.found, change.left, change.warnings) == (0, 0, expected)


def test_a_tag_keeps_its_list_until_its_keys_are_gone(
    server: RedisServer, conditions: Conditions
) -> None:
    server.put([key(1)])
    with server.client() as client, acl_user(client, "-unlink") as access:
        client.sadd("tag:shoes", key(1))
        cache = cache_of(server, tags="tag:{tag}", **access)
        with pytest.raises(RefusedError, match="let the ACL user do that"):
            clear(cache, Scope(Kind.TAG, ("shoes",)), conditions)
        assert client.smembers("tag:shoes") == {key(1).encode()}


def test_a_tag_that_is_no_set_is_refused(server: RedisServer, conditions: Conditions) -> None:
    server.put(["tag:shoes"])
    with pytest.raises(RefusedError, match="is a string, expected a set"):
        clear(cache_of(server, tags="tag:{tag}"), Scope(Kind.TAG, ("shoes",)), conditions)


# --- refusals ---


@pytest.mark.parametrize(
    ("scope", "why"),
    [
        (EVERYTHING, "exclusive: true"),
        (Scope(Kind.RELEASE, ("r42",)), "--force"),
        (Scope(Kind.RELEASE, ("r41",)), "--force"),
        (Scope(Kind.PREFIX, ("shop:",)), "--force"),
        (Scope(Kind.PREFIX, (key("a"),)), "--force"),
        (Scope(Kind.PREFIX, ("blog:",)), "outside of its namespace"),
        (Scope(Kind.GLOB, ("*x",)), "outside of its namespace"),
        (Scope(Kind.GLOB, ("shop:*x",)), "--force"),
        (Scope(Kind.KEY, ("session:1",)), "outside of its namespace"),
        (Scope(Kind.TAG, ("shoes",)), "no `tags`"),
    ],
)
def test_what_reaches_too_far_is_refused_while_planning(
    scope: Scope, why: str, conditions: Conditions
) -> None:
    cache = Redis(servers=(parse_address("127.0.0.1"),), namespace=NAMESPACE)
    assert why in cache.refusal(scope, conditions)


def test_tags_of_a_release_want_one() -> None:
    servers = (parse_address("127.0.0.1"),)
    cache = Redis(servers=servers, tags="shop:{release}:tag:{tag}")
    assert "set `release:`" in cache.refusal(Scope(Kind.TAG, ("a",)), conditions_of())
    assert cache.refusal(Scope(Kind.TAG, ("a",)), conditions_of(release="r42")) == ""


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"db": -1}, "db"),
        ({"cluster": True, "db": 1}, "db 0 only"),
        ({"cluster": True, "namespace": "{{release}}:"}, "braces"),
        ({"password": "a", "password_file": Path("b")}, "expected one of"),
        ({"username": "a"}, "beside username"),
        ({"ca_file": Path("a")}, "tls: true"),
        ({"tls": True, "key_file": Path("a")}, "expected cert_file"),
        ({"tags": "tag:"}, "{tag}"),
        ({"member_prefix": "shop:"}, "expected tags"),
        ({"max_keys": -1}, "max_keys"),
        ({"servers": ()}, "one server or more"),
        ({"servers": (parse_address("a"), parse_address("a"))}, "named twice"),
        ({"servers": (parse_address("unix:/a"),), "tls": True}, "host and port"),
        ({"servers": (parse_address("unix:/a"),), "cluster": True}, "host and port"),
    ],
)
def test_settings_that_cannot_work_are_refused(keys: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Redis(**{"servers": (parse_address("127.0.0.1"),), **keys})
