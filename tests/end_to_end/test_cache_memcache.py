"""memcached, as its clients see it before and after: PHP's own among them."""

import json
import shlex
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cachekit.caches.base import Change, Conditions, Filling, Place
from cachekit.caches.memcache import Memcache
from cachekit.caches.namespace import prefix_of
from cachekit.deadline import Deadline, DeadlineError
from cachekit.errors import CachekitError, RefusedError, SourceError, UnreachableError
from cachekit.lock import locked_one
from cachekit.model import parse_address
from cachekit.outcomes import StepOutcome, judged
from cachekit.scope import EVERYTHING, Kind, Scope
from tests.servers import php
from tests.servers.memcached import Memcached
from tests.shelves import conditions as conditions_of

pytestmark = pytest.mark.server

NAMESPACE = "shop:{release}:"
DAY = 86400


@pytest.fixture
def server() -> Iterator[Memcached]:
    with Memcached() as server:
        yield server


@pytest.fixture
def conditions(tmp_path: Path) -> Conditions:
    return conditions_of(tmp_path / "state", release="r42", previous="r41")


def cache_of(*servers: Memcached, **keys: Any) -> Memcache:
    addresses = tuple(parse_address(server.address) for server in servers)
    return Memcache(servers=addresses, namespace=NAMESPACE, **keys)


def key(name: object, release: str = "r42") -> str:
    return prefix_of(NAMESPACE, release) + str(name)


def clear(cache: Memcache, scope: Scope, conditions: Conditions) -> Change:
    return cache.clear(cache.places({})[0], scope, conditions)


def prime(cache: Memcache, filling: Filling, conditions: Conditions) -> Change:
    return cache.prime(cache.places({}), filling, conditions)


def records(tmp_path: Path, *lines: dict[str, Any]) -> Filling:
    file = tmp_path / "records.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return Filling(kind="file", value=str(file))


# --- clear ---


def test_an_old_release_goes_and_the_others_stay(server: Memcached, conditions: Conditions) -> None:
    old = [key(number, "r40") for number in range(2500)]
    others = [key(1), key(1, "r41"), "blog:1"]
    server.put([*old, *others])
    change = clear(cache_of(server), Scope(Kind.RELEASE, ("r40",)), conditions)
    assert (change.found, change.removed, change.left) == (2500, 2500, 0)
    assert server.keys_there([*old[::100], *others]) == others


def test_keys_with_bytes_that_text_commands_cannot_carry_are_cleared(
    server: Memcached, conditions: Conditions
) -> None:
    # "shop: a\n" in base64, with the flag `b`: keys that meta clients may write.
    with socket.create_connection((server.host, server.port)) as client:
        client.sendall(b"ms c2hvcDogYQo= 1 b\r\nx\r\n")
        assert client.recv(100) == b"HD\r\n"
        cache = Memcache(servers=(parse_address(server.address),))
        change = clear(cache, Scope(Kind.PREFIX, ("shop:",)), conditions)
        assert (change.removed, change.left) == (1, 0)
        client.sendall(b"mg c2hvcDogYQo= b\r\n")
        assert client.recv(100) == b"EN\r\n"


def test_everything_is_gone_at_once_and_each_key_is_asked_for(
    server: Memcached, conditions: Conditions
) -> None:
    keys = [f"any:{number}" for number in range(300)]
    server.put(keys)
    change = clear(cache_of(server, exclusive=True), EVERYTHING, conditions)
    assert (change.found, change.removed, change.left) == (300, 300, 0)
    assert not server.keys_there(keys)


def test_a_live_writer_is_told_of(server: Memcached, conditions: Conditions) -> None:
    server.put([f"shop:{number}" for number in range(3000)])
    ended = threading.Event()

    def write() -> None:
        client = server.client()
        number = 0
        while not ended.is_set():
            client.set_many({f"shop:new:{number + i}": b"x" for i in range(100)}, noreply=False)
            number += 100
        client.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        cache = Memcache(servers=(parse_address(server.address),))
        change = clear(cache, Scope(Kind.PREFIX, ("shop:",)), conditions)
    finally:
        ended.set()
        writer.join()
    assert change.found
    assert change.removed
    assert change.left
    assert change.found == change.removed + change.left
    assert change.removed >= 3000
    assert "still being written" in change.warnings[0]


