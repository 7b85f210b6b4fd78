"""redis, standalone and as a cluster, as its clients see it before and after."""

import json
import shlex
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import hiredis
import pytest
import redis

from cachekit.caches.base import Change, Conditions, Filling, Place, Survey
from cachekit.caches.namespace import prefix_of
from cachekit.caches.redis import Redis
from cachekit.caches.redis.clearing import clear_selected
from cachekit.caches.redis.keyspace import prefixed
from cachekit.caches.redis.store import Store
from cachekit.deadline import Deadline, DeadlineError
from cachekit.errors import (
    CachekitError,
    ConfigError,
    RefusedError,
    SourceError,
    UnreachableError,
)
from cachekit.execution import Limits, execute, survey
from cachekit.model import parse_address
from cachekit.outcomes import ActionReport, StepOutcome, judged
from cachekit.plan import Selection, plan_clear
from cachekit.scope import EVERYTHING, Kind, Scope
from cachekit.warming.stop import Stop
from tests.servers.process import free_port
from tests.servers.redis import RedisCluster, RedisServer
from tests.servers.sshd import Sshd
from tests.servers.tls import Authority
from tests.shelves import conditions as conditions_of
from tests.shelves import node, settings

pytestmark = pytest.mark.server

NAMESPACE = "shop:{release}:"
PREFIX = Scope(Kind.PREFIX, ("shop:",))
DAY = 86400


@pytest.fixture(scope="module")
def shared() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def server(shared: RedisServer) -> RedisServer:
    with shared.client() as client:
        client.flushall()
        client.config_resetstat()
    return shared


@pytest.fixture(scope="module")
def shared_cluster() -> Iterator[RedisCluster]:
    with RedisCluster() as cluster:
        yield cluster


@pytest.fixture
def cluster(shared_cluster: RedisCluster) -> RedisCluster:
    for each in shared_cluster.nodes:
        shared_cluster.tell(each, "FLUSHALL")
    return shared_cluster


@pytest.fixture
def other() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def conditions(tmp_path: Path) -> Conditions:
    return conditions_of(tmp_path / "state", release="r42", previous="r41")


def cache_of(*servers: RedisServer, **keys: Any) -> Redis:
    addresses = tuple(parse_address(server.address) for server in servers)
    return Redis(servers=addresses, **{"namespace": NAMESPACE, **keys})


def cluster_cache(cluster: RedisCluster, **keys: Any) -> Redis:
    seeds = tuple(map(parse_address, cluster.addresses[:2]))
    return Redis(servers=seeds, cluster=True, **{"namespace": NAMESPACE, **keys})


def key(name: object, release: str = "r42") -> str:
    return prefix_of(NAMESPACE, release) + str(name)


def clear(cache: Redis, scope: Scope, conditions: Conditions) -> Change:
    assert cache.refusal(scope, conditions) == ""
    return cache.clear(cache.places({})[0], scope, conditions)


def prime(cache: Redis, filling: Filling, conditions: Conditions) -> Change:
    change = cache.prime(cache.places({}), filling, conditions)
    parts = (change.stored, change.present, change.skipped, change.left)
    assert change.found == sum(part or 0 for part in parts)
    return change


def counts(change: Change) -> tuple[int | None, ...]:
    return (change.found, change.stored, change.present, change.skipped, change.left)


def records(tmp_path: Path, *lines: dict[str, Any]) -> Filling:
    file = tmp_path / "records.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return Filling(kind="file", value=str(file))


def release(name: str) -> Filling:
    return Filling(kind="donor", value=name)


def donor(cache: Redis) -> Filling:
    return Filling(kind="donor", value="other", donor=cache, donor_places=cache.places({}))


# --- clear ---


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


# --- prime from records ---


def test_records_are_stored_as_they_are(
    server: RedisServer, conditions: Conditions, tmp_path: Path
) -> None:
    filling = records(
        tmp_path,
        {"cachekit": 1},
        {"key": "shop:{release}:bytes", "value_base64": "AP8K", "ttl": DAY * 60},
        {"key": key("text"), "value": "é", "expires_at": time.time() + 500},
        {"key": key("json"), "value": {"a": [1, None, "é"]}},
        {"key": key("expired"), "value": "x", "expires_at": time.time() - 1},
        {"key": key("zero"), "value": "x", "ttl": 0},
    )
    change = prime(cache_of(server), filling, conditions)
    assert counts(change) == (5, 3, 0, 2, 0)
    with server.client() as client:
        assert client.get(key("bytes")) == b"\x00\xff\n"
        assert client.get(key("text")) == "é".encode()
        assert client.get(key("json")) == '{"a":[1,null,"é"]}'.encode()
        assert DAY * 60 - 10 < client.ttl(key("bytes")) <= DAY * 60
        assert 490 < client.ttl(key("text")) <= 500
        assert client.ttl(key("json")) == -1


