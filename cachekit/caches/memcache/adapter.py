"""The `memcache` cache: clear, prime and status of memcached servers."""

import base64
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from fnmatch import translate
from pathlib import Path
from typing import ClassVar, Literal

from cachekit.caches.base import Change, Conditions, Filling, Place, Status, Survey, at_servers
from cachekit.caches.memcache import crawler, php_values
from cachekit.caches.memcache.connection import BLANK, MAX_KEY, Connection, too_long, wire_key
from cachekit.caches.memcache.keys import clear_keys, delete, flush, present
from cachekit.caches.memcache.placement import Distribution, KeyHash, Placement, placement
from cachekit.caches.memcache.priming import Item, Shelf, check_room, fill, lost
from cachekit.caches.memcache.state import status_of
from cachekit.caches.namespace import (
    PLACEHOLDER,
    WHICH_RELEASE,
    literal_start,
    namespace_refusal,
    prefix_of,
    stored_key,
)
from cachekit.caches.records import read_records
from cachekit.caches.tally import Tally, cleared
from cachekit.errors import RefusedError
from cachekit.model import Node, NodeAddress, shown
from cachekit.quantities import OneOrMore, Share
from cachekit.scope import Kind, Scope

_ROUNDS = 3
_EXAMPLES = 5
_SAMPLE = 200


