"""How redis is filled: from records, and with copies of another redis or release."""

import shlex
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from cachekit.caches.base import Conditions, Filling
from cachekit.errors import (
    RefusedError,
    SourceError,
)
from cachekit.execution import Limits, execute
from cachekit.outcomes import StepOutcome
from cachekit.plan import Selection, plan_prime
from cachekit.warming.stop import Stop
from tests.end_to_end.cache_redis.common import (
    DAY,
    cache_of,
    counts,
    donor,
    key,
    plain,
    prime,
    records,
    release,
    small,
)
from tests.servers.redis import RedisProxy, RedisServer
from tests.shelves import conditions as conditions_of
from tests.shelves import settings

pytestmark = pytest.mark.server


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
    )
    change = prime(cache_of(server), filling, conditions)
    assert counts(change) == (4, 3, 0, 1, 0)
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
    with pytest.raises(RefusedError, match="which release"):
        prime(plain(server), donor(cache_of(other)), conditions_of(tmp_path))
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
        pipeline = client.pipeline(transaction=False)
        for number in range(3000):
            pipeline.set(key(number, "r41"), b"x", px=1 + number // 3)
        pipeline.execute()
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


def test_servers_are_copied_each_by_itself_and_a_dead_one_fails_alone(
    server: RedisServer, other: RedisServer, conditions: Conditions
) -> None:
    server.put([key(1, "r41")])
    other.put([key(2, "r41")])
    caches = {"pages": cache_of(server, RedisServer(), other)}
    plan = plan_prime(settings(caches), Selection(), "donor", "r41", conditions)
    report = execute(plan, conditions, limits=Limits(), stop=Stop(None))
    done, dead, also_done = (step.outcome for step in report.steps)
    assert (done, dead, also_done) == (StepOutcome.DONE, StepOutcome.FAILED, StepOutcome.DONE)
    assert server.names() == {key(1, "r41"), key(1)}
    assert other.names() == {key(2, "r41"), key(2)}


def test_servers_are_copied_from_those_at_the_same_position(
    server: RedisServer, other: RedisServer, conditions: Conditions
) -> None:
    with RedisServer() as first, RedisServer() as second:
        first.put(["old:1"])
        second.put(["old:2"])
        cache = cache_of(server, other)
        source = donor(cache_of(first, second, namespace="old:"))
        for place in cache.places({}):
            assert counts(cache.prime((place,), source, conditions)) == (1, 1, 0, 0, 0)
    assert (server.names(), other.names()) == ({key(1)}, {key(2)})


def of_a_later_version(command: list[bytes], reply: bytes) -> bytes:
    """Dump payloads of a version that nobody reads yet."""
    if command[0] == b"DUMP" and not reply.startswith(b"$-1"):
        return reply[:-12] + b"\xff\x00" + reply[-10:]
    return reply


def test_a_donor_that_is_newer_is_read_by_type(
    server: RedisServer, other: RedisServer, conditions: Conditions
) -> None:
    with (
        other.client() as there,
        server.client() as here,
        RedisProxy(other, of_a_later_version) as newer,
    ):
        fill_with_all_types(there, "old:")
        there.xadd("old:stream", {"a": 1})
        there.rpush("old:both", "older")
        here.rpush(key("both"), "newer")
        source = cache_of(newer, namespace="old:")
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


def test_what_is_not_there_after_ok_is_not_counted_as_stored(
    server: RedisServer, conditions: Conditions, tmp_path: Path
) -> None:
    def forgetful(command: list[bytes], reply: bytes) -> bytes:
        if command[0] == b"SET":
            with server.client() as client:
                client.delete(command[1])
        return reply

    with RedisProxy(server, forgetful) as proxy:
        cache = cache_of(proxy)
        change = prime(cache, records(tmp_path, {"key": key(1), "value": "x"}), conditions)
    assert counts(change) == (1, 0, 0, 0, 1)
    assert "is not there after it was stored" in change.warnings[0]


def test_what_the_application_stores_meanwhile_is_its_own(
    server: RedisServer, conditions: Conditions, tmp_path: Path
) -> None:
    def busy(command: list[bytes], reply: bytes) -> bytes:
        if command[0] == b"SET":
            with server.client() as client:
                client.set(command[1], b"newer", ex=50)
        return reply

    with RedisProxy(server, busy) as proxy:
        cache = cache_of(proxy)
        change = prime(cache, records(tmp_path, {"key": key(1), "value": "x"}), conditions)
    assert counts(change) == (1, 0, 1, 0, 0)


# --- memory ---


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
        assert "entries were evicted meanwhile, perhaps some of these" in change.warnings[-1]