def test_what_is_there_stays_unless_it_may_be_overwritten(
    server: RedisServer, conditions: Conditions, tmp_path: Path
) -> None:
    server.put([key(1)], b"newer")
    filling = records(
        tmp_path, {"key": key(1), "value": "older"}, {"key": key(2), "value": "x", "flags": 3}
    )
    change = prime(cache_of(server), filling, conditions)
    assert counts(change) == (2, 1, 1, 0, 0)
    assert "1 records have flags" in change.warnings[0]
    with server.client() as client:
        assert client.get(key(1)) == b"newer"
        assert counts(prime(cache_of(server), filling, conditions)) == (2, 0, 2, 0, 0)
        change = prime(cache_of(server, overwrite=True), filling, conditions)
        assert counts(change) == (2, 2, 0, 0, 0)
        assert client.get(key(1)) == b"older"


def test_a_loader_prints_records(server: RedisServer, conditions: Conditions) -> None:
    code = 'for n in range(1200): print(\'{"key": "shop:{release}:%d", "value": 1}\' % n)'
    line = shlex.join([sys.executable, "-c", code])
    change = prime(cache_of(server), Filling(kind="command", value=line), conditions)
    assert counts(change) == (1200, 1200, 0, 0, 0)
    assert server.names() == {key(number) for number in range(1200)}


def test_records_that_cannot_be_meant_are_refused(
    server: RedisServer, other: RedisServer, conditions: Conditions, tmp_path: Path
) -> None:
    foreign = records(tmp_path, {"key": "blog:1", "value": "x"})
    with pytest.raises(RefusedError, match="outside of the namespace"):
        prime(cache_of(server), foreign, conditions)
    with pytest.raises(RefusedError, match="only the application knows"):
        prime(cache_of(server, other), foreign, conditions)
    with pytest.raises(RefusedError, match="which release"):
        prime(cache_of(server), foreign, conditions_of(tmp_path))
    with pytest.raises(SourceError, match="cannot be read"):
        prime(cache_of(server), Filling(kind="file", value="/nonexistent"), conditions)
    assert server.names() == set()


# --- prime from a donor ---


def fill_with_all_types(client: Any, prefix: str) -> None:
    client.set(prefix + "text", b"\x00value", px=3_600_000)
    client.set(prefix + "ever", b"")
    client.rpush(prefix + "list", *range(2500))
    client.sadd(prefix + "set", "a", "b")
    client.hset(prefix + "hash", mapping={f"f{n}": n for n in range(1500)})
    client.zadd(prefix + "zset", {"a": 1.25, "b": float("-inf")})
    client.pexpire(prefix + "hash", 7_200_000)


def contents(client: Any, prefix: str) -> dict[str, Any]:
    return {
        "text": client.get(prefix + "text"),
        "ever": client.get(prefix + "ever"),
        "list": client.lrange(prefix + "list", 0, -1),
        "set": client.smembers(prefix + "set"),
        "hash": client.hgetall(prefix + "hash"),
        "zset": client.zrange(prefix + "zset", 0, -1, withscores=True),
        "expiry": [client.pexpiretime(prefix + name) for name in ("text", "ever", "hash")],
    }


def test_a_release_is_copied_with_types_and_exact_expiry(
    server: RedisServer, conditions: Conditions
) -> None:
    with server.client() as client:
        fill_with_all_types(client, key("", "r41"))
        client.xadd(key("stream", "r41"), {"a": 1})
        client.set(key("ever"), b"newer")
        change = prime(cache_of(server), release("r41"), conditions)
        assert counts(change) == (7, 6, 1, 0, 0)
        wanted = contents(client, key("", "r41")) | {"ever": b"newer"}
        assert contents(client, key("")) == wanted
        assert client.xlen(key("stream")) == 1


def test_another_redis_is_copied_under_new_keys(
    server: RedisServer, other: RedisServer, conditions: Conditions
) -> None:
    with other.client() as there, server.client() as here:
        fill_with_all_types(there, "old:")
        there.mset({f"old:many:{number}": b"x" * 1000 for number in range(6000)})
        there.set("foreign", b"x")
        change = prime(cache_of(server), donor(cache_of(other, namespace="old:")), conditions)
        assert counts(change) == (6006, 6006, 0, 0, 0)
        assert contents(here, key("")) == contents(there, "old:")
        assert not here.exists("foreign")


