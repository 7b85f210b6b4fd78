"""Bulk work on memcached beside the usual way, one round trip for each key with pymemcache."""

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from cachekit.caches.base import Conditions, Filling, Place
from cachekit.caches.memcache import Memcache
from cachekit.caches.memcache.connection import Connection
from cachekit.caches.memcache.priming import BATCH_ITEMS, Item, Shelf, fill
from cachekit.caches.namespace import prefix_of
from cachekit.caches.tally import Tally
from cachekit.deadline import Deadline
from cachekit.model import parse_address
from cachekit.scope import Kind, Scope
from tests.benchmarks.harness import Bar, Bench, at_least, print_table
from tests.servers.memcached import Memcached

TITLE = "keys/s beside a pymemcache loop over 20,000 keys; values of 100 bytes"

KEYS, OTHERS = 1_000_000, 250_000
COPIED = PRIMED = 200_000
LOOPED = 20_000
NAMESPACE = "shop:{release}:"
VALUE = b"v" * 100
BARS = {"clear": 10.0, "copy": 10.0, "prime": 15.0, "verify": 20.0}


@dataclass(frozen=True)
class Stand:
    """A server, the cache over it, and what its actions are given."""

    server: Memcached
    cache: Memcache
    conditions: Conditions

    @property
    def place(self) -> Place:
        """Where the server is."""
        (place,) = self.cache.places({})
        return place

    def looped_sets(self) -> float:
        """Store keys one by one, and give the rate."""
        keys = [f"loop:{number}" for number in range(LOOPED)]
        with closing(self.server.client()) as client:
            return _rate(LOOPED, lambda: [client.set(key, VALUE, 3600) for key in keys])

    def fill(self, release: str, count: int) -> list[str]:
        """Store keys of a release."""
        prefix = prefix_of(NAMESPACE, release)
        keys = [f"{prefix}product:{number}" for number in range(count)]
        with closing(self.server.client()) as client:
            for start in range(0, count, 1000):
                client.set_many(dict.fromkeys(keys[start : start + 1000], VALUE), noreply=False)
        return keys


def measure(bench: Bench) -> list[Bar]:
    """Run each job both ways, round after round; compare the medians of the rates."""
    jobs = {
        "clear": _clear,
        "copy": _copy,
        "prime": _prime,
        "prime, from a file": _prime_file,
        "verify": _verify,
    }
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in jobs}
    for _ in range(bench.rounds):
        for name, job in jobs.items():
            with _stand(bench) as stand:
                rates[name].append(job(stand))
    found = {name: tuple(map(median, zip(*pairs, strict=True))) for name, pairs in rates.items()}
    print_table(
        ("", "cachekit", "pymemcache loop", "ratio"),
        [
            (name, f"{ours:,.0f}", f"{loop:,.0f}", f"{ours / loop:.1f}")
            for name, (ours, loop) in found.items()
        ],
    )
    return [
        at_least(f"memcache: {name} / pymemcache loop", ours / loop, BARS[name])
        for name, (ours, loop) in found.items()
        if name in BARS
    ]


class _stand:  # noqa: N801 - a context manager, used as a function
    def __init__(self, bench: Bench) -> None:
        self._server = Memcached(megabytes=1024)
        self._state_dir = bench.new_path("-state")

    def __enter__(self) -> Stand:
        self._server.start()
        cache = Memcache(servers=(parse_address(self._server.address),), namespace=NAMESPACE)
        conditions = Conditions(
            deadline=Deadline(600), state_dir=self._state_dir, release="r42", force=True
        )
        return Stand(self._server, cache, conditions)

    def __exit__(self, *exc: object) -> None:
        self._server.stop()


def _rate(count: int, act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return count / (time.perf_counter() - began)


def _clear(stand: Stand) -> tuple[float, float]:
    stand.fill("r41", OTHERS)
    stand.fill("r40", KEYS)
    (place,) = stand.cache.places({})
    scope = Scope(Kind.RELEASE, ("r40",))

    def ours() -> None:
        change = stand.cache.clear(place, scope, stand.conditions)
        assert (change.removed, change.left) == (KEYS, 0)

    rate = _rate(KEYS, ours)
    keys = stand.fill("r40", LOOPED)
    with closing(stand.server.client()) as client:
        return rate, _rate(LOOPED, lambda: [client.delete(key) for key in keys])


def _copy(stand: Stand) -> tuple[float, float]:
    keys = stand.fill("r41", COPIED)

    def ours() -> None:
        change = stand.cache.prime(
            stand.cache.places({}), Filling(kind="donor", value="r41"), stand.conditions
        )
        assert (change.stored, change.left) == (COPIED, 0)

    rate = _rate(COPIED, ours)
    with closing(stand.server.client()) as client:

        def loop() -> None:
            for key in keys[:LOOPED]:
                client.set(f"copy:{key}", client.get(key))

        return rate, _rate(LOOPED, loop)


def _prime(stand: Stand) -> tuple[float, float]:
    """From data that is ready on both sides; each item of ours is looked up afterwards, too."""
    prefix = prefix_of(NAMESPACE, "r42")
    ends = time.time() + 3600
    items = [Item(f"{prefix}product:{n}".encode(), VALUE, 0, ends) for n in range(PRIMED)]
    with closing(Connection(stand.place, stand.conditions.deadline)) as connection:

        def ours() -> None:
            tally = fill(items, [Shelf(connection, Tally())], lambda _key: 0)
            assert (tally.stored, tally.left) == (PRIMED, 0)

        rate = _rate(PRIMED, ours)
    return rate, stand.looped_sets()


def _prime_file(stand: Stand) -> tuple[float, float]:
    """From JSON lines, which the loop does not have to read."""
    prefix = prefix_of(NAMESPACE, "r42")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "records.jsonl"
        with file.open("w") as lines:
            for number in range(PRIMED):
                line = {"key": f"{prefix}product:{number}", "value": VALUE.decode(), "ttl": 3600}
                lines.write(json.dumps(line) + "\n")

        def ours() -> None:
            filling = Filling(kind="file", value=str(file))
            change = stand.cache.prime((stand.place,), filling, stand.conditions)
            assert (change.stored, change.left) == (PRIMED, 0)

        rate = _rate(PRIMED, ours)
    return rate, stand.looped_sets()


def _verify(stand: Stand) -> tuple[float, float]:
    keys = stand.fill("r42", PRIMED)
    items = [Item(key.encode(), VALUE, 0, None) for key in keys]
    (place,) = stand.cache.places({})
    with closing(Connection(place, stand.conditions.deadline)) as connection:
        tally = Tally()
        shelf = Shelf(connection, tally)

        def ours() -> None:
            for batch in _batches(items):
                shelf._verify(batch, set())
            assert (tally.stored, tally.left) == (PRIMED, 0)

        rate = _rate(PRIMED, ours)
    with closing(stand.server.client()) as client:
        return rate, _rate(LOOPED, lambda: [client.get(key) for key in keys[:LOOPED]])


def _batches(items: list[Item]) -> Iterator[list[Item]]:
    for start in range(0, len(items), BATCH_ITEMS):
        yield items[start : start + BATCH_ITEMS]
