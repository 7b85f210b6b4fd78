"""How a redis is reached and signed in to, and redis servers that do not do what they are asked."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from cachekit.caches.base import Conditions, Filling, Place
from cachekit.caches.redis import Redis
from cachekit.deadline import Deadline, DeadlineError
from cachekit.errors import (
    CachekitError,
    ConfigError,
    UnexpectedReplyError,
    UnreachableError,
)
from cachekit.model import parse_address
from cachekit.scope import Kind, Scope
from tests.end_to_end.cache_redis.common import (
    PREFIX,
    acl_user,
    cache_of,
    clear,
    cluster_cache,
    counts,
    donor,
    key,
    plain,
    prime,
    records,
    release,
)
from tests.servers.process import free_port
from tests.servers.redis import RedisCluster, RedisServer
from tests.servers.sshd import Sshd
from tests.servers.tls import Authority
from tests.shelves import conditions as conditions_of
from tests.shelves import node

pytestmark = pytest.mark.server


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
        (b"redis_version:7.0.0\r\n", b"*2\r\n$1\r\n0\r\n*1\r\n:1\r\n", "UnexpectedReplyError"),
        (b"redis_version:7.0.0\r\n", b"*2\r\n$1\r\n0\r\n*1\r\n*0\r\n", "UnexpectedReplyError"),
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


def survey_of_tag(cache: Redis, conditions: Conditions) -> object:
    tagged = replace(cache, tags="shop:tag:{tag}")
    return tagged.survey(cache.places({})[0], Scope(Kind.TAG, ("shoes",)), conditions)


def survey_of_prefix(cache: Redis, conditions: Conditions) -> object:
    return cache.survey(cache.places({})[0], PREFIX, conditions)


def prime_by_record(cache: Redis, conditions: Conditions) -> object:
    line = """echo '{"key": "shop:a", "value": 1}'"""
    return prime(cache, Filling(kind="command", value=line), conditions)


@pytest.mark.parametrize(
    ("act", "answers"),
    [
        (survey_of_tag, {b"TYPE": b":1\r\n"}),
        (survey_of_tag, {b"TYPE": b"*0\r\n"}),
        (survey_of_tag, {b"TYPE": b"+set\r\n", b"SSCAN": b"*2\r\n$1\r\n0\r\n*1\r\n:1\r\n"}),
        (survey_of_prefix, {b"DBSIZE": b"$1\r\nx\r\n"}),
        (prime_by_record, {b"TIME": b"$-1\r\n"}),
        (prime_by_record, {b"TIME": b"*2\r\n$1\r\nx\r\n$1\r\n1\r\n"}),
    ],
)
def test_a_reply_of_another_shape_names_the_server(
    act: Callable[[Redis, Conditions], object], answers: dict[bytes, bytes], conditions: Conditions
) -> None:
    info = b"redis_version:7.0.0\r\n"
    known = {
        b"INFO": b"$%d\r\n%b\r\n" % (len(info), info),
        b"SCAN": b"*2\r\n$1\r\n0\r\n*0\r\n",
        **answers,
    }

    def answer(data: bytes) -> bytes:
        if b"SETINFO" in data:
            return b"+OK\r\n" * data.count(b"SETINFO")
        name = data.split(b"\r\n")[2]
        return known[name]

    with liar(answer) as cache:
        with pytest.raises(UnexpectedReplyError) as caught:
            act(cache, conditions)
        assert str(caught.value).startswith(f"{cache.servers[0]}: ")