@dataclass(frozen=True, kw_only=True)
class Memcache:
    """memcached servers that share keys among them as php-memcached does.

    `namespace` is what keys start with, `{release}` in it the token of a release. `option_prefix`
    says that PHP sets it as OPT_PREFIX_KEY, which is not hashed to choose the server. With
    `encoding: raw` values other than bytes are stored as JSON, for readers other than PHP.
    """

    layer: ClassVar[int] = 30
    scopes: ClassVar[frozenset[Kind]] = frozenset(
        {Kind.EVERYTHING, Kind.RELEASE, Kind.KEY, Kind.PREFIX, Kind.GLOB}
    )
    prime_from: ClassVar[frozenset[str]] = frozenset({"file", "command", "donor"})
    sharded: ClassVar[bool] = True

    servers: OneOrMore[NodeAddress]
    via: str | None = None
    namespace: str = ""
    option_prefix: bool = False
    exclusive: bool = False
    distribution: Distribution = "modula"
    key_hash: KeyHash = "default"
    weights: OneOrMore[int] = ()
    encoding: Literal["php", "raw"] = "php"
    overwrite: bool = False
    max_keys: int | None = None
    max_share: Share | None = None

    def __post_init__(self) -> None:
        for wrong, problem in self._problems():
            if wrong:
                raise ValueError(problem)

    def places(self, nodes: Mapping[str, Node]) -> tuple[Place, ...]:
        """Each server."""
        return at_servers(self.servers, self.via, nodes)

    def refusal(self, scope: Scope, conditions: Conditions) -> str:
        """Refuse what reaches beyond the namespace, or into a release that is kept."""
        keys = scope.values if scope.kind is Kind.KEY else ()
        if reason := next(filter(None, map(too_long, map(_bytes, keys))), ""):
            return reason
        return namespace_refusal(self.namespace, scope, conditions, exclusive=self.exclusive)

    def clear(self, place: Place, scope: Scope, conditions: Conditions) -> Change:
        """Delete what the scope selects, and look again until nothing of it is left."""
        with closing(Connection(place, conditions.deadline)) as connection:
            if scope.kind is Kind.KEY:
                return clear_keys(connection, [_bytes(key) for key in scope.values])
            if scope.kind is Kind.EVERYTHING:
                return flush(connection, conditions)
            return self._clear_listed(connection, scope, conditions)

    def survey(self, place: Place, scope: Scope, conditions: Conditions) -> Survey:
        """Count what the scope selects."""
        with closing(Connection(place, conditions.deadline)) as connection:
            if scope.kind is Kind.KEY:
                there = present(connection, [_bytes(key) for key in scope.values])
                total = connection.number("curr_items")
                return Survey(found=len(there), total=total, examples=_shown(there))
            keys, total = self._selected(connection, scope, conditions)
            return Survey(found=len(keys), total=total, examples=_shown(keys))

    def status(self, place: Place, conditions: Conditions) -> Status:
        """Tell the server's counters and hazards."""
        with closing(Connection(place, conditions.deadline)) as connection:
            return status_of(connection)

    def prime(self, places: Sequence[Place], filling: Filling, conditions: Conditions) -> Change:
        """Store records, or copies of a donor's items, on the servers where PHP looks for them."""
        if len(places) != len(self.servers):
            raise RefusedError(
                _names(places),
                "keys are shared out among all its servers; prime them all, without --node",
            )
        if PLACEHOLDER in self.namespace and not conditions.release:
            raise RefusedError(_names(places), WHICH_RELEASE)
        tally = Tally()
        with ExitStack() as opened:
            connections = [
                opened.enter_context(closing(Connection(place, conditions.deadline)))
                for place in places
            ]
            kept = [self._sample(connection, conditions, tally) for connection in connections]
            shelves = [
                Shelf(
                    each,
                    tally,
                    overwrite=self.overwrite,
                    for_php=self.encoding == "php",
                    force=conditions.force,
                )
                for each in connections
            ]
            items = self._items(places, filling, conditions)
            if not conditions.force:
                self._check_room(places, connections, filling, conditions)
            fill(items, shelves, self._placement(conditions), tally)
            tally.notes += lost(connections, kept)
        return tally.change()

    def _problems(self) -> Iterator[tuple[bool, str]]:
        start = _bytes(prefix_of(self.namespace, ""))
        yield len(set(self.servers)) != len(self.servers), "a server is named twice"
        if self.weights:
            fitting = len(self.weights) == len(self.servers)
            yield not fitting, "expected as many weights as servers"
            yield not all(0 < each < 2**32 for each in self.weights), "expected weights from 1"
            yield self.distribution == "modula", "`modula` knows no weights, as in PHP"
        yield bool(BLANK.search(start)), "memcached takes no keys with spaces or control characters"
        # One more byte at least, to be a key.
        yield len(start) >= MAX_KEY, f"memcached takes keys of {MAX_KEY} bytes: none would fit"
        yield self.max_keys is not None and self.max_keys < 0, "expected max_keys of 0 or more"

    def _clear_listed(self, connection: Connection, scope: Scope, conditions: Conditions) -> Change:
        keys, _ = self._selected(connection, scope, conditions)
        removed = 0
        for _ in range(_ROUNDS):
            removed += delete(connection, keys)
            keys, _ = self._selected(connection, scope, conditions)
            if not keys:
                break
        return cleared(removed, len(keys))

    def _selected(
        self, connection: Connection, scope: Scope, conditions: Conditions
    ) -> tuple[list[bytes], int]:
        """List the keys that a scope selects, and count all."""
        if scope.kind is Kind.EVERYTHING:
            return crawler.keys_and_total(connection, b"", conditions)
        selected: set[bytes] = set()
        total = 0
        for value in scope.values:
            prefix = self._prefix(scope.kind, value)
            keys, total = crawler.keys_and_total(connection, _bytes(prefix), conditions)
            if scope.kind is Kind.GLOB:
                matches = re.compile(translate(value)).match
                keys = [key for key in keys if matches(key.decode("utf-8", "surrogateescape"))]
            selected.update(keys)
        return list(selected), total

    def _prefix(self, kind: Kind, value: str) -> str:
        if kind is Kind.RELEASE:
            return prefix_of(self.namespace, value)
        return literal_start(value) if kind is Kind.GLOB else value

    def _placement(self, conditions: Conditions) -> Placement:
        choose = placement(self.servers, self.distribution, self.key_hash, self.weights)
        if not self.option_prefix:
            return choose
        length = len(_bytes(prefix_of(self.namespace, conditions.release)))
        return lambda key: choose(key[length:])

    def _items(
        self, places: Sequence[Place], filling: Filling, conditions: Conditions
    ) -> Iterator[Item]:
        if filling.kind == "donor":
            yield from self._copies(places, filling, conditions)
            return
        encode = php_values.encode if self.encoding == "php" else php_values.encode_plain
        for record in read_records(filling, conditions.deadline):
            try:
                key = stored_key(record.key, self.namespace, conditions.release)
            except ValueError as error:
                raise RefusedError(_names(places), str(error)) from error
            value, flags = encode(record.value)
            yield Item(
                _bytes(key),
                value,
                flags if record.flags is None else record.flags,
                record.expires_at,
            )

    def _copies(
        self, places: Sequence[Place], filling: Filling, conditions: Conditions
    ) -> Iterator[Item]:
        """Read a donor's items, under the keys of the release that is primed."""
        source, donor_places = self._donor(places, filling, conditions)
        target = _bytes(prefix_of(self.namespace, conditions.release))
        for place in donor_places:
            # A connection of its own: the donor may be the server that is written to meanwhile.
            with closing(Connection(place, conditions.deadline)) as connection:
                keys, _ = crawler.keys_and_total(connection, source, conditions)
                yield from _read(connection, keys, source, target)

    def _donor(
        self, places: Sequence[Place], filling: Filling, conditions: Conditions
    ) -> tuple[bytes, Sequence[Place]]:
        """Tell what a donor's keys start with, and where they are. Raises RefusedError."""
        names = _names(places)
        donor = filling.donor if isinstance(filling.donor, Memcache) else None
        if donor is not None:
            if PLACEHOLDER in donor.namespace and not conditions.release:
                raise RefusedError(names, WHICH_RELEASE)
            return _bytes(prefix_of(donor.namespace, conditions.release)), filling.donor_places
        if PLACEHOLDER not in self.namespace:
            raise RefusedError(
                names, f"no cache is called {filling.value}, and `namespace` is not per release"
            )
        source = prefix_of(self.namespace, filling.value)
        if source == prefix_of(self.namespace, conditions.release):
            raise RefusedError(
                names, "a release is copied to another one: set `release:` or --live to the new one"
            )
        return _bytes(source), places

    def _check_room(
        self,
        places: Sequence[Place],
        connections: Sequence[Connection],
        filling: Filling,
        conditions: Conditions,
    ) -> None:
        """Refuse what would push other entries out, as far as its size is known beforehand."""
        size = 0
        if filling.kind == "file":
            size = _size_of(filling.value)
        elif filling.kind == "donor":
            source, donor_places = self._donor(places, filling, conditions)
            for place in donor_places:
                with closing(Connection(place, conditions.deadline)) as connection:
                    size += crawler.size_of(connection, source, conditions)
        check_room(connections, size)

    def _sample(self, connection: Connection, conditions: Conditions, tally: Tally) -> list[bytes]:
        """Choose keys of the rollback release, to see that priming does not push them out."""
        if PLACEHOLDER not in self.namespace or not conditions.previous:
            return []
        prefix = _bytes(prefix_of(self.namespace, conditions.previous))
        try:
            keys, _ = crawler.keys_and_total(connection, prefix, conditions)
        except RefusedError as error:
            tally.notes.append(f"the rollback release was not looked after: {error}")
            return []
        return keys[:: max(1, len(keys) // _SAMPLE)]


def _names(places: Sequence[Place]) -> str:
    return ", ".join(place.name for place in places)


def _read(
    connection: Connection, keys: Sequence[bytes], source: bytes, target: bytes
) -> Iterator[Item]:
    """Read items without bumping them in the donor's LRU; what expired meanwhile is left out."""
    commands = (b"mg %b k v f t u%b q\r\n" % (wired, flag) for wired, flag in map(wire_key, keys))
    with connection.translated():
        for line, value in connection.fetch(commands):
            _, _, key, flags, ttl, *is_binary = line.split(b" ")
            expires_at = None if ttl == b"t-1" else time.time() + int(ttl[1:])
            plain = base64.b64decode(key[1:]) if is_binary else key[1:]
            yield Item(target + plain[len(source) :], value, int(flags[1:]), expires_at)


def _size_of(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0  # reading it says why


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _shown(keys: Sequence[bytes]) -> tuple[str, ...]:
    return tuple(shown(key.decode("utf-8", "backslashreplace")) for key in keys[:_EXAMPLES])