def test_a_server_that_does_not_list_its_keys_is_refused_but_not_for_single_keys(
    conditions: Conditions,
) -> None:
    with Memcached(arguments=("-X",)) as server:
        server.put([key(1)])
        with pytest.raises(RefusedError, match="does not list its keys"):
            clear(cache_of(server), Scope(Kind.RELEASE, ("r40",)), conditions)
        change = clear(cache_of(server), Scope(Kind.KEY, (key(1),)), conditions)
        assert (change.removed, change.left) == (1, 0)
        everything = clear(cache_of(server, exclusive=True), EVERYTHING, conditions)
        assert everything.left is None
        assert everything.evidence


def test_two_runs_never_list_one_server_at_once(
    server: Memcached, conditions: Conditions, tmp_path: Path
) -> None:
    server.put([key(1, "r40")])
    done: list[float] = []

    def run() -> None:
        clear(cache_of(server), Scope(Kind.RELEASE, ("r40",)), conditions)
        done.append(time.monotonic())

    with locked_one(tmp_path / "state", f"memcached {server.address}", "listed"):
        other = threading.Thread(target=run)
        other.start()
        time.sleep(0.4)
        released = time.monotonic()
        assert not done
    other.join()
    assert done[0] > released


@contextmanager
def listening(answer: bytes | None) -> Iterator[Place]:
    """A server that accepts and says nothing, or one thing to everything, and closes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                if answer is None:
                    connection.settimeout(10)
                    while connection.recv(4096):
                        pass
                else:
                    connection.recv(4096)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        host, port = listener.getsockname()
        address = parse_address(f"{host}:{port}")
        try:
            yield Place(name=str(address), addresses=(address,))
        finally:
            thread.join()


def test_a_key_that_no_memcached_takes_is_refused_while_planning(conditions: Conditions) -> None:
    cache = Memcache(servers=(parse_address("127.0.0.1:1"),))
    for name in ("k" * 251, "k " * 94):
        refusal = cache.refusal(Scope(Kind.KEY, ("k", name)), conditions)
        assert "bytes on the wire, memcached takes 250" in refusal
    assert cache.refusal(Scope(Kind.KEY, ("k" * 250, "k " * 93)), conditions) == ""


TWO = tuple(map(parse_address, ("127.0.0.1:1", "127.0.0.1:2")))


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"weights": (0, 0), "distribution": "ketama"}, "expected weights from 1"),
        ({"weights": (-1, 1), "distribution": "ketama"}, "expected weights from 1"),
        ({"weights": (10**40, 1), "distribution": "ketama"}, "expected weights from 1"),
        ({"weights": (1, 2, 3), "distribution": "ketama"}, "as many weights as servers"),
        ({"weights": (1, 2)}, "`modula` knows no weights"),
        ({"servers": TWO[:1] * 2}, "a server is named twice"),
        ({"namespace": "my shop:"}, "no keys with spaces"),
        ({"namespace": "shop:\n"}, "no keys with spaces"),
        ({"namespace": "x" * 250}, "none would fit"),
        ({"namespace": "é" * 119 + "{release}"}, "none would fit"),
        ({"max_keys": -1}, "expected max_keys of 0 or more"),
    ],
)
def test_settings_that_cannot_work_are_refused(keys: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Memcache(**{"servers": TWO, **keys})


def test_a_namespace_leaves_room_for_keys() -> None:
    assert Memcache(servers=TWO, namespace="x" * 249)
    assert Memcache(servers=TWO, namespace="x" * 237 + "{release}")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "not done within|no answer in time"),
        (b"", "the connection broke"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "127.0.0.1"),
        (b"SERVER_ERROR out of memory\r\n", "out of memory"),
    ],
)
def test_what_is_no_healthy_memcached_is_named(
    answer: bytes | None, said: str, tmp_path: Path
) -> None:
    given = conditions_of(tmp_path, deadline=Deadline(0.5))
    with listening(answer) as place, pytest.raises((CachekitError, DeadlineError), match=said):
        Memcache(servers=place.addresses).clear(place, Scope(Kind.KEY, ("a",)), given)


# --- prime ---


VALUES = {
    "text": "é",
    "number": 42,
    "big": 2**70,
    "share": 0.25,
    "yes": True,
    "no": False,
    "none": None,
    "list": [1, "two", {"three": None}],
    "map": {"1": "one", "a": [True, 1.5]},
}


@pytest.mark.parametrize(
    ("keys", "options"),
    [
        ({}, {}),
        ({"key_hash": "crc"}, {"OPT_HASH": 2}),
        ({"key_hash": "md5"}, {"OPT_HASH": 1}),
        ({"key_hash": "fnv1a_32"}, {"OPT_HASH": 6}),
        ({"distribution": "consistent"}, {"OPT_DISTRIBUTION": 1}),
        ({"distribution": "consistent", "weights": (1, 3, 2)}, {"OPT_DISTRIBUTION": 1}),
        ({"distribution": "ketama"}, {"OPT_LIBKETAMA_COMPATIBLE": True}),
        (
            {"distribution": "ketama", "weights": (5, 1, 2)},
            {"OPT_LIBKETAMA_COMPATIBLE": True},
        ),
    ],
)
def test_php_finds_every_key_where_it_looks_for_it(
    keys: dict[str, Any], options: dict[str, Any], conditions: Conditions, tmp_path: Path
) -> None:
    with Memcached() as one, Memcached(host="127.0.0.2") as two, Memcached() as three:
        servers = (one, two, three)
        weights = keys.get("weights", (1, 1, 1))
        # php-memcached takes a weight of 0 for none.
        given = [
            (server.host, server.port, weight if "weights" in keys else 0)
            for server, weight in zip(servers, weights, strict=True)
        ]
        names = [key(f"p/{number}?~") for number in range(200)]
        filling = records(tmp_path, *({"key": name, "value": name} for name in names))
        change = prime(cache_of(*servers, **keys), filling, conditions)
        assert (change.stored, change.left) == (200, 0)
        assert php.memcached(given, keys=names, options=options) == {name: name for name in names}


def test_php_reads_the_values_that_json_had(
    server: Memcached, conditions: Conditions, tmp_path: Path
) -> None:
    lines = [{"key": key(name), "value": value, "ttl": 60} for name, value in VALUES.items()]
    assert prime(cache_of(server), records(tmp_path, *lines), conditions).left == 0
    found = php.memcached([(server.host, server.port, 0)], keys=[key(name) for name in VALUES])
    # PHP's arrays know no difference between the key "1" and 1, and its numbers end at 2^63.
    assert found == {key(name): value for name, value in (VALUES | {"big": str(2**70)}).items()}


def test_a_prefix_that_php_does_not_hash_is_not_hashed_here(
    conditions: Conditions, tmp_path: Path
) -> None:
    with Memcached() as one, Memcached() as two:
        prefix = prefix_of(NAMESPACE, "r42")
        names = [f"k{number}" for number in range(100)]
        filling = records(tmp_path, *({"key": prefix + name, "value": name} for name in names))
        prime(cache_of(one, two, option_prefix=True), filling, conditions)
        servers = [(each.host, each.port, 0) for each in (one, two)]
        found = php.memcached(servers, keys=names, options={"OPT_PREFIX_KEY": prefix})
        assert found == {name: name for name in names}


def test_the_release_stands_in_the_keys_of_records(
    server: Memcached, conditions: Conditions, tmp_path: Path
) -> None:
    prime(cache_of(server), records(tmp_path, {"key": NAMESPACE + "a", "value": 1}), conditions)
    assert server.keys_there([key("a")])


def test_a_newer_value_of_a_live_writer_wins(
    server: Memcached, conditions: Conditions, tmp_path: Path
) -> None:
    server.put([key("a")], b"newer")
    filling = records(tmp_path, {"key": key("a"), "value": "old"}, {"key": key("b"), "value": "b"})
    change = prime(cache_of(server), filling, conditions)
    assert (change.stored, change.present, change.left) == (1, 1, 0)
    with_client = server.client()
    assert with_client.get(key("a")) == b"newer"
    prime(cache_of(server, overwrite=True), filling, conditions)
    assert with_client.get(key("a")) == b"old"
    with_client.close()


def test_a_lifetime_over_30_days_is_no_date_in_1970(
    server: Memcached, conditions: Conditions, tmp_path: Path
) -> None:
    filling = records(tmp_path, {"key": key("a"), "value": 1, "ttl": 40 * DAY})
    assert prime(cache_of(server), filling, conditions).left == 0
    assert abs(ttl_of(server, key("a")) - 40 * DAY) <= 2


def test_a_lifetime_runs_while_the_loader_does(server: Memcached, conditions: Conditions) -> None:
    record = '{"key": "shop:{release}:%s", "value": 1, "ttl": %d}'
    lines = [record % ("long", 100), record % ("short", 1)]
    code = (
        f"import time\ntime.sleep(0.5)\nprint({lines[0]!r}, {lines[1]!r}, sep=chr(10), flush=True)"
    )
    line = shlex.join([sys.executable, "-c", f"{code}\ntime.sleep(1.6)"])
    change = prime(cache_of(server), Filling(kind="command", value=line), conditions)
    assert (change.found, change.stored, change.skipped, change.left) == (2, 1, 1, 0)
    assert ttl_of(server, key("long")) <= 99


def ttl_of(server: Memcached, name: str) -> int:
    with socket.create_connection((server.host, server.port)) as client:
        client.sendall(f"mg {name} t\r\n".encode())
        return int(client.recv(100).split()[1][1:])


def test_what_cannot_be_stored_is_named_and_the_rest_is_stored(
    server: Memcached, conditions: Conditions, tmp_path: Path
) -> None:
    filling = records(
        tmp_path,
        {"key": key("x" * 250), "value": 1},
        {"key": key("big"), "value": "x" * 1_048_576},
        {"key": key("two words"), "value": 1},
        {"key": key("é"), "value": 1},
        {"key": key("old"), "value": 1, "expires_at": 1},
        {"key": key("fits"), "value": "x" * 1_000_000},
    )
    change = prime(cache_of(server), filling, conditions)
    assert (change.found, change.stored, change.skipped, change.left) == (6, 1, 1, 4)
    text = "\n".join(change.warnings)
    assert "memcached takes 250" in text
    assert "item_size_max" in text
    assert text.count("PHP cannot ask for") == 2


def test_keys_outside_of_the_namespace_are_refused(
    server: Memcached, conditions: Conditions, tmp_path: Path
) -> None:
    with pytest.raises(RefusedError, match="outside of the namespace"):
        prime(cache_of(server), records(tmp_path, {"key": "blog:1", "value": 1}), conditions)


def test_a_release_is_copied_with_lifetimes_flags_and_bytes(conditions: Conditions) -> None:
    with Memcached() as one, Memcached() as two:
        servers = [(each.host, each.port, 0) for each in (one, two)]
        php.memcached(servers, put={key(name, "r41"): value for name, value in VALUES.items()})
        change = prime(cache_of(one, two), Filling(kind="donor", value="r41"), conditions)
        assert (change.found, change.stored, change.left) == (len(VALUES), len(VALUES), 0)
        old = php.memcached(servers, keys=[key(name, "r41") for name in VALUES])
        new = php.memcached(servers, keys=[key(name) for name in VALUES])
        assert new == {key(name): old[key(name, "r41")] for name in VALUES}
        holder = one if one.keys_there([key("text")]) else two
        assert 3590 <= ttl_of(holder, key("text")) <= 3600


def test_another_cache_is_copied_to_the_servers_of_this_one(conditions: Conditions) -> None:
    with Memcached() as old, Memcached() as one, Memcached() as two:
        names = [key(number) for number in range(3000)]
        old.put(names, b"value")
        donor = cache_of(old)
        filling = Filling(kind="donor", value="old", donor=donor, donor_places=donor.places({}))
        change = prime(cache_of(one, two), filling, conditions)
        assert (change.stored, change.left) == (3000, 0)
        servers = [(each.host, each.port, 0) for each in (one, two)]
        assert len(php.memcached(servers, keys=names)) == 3000


def test_what_would_push_out_the_rollback_release_is_refused(
    conditions: Conditions, tmp_path: Path
) -> None:
    with Memcached(megabytes=8) as server:
        lines = [{"key": key(n), "value": "x" * 10_000} for n in range(1500)]
        filling = records(tmp_path, *lines)
        with pytest.raises(RefusedError, match="room and push out"):
            prime(cache_of(server), filling, conditions)
        assert not server.keys_there([key(0)])


def test_a_server_that_begins_to_evict_stops_the_prime(
    conditions: Conditions, tmp_path: Path
) -> None:
    with Memcached(megabytes=8) as server:
        kept = [key(n, "r41") for n in range(100)]
        server.put(kept, b"x" * 1000)
        lines = [{"key": key(n), "value": "x" * 10_000} for n in range(1500)]
        loader = records(tmp_path, *lines)
        filling = Filling(kind="command", value=f"cat {loader.value}")
        with pytest.raises(RefusedError, match=r"it is full: .* evicted"):
            prime(cache_of(server), filling, conditions)


def test_only_some_of_the_servers_cannot_be_primed(conditions: Conditions) -> None:
    with Memcached() as one, Memcached() as two:
        cache = cache_of(one, two)
        with pytest.raises(RefusedError, match="shared out among all"):
            cache.prime(cache.places({})[:1], Filling(kind="file", value="x"), conditions)


def test_a_dead_server_and_a_missing_file_are_named(
    server: Memcached, conditions: Conditions
) -> None:
    with pytest.raises(SourceError, match=r"/nonexistent\.jsonl"):
        prime(cache_of(server), Filling(kind="file", value="/nonexistent.jsonl"), conditions)
    server.kill()
    with pytest.raises(UnreachableError, match=server.address.replace(".", r"\.")):
        prime(cache_of(server), Filling(kind="donor", value="r41"), conditions)


def test_a_dead_server_does_not_stop_the_living(conditions: Conditions, tmp_path: Path) -> None:
    with Memcached() as one, Memcached() as two:
        cache = cache_of(one, two)
        filling = records(tmp_path, *({"key": key(n), "value": n} for n in range(3000)))
        whole = prime(cache, filling, conditions)
        assert whole.stored == 3000
        belong = one.keys_there([key(n) for n in range(3000)])
        clear(replace(cache, exclusive=True), EVERYTHING, conditions)
        two.kill()
        change = prime(cache, filling, conditions)
        assert (change.found, change.stored, change.left) == (3000, len(belong), 3000 - len(belong))
        assert judged(change)[0] is StepOutcome.FAILED
        assert any(two.address in warning for warning in change.warnings)
        assert len(one.keys_there(belong)) == len(belong)


def test_a_release_is_copied_between_the_living(conditions: Conditions, tmp_path: Path) -> None:
    with Memcached() as one, Memcached() as two:
        cache = cache_of(one, two)
        lines = ({"key": key(n, "r41"), "value": n} for n in range(300))
        prime(cache, records(tmp_path, *lines), replace(conditions, release="r41"))
        held = len(one.keys_there([key(n, "r41") for n in range(300)]))
        two.kill()
        change = prime(cache, Filling(kind="donor", value="r41"), conditions)
        assert (change.found, change.left) == (held, held - (change.stored or 0))
        assert change.stored == len(one.keys_there([key(n) for n in range(300)]))
        assert judged(change)[0] is StepOutcome.FAILED
        # With nothing to copy that is known of, it is no success either.
        clear(cache, Scope(Kind.RELEASE, ("r41",)), replace(conditions, previous=""))
        with pytest.raises(UnreachableError, match=str(two.port)):
            prime(cache, Filling(kind="donor", value="r41"), conditions)


def test_what_a_server_held_that_dies_meanwhile_is_not_proven(conditions: Conditions) -> None:
    with Memcached() as one, Memcached() as two:
        record = '{"key": "shop:{release}:%d", "value": 1}'
        code = (
            "import os, signal, sys\n"
            f"for n in range(6000):\n    print({record!r} % n)\n"
            "sys.stdout.flush()\n"
            f"os.kill({two.pid}, signal.SIGKILL)\n"
            f"for n in range(6000, 9000):\n    print({record!r} % n)\n"
        )
        filling = Filling(kind="command", value=shlex.join([sys.executable, "-c", code]))
        change = prime(cache_of(one, two), filling, conditions)
        there = len(one.keys_there([key(n) for n in range(9000)]))
        assert (change.found, change.stored, change.left) == (9000, there, 9000 - there)
        assert there > 4000
        assert any(two.address in warning for warning in change.warnings)


def test_by_force_a_prime_goes_on_and_tells_what_was_evicted(
    conditions: Conditions, tmp_path: Path
) -> None:
    with Memcached(megabytes=8) as server:
        lines = [{"key": key(n), "value": "x" * 10_000} for n in range(1500)]
        forced = replace(conditions, force=True)
        change = prime(cache_of(server), records(tmp_path, *lines), forced)
        assert change.found == 1500
        assert judged(change)[0] is StepOutcome.UNKNOWN
        assert "entries were evicted meanwhile" in change.warnings[-1]


def test_a_server_that_does_not_list_its_keys_is_primed_all_the_same(
    conditions: Conditions, tmp_path: Path
) -> None:
    with Memcached(arguments=("-X",)) as server:
        change = prime(
            cache_of(server), records(tmp_path, {"key": key("a"), "value": 1}), conditions
        )
        assert (change.stored, change.left) == (1, 0)
        assert "the rollback release was not looked after" in change.warnings[0]


def test_a_copy_needs_two_releases(server: Memcached, conditions: Conditions) -> None:
    same = Filling(kind="donor", value="r42")
    with pytest.raises(RefusedError, match="copied to another one"):
        prime(cache_of(server), same, conditions)
    with pytest.raises(RefusedError, match="no cache is called r41"):
        prime(
            replace(cache_of(server), namespace="shop:"),
            Filling(kind="donor", value="r41"),
            conditions,
        )


def test_a_copy_needs_the_release_that_a_namespace_names(
    server: Memcached, conditions: Conditions
) -> None:
    unknown = replace(conditions, release="", force=True)
    per_release = cache_of(server)
    for target, source in (
        (per_release, replace(per_release, namespace="shop:")),
        (replace(per_release, namespace="shop:"), per_release),
    ):
        filling = Filling(kind="donor", value="other", donor=source, donor_places=source.places({}))
        with pytest.raises(RefusedError, match="which release"):
            prime(target, filling, unknown)


# --- status ---


def test_a_status_tells_hits_and_what_to_look_at(conditions: Conditions) -> None:
    with Memcached(megabytes=8, arguments=("-X",)) as server:
        server.put([key(1)])
        server.keys_there([key(1), key(2)])
        cache = cache_of(server)
        status = cache.status(cache.places({})[0], conditions)
        assert (status.items, status.hits, status.misses) == (1, 1, 1)
        assert status.capacity == 8 * 1024**2
        assert any("does not list its keys" in hazard for hazard in status.hazards)