def test_what_expires_meanwhile_is_skipped_or_left_out(
    server: RedisServer, conditions: Conditions
) -> None:
    with server.client() as client:
        for number in range(3000):
            client.set(key(number, "r41"), b"x", px=1 + number // 3)
        change = prime(cache_of(server), release("r41"), conditions)
    assert change.left == 0
    assert change.warnings == ()


def test_releases_that_cannot_be_copied_are_refused(
    server: RedisServer, other: RedisServer, conditions: Conditions
) -> None:
    with pytest.raises(RefusedError, match="to another one"):
        prime(cache_of(server), release("r42"), conditions)
    with pytest.raises(RefusedError, match="not per release"):
        prime(cache_of(server, namespace="shop:"), release("r41"), conditions)
    with pytest.raises(RefusedError, match="needs as many"):
        prime(cache_of(server, other), donor(cache_of(other)), conditions)


def test_servers_are_copied_one_by_one(
    server: RedisServer, other: RedisServer, conditions: Conditions
) -> None:
    server.put([key(1, "r41")])
    other.put([key(2, "r41")])
    change = prime(cache_of(server, other), release("r41"), conditions)
    assert counts(change) == (2, 2, 0, 0, 0)
    assert server.names() == {key(1, "r41"), key(1)}
    assert other.names() == {key(2, "r41"), key(2)}


class NewerDonor:
    """Passes commands on to a redis, but dumps payloads of a version that nobody reads yet."""

    def __init__(self, behind: RedisServer) -> None:
        self._behind = behind
        self._listener = socket.create_server(("127.0.0.1", free_port()))
        self.port = self._listener.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        # Shut down as well: closing alone does not wake who waits in accept().
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._serve, args=(client,)))
            self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        reader = hiredis.Reader(notEnoughData=self)
        with client, socket.create_connection(("127.0.0.1", self._behind.port)) as server:
            while data := client.recv(65536):
                reader.feed(data)
                while (command := reader.gets()) is not self:
                    server.sendall(hiredis.pack_command(tuple(command)))
                    client.sendall(self._changed(command, self._reply(server)))

    def _reply(self, server: socket.socket) -> bytes:
        reader, reply = hiredis.Reader(notEnoughData=self), b""
        while reader.gets() is self:
            part = server.recv(65536)
            reader.feed(part)
            reply += part
        return reply

    def _changed(self, command: list[bytes], reply: bytes) -> bytes:
        if command[0] == b"DUMP" and not reply.startswith(b"$-1"):
            return reply[:-12] + b"\xff\x00" + reply[-10:]
        return reply


def test_a_donor_that_is_newer_is_read_by_type(
    server: RedisServer, other: RedisServer, conditions: Conditions
) -> None:
    newer = NewerDonor(other)
    try:
        with other.client() as there, server.client() as here:
            fill_with_all_types(there, "old:")
            there.xadd("old:stream", {"a": 1})
            there.rpush("old:both", "older")
            here.rpush(key("both"), "newer")
            source = Redis(servers=(parse_address(newer.address),), namespace="old:")
            change = prime(cache_of(server), donor(source), conditions)
            assert counts(change) == (8, 6, 1, 0, 1)
            assert "a stream cannot be copied to an older redis" in change.warnings[0]
            copied, wanted = contents(here, key("")), contents(there, "old:")
            assert copied.pop("expiry") == pytest.approx(wanted.pop("expiry"), abs=5000)
            assert copied == wanted
            assert here.lrange(key("both"), 0, -1) == [b"newer"]
            assert len(server.names()) == 7
            change = prime(cache_of(server, overwrite=True), donor(source), conditions)
            assert counts(change) == (8, 7, 0, 0, 1)
            assert here.lrange(key("both"), 0, -1) == [b"older"]
    finally:
        newer.close()


# --- memory ---


@contextmanager
def small(policy: str) -> Iterator[RedisServer]:
    arguments = ("--maxmemory", "4mb", "--maxmemory-policy", policy)
    with RedisServer(arguments=arguments) as server:
        yield server


def loader(count: int, size: int) -> Filling:
    code = (
        f"for n in range({count}):"
        f' print(\'{{"key": "shop:{{release}}:%d", "value": "%s"}}\' % (n, \'x\' * {size}))'
    )
    return Filling(kind="command", value=shlex.join([sys.executable, "-c", code]))


def test_what_does_not_fit_is_refused_before(
    server: RedisServer, conditions: Conditions, tmp_path: Path
) -> None:
    server.put([f"old:{number}" for number in range(2000)], b"x" * 5000)
    filling = records(tmp_path, {"key": key(1), "value": "x" * 5_000_000})
    with small("allkeys-lru") as target:
        for each in (filling, donor(cache_of(server, namespace="old:"))):
            with pytest.raises(RefusedError, match="push out what is there; --force"):
                prime(cache_of(target), each, conditions)
        assert target.names() == set()


