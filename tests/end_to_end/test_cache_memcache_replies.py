"""Memcached servers that answer what makes no sense, or less than others do."""

import socket
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from cachekit.caches.base import Change, Conditions, Filling
from cachekit.caches.memcache import Memcache
from cachekit.errors import RefusedError, UnexpectedReplyError
from cachekit.model import parse_address
from cachekit.scope import EVERYTHING, Kind, Scope
from tests.shelves import conditions as conditions_of

pytestmark = pytest.mark.server

STATS = (
    b"STAT version 1.6.18\r\nSTAT bytes 1\r\nSTAT limit_maxbytes 99\r\nSTAT evictions 0\r\nEND\r\n"
)
SETTINGS = b"STAT item_size_max 1048576\r\nEND\r\n"
DUMP = b"key=shop%3Aa exp=-1 la=1 cas=1 fetch=no cls=1 size=60\r\nEND\r\n"

USUAL = {
    b"stats\r\n": STATS,
    b"stats settings\r\n": SETTINGS,
    b"lru_crawler metadump": DUMP,
    b"flush_all": b"OK\r\n",
    b"md ": b"MN\r\n",
    b"mg ": b"MN\r\n",
    b"ms ": b"MN\r\n",
}


@contextmanager
def liar(answers: Mapping[bytes, bytes], heard: list[bytes]) -> Iterator[Memcache]:
    """A server that answers what comes as a test says, else as memcached does."""
    given = {**USUAL, **answers}
    with ThreadPoolExecutor() as pool, socket.create_server(("127.0.0.1", 0)) as listener:

        def serve(client: socket.socket) -> None:
            with client, suppress(ConnectionError):
                while data := client.recv(65536):
                    heard.append(data)
                    client.sendall(next(given[start] for start in given if data.startswith(start)))

        def accept() -> None:
            # Until it is shut down.
            with suppress(OSError):
                while True:
                    pool.submit(serve, listener.accept()[0])

        pool.submit(accept)
        address = parse_address(f"127.0.0.1:{listener.getsockname()[1]}")
        try:
            yield Memcache(servers=(address,), namespace="shop:", exclusive=True)
        finally:
            listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def conditions(tmp_path: Path) -> Conditions:
    return conditions_of(tmp_path / "state")


def prefix(cache: Memcache, conditions: Conditions) -> Change:
    return cache.clear(cache.places({})[0], Scope(Kind.PREFIX, ("shop:",)), conditions)


def key(cache: Memcache, conditions: Conditions) -> Change:
    return cache.clear(cache.places({})[0], Scope(Kind.KEY, ("shop:a",)), conditions)


def status(cache: Memcache, conditions: Conditions) -> object:
    return cache.status(cache.places({})[0], conditions)


def records(cache: Memcache, conditions: Conditions) -> Change:
    conditions.state_dir.mkdir(exist_ok=True)
    file = conditions.state_dir / "records.jsonl"
    file.write_text('{"key": "shop:a", "value": 1}\n')
    return cache.prime(cache.places({}), Filling(kind="file", value=str(file)), conditions)


def copy(cache: Memcache, conditions: Conditions) -> Change:
    filling = Filling(kind="donor", value="x", donor=cache, donor_places=cache.places({}))
    return cache.prime(cache.places({}), filling, conditions)


Act = Callable[[Memcache, Conditions], object]


@pytest.mark.parametrize(
    ("act", "answers"),
    [
        (status, {b"stats\r\n": b"STAT \xff 1\r\nEND\r\n"}),
        (status, {b"stats\r\n": b"STAT bytes many\r\nEND\r\n"}),
        (status, {b"stats\r\n": b"STAT\r\nEND\r\n"}),
        (key, {b"mg ": b"HD Ox\r\nMN\r\n"}),
        (key, {b"mg ": b"HD O7\r\nMN\r\n"}),
        (records, {b"stats\r\n": b"STAT evictions 0\r\nEND\r\n"}),
        (records, {b"stats\r\n": STATS.replace(b"99", b"lots")}),
        (records, {b"ms ": b"NS Ox\r\nMN\r\n"}),
        (records, {b"mg ": b"what\r\nMN\r\n"}),
        (copy, {b"mg ": b"VA many kshop:a f0 t-1\r\n1\r\nMN\r\n"}),
        (copy, {b"mg ": b"VA 1 kshop:a f0\r\n1\r\nMN\r\n"}),
        (copy, {b"mg ": b"VA 1 kshop:a fx t-1\r\n1\r\nMN\r\n"}),
    ],
)
def test_an_answer_that_makes_no_sense_names_the_server(
    act: Act, answers: dict[bytes, bytes], conditions: Conditions
) -> None:
    with liar(answers, []) as cache, pytest.raises(UnexpectedReplyError) as caught:
        act(cache, conditions)
    assert str(caught.value).startswith(f"{cache.servers[0]}: ")


def test_a_refusal_is_told_whatever_bytes_are_in_it(conditions: Conditions) -> None:
    answers = {b"lru_crawler metadump": b"ERROR \xff\x1b\r\n"}
    with liar(answers, []) as cache, pytest.raises(RefusedError, match=r"says: ERROR .\\x1b$"):
        prefix(cache, conditions)


def test_what_a_server_does_not_tell_is_not_known(conditions: Conditions) -> None:
    with liar({b"stats\r\n": b"STAT version 1\r\nSTAT get_hits 0\r\nEND\r\n"}, []) as cache:
        found = cache.status(cache.places({})[0], conditions)
    assert (found.size, found.capacity, found.items, found.hits) == (None, None, None, 0)
    assert found.details == {"item_size_max": "1048576"}


def test_everything_goes_unproven_only_where_keys_are_never_listed(conditions: Conditions) -> None:
    heard: list[bytes] = []
    busy = {b"lru_crawler metadump": b"BUSY currently processing crawler request\r\n"}
    with liar(busy, heard) as cache, pytest.raises(RefusedError, match="BUSY"):
        cache.clear(cache.places({})[0], EVERYTHING, conditions)
    assert not any(data.startswith(b"flush_all") for data in heard)
