"""Bulk work on redis beside the usual way, round trips for each key with redis-py and hiredis."""

import multiprocessing
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

import redis

from cachekit.caches.base import Conditions, Filling
from cachekit.caches.namespace import prefix_of
from cachekit.caches.redis import Redis
from cachekit.caches.redis.keyspace import LISTED_AT_ONCE
from cachekit.deadline import Deadline
from cachekit.model import parse_address
from cachekit.scope import Kind, Scope
from tests.benchmarks.harness import Bar, Bench, at_least, at_most, print_table
from tests.servers.redis import RedisServer

TITLE = "keys/s, of 200,000, beside a redis-py loop over 20,000; values of 100 bytes that expire"

KEYS, OTHERS = 200_000, 50_000
COPIED = 200_000
LOOPED = 20_000
NAMESPACE = "shop:{release}:"
VALUE = b"v" * 100
FILLED_AT_ONCE = 5000
BARS = {"clear": 20.0, "copy": 15.0}
LONGEST_WAIT_BAR = 3.0


@dataclass(frozen=True)
class Stand:
    """A server, a client of it, the cache over it, and what its actions are given."""

    bench: Bench
    server: RedisServer
    client: redis.Redis
    cache: Redis
    conditions: Conditions

    def fill(self, release: str, count: int) -> list[str]:
        """Store keys of a release that expire."""
        prefix = prefix_of(NAMESPACE, release)
        keys = [f"{prefix}product:{number}" for number in range(count)]
        (place,) = self.cache.places({})
        with self.cache.opened(place, self.conditions.deadline) as store:
            (server,) = store.primaries
            for start in range(0, count, FILLED_AT_ONCE):
                batch = keys[start : start + FILLED_AT_ONCE]
                server.check(*server.pipeline([("SET", key, VALUE, "EX", 86400) for key in batch]))
        return keys

    def rate(self, count: int, act: Callable[[], object]) -> float:
        """Time one job, once nothing else is busy."""
        self.bench.await_quiet()
        began = time.perf_counter()
        act()
        return count / (time.perf_counter() - began)

    def clear(self) -> None:
        """Clear the old release among keys of another one."""
        (place,) = self.cache.places({})
        change = self.cache.clear(place, Scope(Kind.RELEASE, ("r40",)), self.conditions)
        assert (change.removed, change.left) == (KEYS, 0)


def measure(bench: Bench) -> list[Bar]:
    """Run each job both ways, round after round; compare the medians."""
    jobs = {"clear": _clear, "copy": _copy, "wait": _longest_waits}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in jobs}
    for _ in range(bench.rounds):
        for name, job in jobs.items():
            with _stand(bench) as stand:
                found[name].append(job(stand))
    medians = {name: tuple(map(median, zip(*each, strict=True))) for name, each in found.items()}
    longest, under_scan = medians.pop("wait")
    print_table(
        ("", "cachekit", "redis-py loop", "ratio"),
        [
            (name, f"{ours:,.0f}", f"{loop:,.0f}", f"{ours / loop:.1f}")
            for name, (ours, loop) in medians.items()
        ],
    )
    print_table(
        ("another client's longest wait", "clear", "SCAN alone"),
        [("ms", f"{1000 * longest:.1f}", f"{1000 * under_scan:.1f}")],
    )
    return [
        *(
            at_least(f"redis: {name} / redis-py loop", ours / loop, BARS[name])
            for name, (ours, loop) in medians.items()
        ),
        at_most(
            "redis: longest wait of another client, clear / SCAN alone",
            longest / under_scan,
            LONGEST_WAIT_BAR,
        ),
    ]


@contextmanager
def _stand(bench: Bench) -> Iterator[Stand]:
    with RedisServer() as server, server.client() as client:
        cache = Redis(servers=(parse_address(server.address),), namespace=NAMESPACE)
        conditions = Conditions(
            deadline=Deadline(600), state_dir=bench.new_path("-state"), release="r42"
        )
        yield Stand(bench, server, client, cache, conditions)


def _clear(stand: Stand) -> tuple[float, float]:
    stand.fill("r41", OTHERS)
    stand.fill("r40", KEYS)
    rate = stand.rate(KEYS, stand.clear)
    keys = stand.fill("r40", LOOPED)
    return rate, stand.rate(LOOPED, lambda: [stand.client.unlink(key) for key in keys])


def _copy(stand: Stand) -> tuple[float, float]:
    keys = stand.fill("r41", COPIED)

    def ours() -> None:
        change = stand.cache.prime(
            stand.cache.places({}), Filling(kind="donor", value="r41"), stand.conditions
        )
        assert (change.stored, change.left) == (COPIED, 0)

    def loop() -> None:
        client: Any = stand.client
        for key in keys[:LOOPED]:
            client.restore(f"copy:{key}", client.pttl(key), client.dump(key))

    return stand.rate(COPIED, ours), stand.rate(LOOPED, loop)


def _longest_waits(stand: Stand) -> tuple[float, float]:
    """Let another client ask all the time: during a clear, and as long while keys are listed."""
    stand.fill("r41", OTHERS)
    stand.fill("r40", KEYS)
    stand.bench.await_quiet()
    began = time.perf_counter()
    longest = _longest_wait(stand.server, stand.clear)
    seconds = time.perf_counter() - began
    stand.fill("r40", KEYS)
    stand.bench.await_quiet()

    def scan() -> None:
        began = time.perf_counter()
        while time.perf_counter() - began < seconds:
            for _ in stand.client.scan_iter(match="none*", count=LISTED_AT_ONCE):
                pass

    return longest, _longest_wait(stand.server, scan)


def _longest_wait(server: RedisServer, act: Callable[[], object]) -> float:
    ours, theirs = multiprocessing.get_context("fork").Pipe()
    bystander = multiprocessing.get_context("fork").Process(
        target=_ask_on, args=(server.host, server.port, theirs)
    )
    bystander.start()
    ours.recv()
    act()
    ours.send(None)
    longest: float = ours.recv()
    bystander.join()
    return longest


def _ask_on(host: str, port: int, pipe: Any) -> None:
    """Ask one thing after another until told to end, and tell the longest wait."""
    with socket.create_connection((host, port)) as connection:
        longest = 0.0
        pipe.send(None)
        while not pipe.poll():
            began = time.perf_counter()
            connection.sendall(b"PING\r\n")
            connection.recv(100)
            longest = max(longest, time.perf_counter() - began)
        pipe.send(longest)