@pytest.mark.parametrize(
    ("policy", "why"), [("allkeys-lru", "entries were evicted"), ("noeviction", "OOM")]
)
def test_a_server_that_fills_up_stops_the_prime(
    policy: str, why: str, conditions: Conditions
) -> None:
    with small(policy) as target, pytest.raises(RefusedError, match=why):
        prime(cache_of(target), loader(12_000, 2000), conditions)


def test_force_primes_a_server_that_evicts_and_says_so(
    conditions: Conditions,
) -> None:
    forced = conditions_of(conditions.state_dir, release="r42", force=True)
    with small("allkeys-lru") as target:
        change = prime(cache_of(target), loader(3000, 2000), forced)
        assert change.stored
        assert "entries were evicted, perhaps some of these" in change.evidence[0]


# --- cluster ---


def test_a_release_goes_from_all_primaries(cluster: RedisCluster, conditions: Conditions) -> None:
    with cluster.client() as client:
        for number in range(1500):
            client.set(key(number, "r40"), b"x")
        client.set(key(1), b"x")
        cache = cluster_cache(cluster)
        place = cache.places({})[0]
        scope = Scope(Kind.RELEASE, ("r40",))
        assert place.name == ",".join(cluster.addresses[:2])
        survey = cache.survey(place, scope, conditions)
        assert (survey.found, survey.total) == (1500, 1501)
        change = clear(cache, scope, conditions)
        assert (change.found, change.removed, change.left) == (1500, 1500, 0)
        assert list(client.scan_iter(count=1000)) == [key(1).encode()]


def test_keys_and_tags_are_found_on_their_servers(
    cluster: RedisCluster, conditions: Conditions
) -> None:
    names = [key(number) for number in range(60)]
    with cluster.client() as client:
        for name in names:
            client.set(name, b"x")
        client.sadd("tag:shoes", *names[30:])
        cache = cluster_cache(cluster, tags="tag:{tag}")
        change = clear(cache, Scope(Kind.KEY, tuple(names[:30])), conditions)
        assert (change.removed, change.left) == (30, 0)
        change = clear(cache, Scope(Kind.TAG, ("shoes",)), conditions)
        assert (change.removed, change.left) == (30, 0)
        assert list(client.scan_iter()) == []


def test_a_cluster_is_primed_and_copied_within_itself(
    cluster: RedisCluster, conditions: Conditions, tmp_path: Path
) -> None:
    lines = [{"key": key(n), "value": str(n), "ttl": 500} for n in range(900)]
    cache = cluster_cache(cluster)
    assert counts(prime(cache, records(tmp_path, *lines), conditions)) == (900, 900, 0, 0, 0)
    later = conditions_of(tmp_path, release="r43", previous="r42")
    with cluster.client() as client:
        client.set(key(7, "r43"), b"newer")
        assert counts(prime(cache, release("r42"), later)) == (900, 899, 1, 0, 0)
        assert client.get(key(7, "r43")) == b"newer"
        assert client.get(key(8, "r43")) == b"8"
        assert client.pexpiretime(key(8, "r43")) == client.pexpiretime(key(8))


def test_a_cluster_and_a_single_server_copy_each_other(
    cluster: RedisCluster, server: RedisServer, conditions: Conditions
) -> None:
    server.put(["old:1", "old:2", "old:3", "old:4"])
    single = cache_of(server, namespace="old:")
    change = prime(cluster_cache(cluster), donor(single), conditions)
    assert counts(change) == (4, 4, 0, 0, 0)
    back = cache_of(server, namespace="new:")
    assert counts(prime(back, donor(cluster_cache(cluster)), conditions)) == (4, 4, 0, 0, 0)
    assert {"new:1", "new:2", "new:3", "new:4"} < server.names()


def test_one_node_of_a_cluster_is_not_taken_for_all(
    cluster: RedisCluster, server: RedisServer, conditions: Conditions
) -> None:
    scope = Scope(Kind.PREFIX, ("shop:x",))
    with pytest.raises(RefusedError, match="set `cluster: true`"):
        clear(cache_of(cluster.nodes[0], namespace="shop:"), scope, conditions)
    with pytest.raises(RefusedError, match="remove `cluster: true`"):
        clear(cache_of(server, namespace="shop:", cluster=True), scope, conditions)


def test_keys_of_a_slot_on_the_move_are_not_reported_gone(
    cluster: RedisCluster, conditions: Conditions
) -> None:
    source, target = cluster.nodes[0], cluster.nodes[1]
    name = next(f"shop:{n}" for n in range(100_000) if redis.crc.key_slot(b"shop:%d" % n) < 5000)
    slot = redis.crc.key_slot(name.encode())
    cluster.tell(source, "SET", name, "x")
    ids = [cluster.tell(node, "CLUSTER", "MYID").decode() for node in (source, target)]
    cluster.tell(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", ids[0])
    cluster.tell(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", ids[1])
    try:
        cluster.tell(source, "MIGRATE", target.host, target.port, name, 0, 5000)
        cache = cluster_cache(cluster, namespace="shop:")
        change = clear(cache, Scope(Kind.PREFIX, ("shop:",)), conditions)
        assert (change.removed, change.left) == (0, 1)
        change = clear(cache, Scope(Kind.PREFIX, ("shop:none",)), conditions)
        assert judged(change)[0] is StepOutcome.UNKNOWN
        assert "slots are moving" in change.warnings[0]
        with pytest.raises(RefusedError, match="try again once they have settled"):
            clear(cache, Scope(Kind.KEY, (name,)), conditions)
    finally:
        for node in (source, target):
            cluster.tell(node, "CLUSTER", "SETSLOT", slot, "STABLE")


def test_a_slot_that_moves_meanwhile_means_another_round(
    cluster: RedisCluster, conditions: Conditions
) -> None:
    slot = 0
    names = [f"shop:{n}" for n in range(50) if redis.crc.key_slot(b"shop:%d" % n) != slot]
    with cluster.client() as client:
        for name in names:
            client.set(name, b"x")
    ids = [cluster.tell(node, "CLUSTER", "MYID").decode() for node in cluster.nodes]

    def move(number: int) -> None:
        for each in cluster.nodes:
            cluster.tell(each, "CLUSTER", "SETSLOT", slot, "NODE", ids[number])

    rounds: list[int] = []
    cache = cluster_cache(cluster, namespace="shop:")

    @contextmanager
    def connect() -> Iterator[Store]:
        with cache.opened(cache.places({})[0], conditions.deadline, writing=True) as store:
            rounds.append(len(store.primaries))
            if len(rounds) == 1:
                move(1)
            yield store

    try:
        change = clear_selected(connect, prefixed(b"shop:"))
        assert (change.removed, change.left, rounds) == (len(names), 0, [3, 3])
    finally:
        move(0)


def test_replicas_and_lost_primaries(conditions: Conditions) -> None:
    with RedisCluster(replicas=1) as cluster:
        with cluster.client() as client:
            for number in range(30):
                client.set(f"shop:{number}", b"x")
        scope = Scope(Kind.PREFIX, ("shop:",))
        # The replica alone is named as seed: the primaries are found through it.
        seed = parse_address(cluster.nodes[3].address)
        cache = Redis(servers=(seed,), cluster=True, namespace="shop:")
        change = clear(cache, scope, conditions)
        assert (change.removed, change.left) == (30, 0)
        cluster.nodes[2].kill()
        with pytest.raises(UnreachableError, match=cluster.nodes[2].address):
            clear(cache, scope, conditions)
        status = cache.status(cache.places({})[0], conditions)
        assert status.details["servers"] == 2
        assert any(cluster.nodes[2].address in hazard for hazard in status.hazards)
        for each in (cluster.nodes[0], cluster.nodes[1], cluster.nodes[3]):
            cluster.tell(each, "CLUSTER", "DELSLOTS", 7)
        with pytest.raises(RefusedError, match="1 of 16,384 slots have no primary"):
            clear(cache, scope, conditions)
        hazards = cache.status(cache.places({})[0], conditions).hazards
        assert any("the cluster's state is fail" in hazard for hazard in hazards)


# --- places ---


def test_each_server_is_a_place_and_a_cluster_is_one() -> None:
    servers = (parse_address("10.0.0.1"), parse_address("10.0.0.2:7000"))
    nodes = {"web1": node("web1", "127.0.0.1")}
    single = Redis(servers=servers, via="web1").places(nodes)
    assert [(place.name, place.node) for place in single] == [
        ("10.0.0.1", nodes["web1"]),
        ("10.0.0.2:7000", nodes["web1"]),
    ]
    (whole,) = Redis(servers=servers, cluster=True).places({})
    assert (whole.name, whole.addresses) == ("10.0.0.1,10.0.0.2:7000", servers)
    with pytest.raises(ConfigError, match="no node is called web9"):
        Redis(servers=servers, via="web9").places(nodes)


def test_a_server_is_dialled_through_a_node(server: RedisServer, conditions: Conditions) -> None:
    server.put(["shop:1"])
    cache = plain(server, via="web1")
    place = cache.places({"web1": node("web1", "127.0.0.1")})[0]
    assert cache.clear(place, PREFIX, conditions).removed == 1


def by_ssh(cache: Redis, sshd: Sshd) -> tuple[Place, ...]:
    """The places of a cache with `via: web1`, another machine with sshd."""
    return cache.places({"web1": node("web1", sshd.host, ssh=sshd.name)})


def test_a_server_is_cleared_and_primed_through_ssh(
    server: RedisServer, ssh_node: Callable[..., Sshd], conditions: Conditions
) -> None:
    server.put(key(number, "r41") for number in range(3000))
    sshd = ssh_node()
    cache = cache_of(server, via="web1")
    places = by_ssh(cache, sshd)
    change = cache.prime(places, release("r41"), conditions)
    assert counts(change) == (3000, 3000, 0, 0, 0)
    forced = conditions_of(conditions.state_dir, force=True)
    change = cache.clear(places[0], Scope(Kind.RELEASE, ("r41",)), forced)
    assert (change.removed, change.left) == (3000, 0)
    assert server.names() == {key(number) for number in range(3000)}
    sshd.stop()
    with pytest.raises(UnreachableError, match="web1"):
        cache.status(places[0], conditions)


def test_a_cluster_is_cleared_through_ssh(
    cluster: RedisCluster, ssh_node: Callable[..., Sshd], conditions: Conditions
) -> None:
    with cluster.client() as client:
        for number in range(100):
            client.set(f"shop:{number}", b"x")
    cache = cluster_cache(cluster, namespace="shop:", via="web1")
    (place,) = by_ssh(cache, ssh_node())
    change = cache.clear(place, PREFIX, conditions)
    assert (change.removed, change.left) == (100, 0)


def test_tls_and_unix_sockets_go_through_ssh(
    authority: Authority, ssh_node: Callable[..., Sshd], conditions: Conditions
) -> None:
    sshd = ssh_node()
    with RedisServer(tls=authority.certificate("127.0.0.1"), unix=True) as server:
        unix = parse_address(f"unix:{server.unix_path}")
        with redis.Redis(unix_socket_path=server.unix_path) as client:
            for cache in (
                plain(server, via="web1", tls=True, ca_file=authority.ca_file),
                Redis(servers=(unix,), namespace="shop:", via="web1"),
            ):
                client.set("shop:1", b"x")
                assert cache.clear(by_ssh(cache, sshd)[0], PREFIX, conditions).removed == 1
                assert client.dbsize() == 0


def test_a_dead_server_behind_ssh_is_named(
    ssh_node: Callable[..., Sshd], conditions: Conditions
) -> None:
    cache = plain(RedisServer(), via="web1")
    (place,) = by_ssh(cache, ssh_node())
    with pytest.raises(UnreachableError, match=r"node web1: .* is it running"):
        cache.clear(place, PREFIX, conditions)


# --- servers that do not do what they are asked ---


def refused(cache: Redis, conditions: Conditions) -> str:
    with pytest.raises(CachekitError) as caught:
        clear(cache, PREFIX, conditions)
    name = cache.places({})[0].name
    assert name in str(caught.value)
    return f"{type(caught.value).__name__}: {caught.value}"


def plain(server: RedisServer, **keys: Any) -> Redis:
    return cache_of(server, namespace="shop:", **keys)


def test_a_dead_server_is_named(conditions: Conditions) -> None:
    cache = plain(RedisServer())
    assert "refused; is it running there?" in refused(cache, conditions)
    with pytest.raises(UnreachableError):
        cache.status(cache.places({})[0], conditions)


def test_a_silent_server_ends_with_the_deadline(other: RedisServer, conditions: Conditions) -> None:
    other.pause()
    try:
        hurried = conditions_of(conditions.state_dir, deadline=Deadline(0.3))
        began = time.monotonic()
        with pytest.raises((UnreachableError, DeadlineError)):
            clear(plain(other), PREFIX, hurried)
        assert time.monotonic() - began < 5
    finally:
        other.resume()


def test_a_replica_is_refused_and_its_state_says_so(
    server: RedisServer, conditions: Conditions
) -> None:
    arguments = ("--replicaof", server.host, str(server.port), "--replica-read-only", "no")
    with RedisServer(arguments=arguments) as replica:
        assert "it is a replica; name its primary" in refused(plain(replica), conditions)
        cache = plain(replica)
        status = cache.status(cache.places({})[0], conditions)
        assert status.details["role"] == "slave"
        assert any("it is a replica" in hazard for hazard in status.hazards)


def test_passwords_are_checked_and_never_shown(conditions: Conditions, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("s3cr3t\n")
    with RedisServer(password="s3cr3t") as server:
        server.put(["shop:1"])
        assert "set `password_file:`" in refused(plain(server), conditions)
        wrong = plain(server, password="wr0ng")
        said = refused(wrong, conditions)
        assert "check `username:` and the password" in said
        assert "wr0ng" not in said + repr(wrong)
        missing = plain(server, password_file=tmp_path / "missing")
        assert "password_file cannot be read" in refused(missing, conditions)
        assert clear(plain(server, password_file=secret), PREFIX, conditions).removed == 1
    with RedisServer() as server:
        assert "remove it from the settings" in refused(plain(server, password="x"), conditions)


@contextmanager
def acl_user(client: Any, *rules: str) -> Iterator[dict[str, str]]:
    """A user for one test, and the settings that sign it in."""
    client.execute_command("ACL", "SETUSER", "tester", "on", ">pw", "~*", "+@all", *rules)
    yield {"username": "tester", "password": "pw"}
    client.execute_command("ACL", "DELUSER", "tester")


def test_what_an_acl_forbids_is_named(server: RedisServer, conditions: Conditions) -> None:
    server.put(["shop:1"])
    with server.client() as client, acl_user(client, "-unlink") as access:
        said = refused(plain(server, **access), conditions)
        assert "'unlink'" in said
        assert "let the ACL user do that" in said


@pytest.mark.parametrize(
    ("scope", "commands"),
    [
        (PREFIX, "+scan +unlink"),
        (Scope(Kind.KEY, ("shop:1",)), "+unlink +exists"),
        (Scope(Kind.TAG, ("shoes",)), "+unlink +exists +type +sscan +srem"),
    ],
)
def test_a_clear_needs_no_more_permissions_than_documented(
    scope: Scope, commands: str, server: RedisServer, conditions: Conditions
) -> None:
    server.put(["shop:1"])
    rules = ("resetkeys", "~shop:*", "-@all", "+info", *commands.split())
    with server.client() as client, acl_user(client, *rules) as access:
        client.sadd("shop:tag:shoes", "shop:1")
        cache = plain(server, tags="shop:tag:{tag}", **access)
        assert clear(cache, scope, conditions).left == 0
        assert not client.exists("shop:1")


def test_a_prime_needs_no_more_permissions_than_documented(
    server: RedisServer, other: RedisServer, conditions: Conditions, tmp_path: Path
) -> None:
    other.put(["old:1"])
    writing = ["-@all", "+info", "+set", "+pttl", "+time"]
    reading = ["-@all", "+info", "+scan", "+dump", "+memory", "+time", "+pexpiretime"]
    filling = records(tmp_path, {"key": key(2), "value": "x"})
    with (
        server.client() as here,
        other.client() as there,
        acl_user(there, *reading) as read,
    ):
        with acl_user(here, *writing) as access:
            assert prime(cache_of(server, **access), filling, conditions).stored == 1
        with acl_user(here, *writing, "+unlink", "+dump", "+restore") as access:
            source = donor(cache_of(other, namespace="old:", **read))
            assert prime(cache_of(server, **access), source, conditions).stored == 1


def test_a_server_with_too_many_clients_is_named(
    server: RedisServer, conditions: Conditions
) -> None:
    with server.client() as client:
        client.config_set("maxclients", 1)
        try:
            assert "its maxclients" in refused(plain(server), conditions)
        finally:
            client.config_set("maxclients", 100)


def test_tls_is_verified(authority: Authority, conditions: Conditions, tmp_path: Path) -> None:
    other_ca = tmp_path / "other"
    other_ca.mkdir()
    wrong_ca = Authority(other_ca).ca_file
    with RedisServer(tls=authority.certificate("127.0.0.1")) as server:
        good = plain(server, tls=True, ca_file=authority.ca_file)
        assert clear(good, PREFIX, conditions).left == 0
        said = refused(plain(server, tls=True, ca_file=wrong_ca), conditions)
        assert "its certificate is refused" in said
        said = refused(plain(server, tls=True, ca_file=tmp_path / "missing"), conditions)
        assert "cannot be used" in said
        assert "does it ask for TLS" in refused(plain(server), conditions)
    with RedisServer(tls=authority.certificate("other.example")) as server:
        good = plain(server, tls=True, ca_file=authority.ca_file)
        assert "the name in `servers:`" in refused(good, conditions)


def test_a_server_that_wants_a_certificate_gets_it(
    authority: Authority, conditions: Conditions
) -> None:
    mine = authority.client()
    asking = ("--tls-auth-clients", "yes", "--tls-ca-cert-file", str(authority.ca_file))
    with RedisServer(tls=authority.certificate("127.0.0.1"), arguments=asking) as server:
        keys = {"tls": True, "ca_file": authority.ca_file}
        certificate = {"cert_file": mine.cert_file, "key_file": mine.key_file}
        assert clear(plain(server, **keys, **certificate), PREFIX, conditions).left == 0
        assert "`cert_file:`" in refused(plain(server, **keys), conditions)


def test_a_server_without_tls_is_told_apart(server: RedisServer, conditions: Conditions) -> None:
    hurried = conditions_of(conditions.state_dir, deadline=Deadline(0.5))
    assert "does it take TLS on that port" in refused(plain(server, tls=True), hurried)


def test_a_database_that_is_not_there_is_named(server: RedisServer, conditions: Conditions) -> None:
    assert "check `db:`" in refused(plain(server, db=99), conditions)


def test_a_unix_socket_will_do(conditions: Conditions) -> None:
    with RedisServer(unix=True) as server:
        server.put(["shop:1"])
        address = parse_address(f"unix:{server.unix_path}")
        cache = Redis(servers=(address,), namespace="shop:")
        assert clear(cache, PREFIX, conditions).removed == 1


@contextmanager
def liar(answer: Callable[[bytes], bytes]) -> Iterator[Redis]:
    """A server that answers whatever comes as it likes; nothing ends the connection."""
    with socket.create_server(("127.0.0.1", free_port())) as listener:

        def serve() -> None:
            client, _ = listener.accept()
            with client:
                while data := client.recv(65536):
                    if not (said := answer(data)):
                        return
                    client.sendall(said)

        thread = threading.Thread(target=serve)
        thread.start()
        address = parse_address(f"127.0.0.1:{listener.getsockname()[1]}")
        yield Redis(servers=(address,), namespace="shop:")
        thread.join()


def test_what_is_no_redis_is_told_apart(conditions: Conditions) -> None:
    with liar(lambda _: b"HTTP/1.1 400 Bad Request\r\n\r\n") as cache:
        assert "UnexpectedReplyError" in refused(cache, conditions)
    with liar(lambda _: b"+OK\r\n") as cache:
        assert "redis answers INFO with b'OK'" in refused(cache, conditions)
    with liar(lambda data: b"+OK\r\n" if b"SETINFO" in data else b"") as cache:
        assert "the connection broke" in refused(cache, conditions)


@pytest.mark.parametrize(
    ("info", "scanned", "why"),
    [
        (b"redis_version:7.0.0\r\n", b"+OK\r\n", "UnexpectedReplyError"),
        (b"redis_version:7.0.0\r\n", b"*2\r\n:1\r\n$-1\r\n", "UnexpectedReplyError"),
        (b"redis_version:7.0.0\r\n", b"", "the connection broke"),
        (b"redis_version:4.0.9\r\n", b"", "redis 4.0.9 is older than 5.0"),
        (b"redis_version:7.0.0\r\nloading:1\r\n", b"", "it still reads its data"),
    ],
)
def test_an_answer_that_makes_no_sense_is_no_success(
    info: bytes, scanned: bytes, why: str, conditions: Conditions
) -> None:
    def answer(data: bytes) -> bytes:
        if b"SETINFO" in data:
            return b"+OK\r\n" * data.count(b"SETINFO")
        return b"$%d\r\n%b\r\n" % (len(info), info) if b"INFO" in data else scanned

    with liar(answer) as cache:
        assert why in refused(cache, conditions)


# --- status ---


def test_a_status_tells_counters(server: RedisServer, conditions: Conditions) -> None:
    server.put(["shop:1", "shop:2"])
    with server.client() as client:
        client.get("shop:1")
        client.get("shop:none")
    cache = plain(server)
    status = cache.status(cache.places({})[0], conditions)
    assert (status.items, status.hits, status.misses, status.evictions) == (2, 1, 1, 0)
    assert status.version
    assert (status.size or 0) > 0
    assert status.capacity is None
    assert status.details["role"] == "master"
    assert any("maxmemory is not set" in hazard for hazard in status.hazards)


def test_a_status_tells_of_policies_that_will_hurt(conditions: Conditions) -> None:
    with small("noeviction") as server:
        cache = plain(server)
        place = cache.places({})[0]
        with suppress(redis.OutOfMemoryError):
            for number in range(400):
                server.put([f"shop:{number}"], b"x" * 20_000)
        (hazard,) = cache.status(place, conditions).hazards
        assert "the policy is noeviction: once full it refuses writes" in hazard
        with server.client() as client:
            client.config_set("maxmemory-policy", "volatile-lru")
        full, endless = cache.status(place, conditions).hazards
        assert "full: what is primed pushes out what is there" in full
        assert "no key expires: nothing can be evicted" in endless
        assert cache.status(place, conditions).capacity == 4 * 1024 * 1024
