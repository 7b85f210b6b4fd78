"""The `memcache` cache: clear, prime and status of memcached servers."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from fnmatch import translate
from functools import partial
from typing import ClassVar, Literal

from cachekit.caches.base import Change, Conditions, Filling, Place, Status, Survey, at_servers
from cachekit.caches.census import told
from cachekit.caches.memcache import crawler, php_values
from cachekit.caches.memcache.connection import BLANK, MAX_KEY, Connection, too_long
from cachekit.caches.memcache.donor import Copies
from cachekit.caches.memcache.keys import clear_keys, delete, flush, present
from cachekit.caches.memcache.placement import Distribution, KeyHash, Placement, placement
from cachekit.caches.memcache.priming import Gone, Item, Shelf, check_room, fill
from cachekit.caches.memcache.state import status_of
from cachekit.caches.namespace import (
    PLACEHOLDER,
    WHICH_RELEASE,
    literal_start,
    namespace_refusal,
    prefix_of,
    stored_key,
)
from cachekit.caches.records import read_records, size_of_file
from cachekit.caches.releases import Releases
from cachekit.caches.tally import Tally, cleared
from cachekit.errors import RefusedError, UnreachableError
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

    @property
    def per_release(self) -> bool:
        """Whether releases have keys of their own."""
        return PLACEHOLDER in self.namespace

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

    def releases(self, place: Place, conditions: Conditions) -> Releases:
        """Count the items of each release, by one look at all items."""
        with closing(Connection(place, conditions.deadline)) as connection:
            counts = crawler.by_release(connection, self.namespace, conditions)
            return Releases(aged_since="used", entries=told(counts, self.namespace))

    def prime(self, places: Sequence[Place], filling: Filling, conditions: Conditions) -> Change:
        """Store records, or copies of a donor's items, on the servers where PHP looks for them."""
        if len(places) != len(self.servers):
            raise RefusedError(
                _names(places),
                "keys are shared out among all its servers; prime them all, without --node",
            )
        if self.per_release and not conditions.release:
            raise RefusedError(_names(places), WHICH_RELEASE)
        with ExitStack() as opened:
            shelves = [self._shelf(place, opened, conditions) for place in places]
            dead = [each.error for each in shelves if isinstance(each, Gone)]
            if len(dead) == len(shelves):
                raise dead[0]
            tally = self._filled(places, shelves, filling, conditions)
        if dead and not tally.left and filling.kind == "donor" and filling.donor is None:
            raise dead[0]  # What it holds of the release was not copied, nor counted.
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

    def _shelf(self, place: Place, opened: ExitStack, conditions: Conditions) -> Shelf | Gone:
        """Connect to a server that is to be filled."""
        tally = Tally()
        try:
            connection = opened.enter_context(closing(Connection(place, conditions.deadline)))
            return Shelf(
                connection,
                tally,
                kept=self._sample(connection, conditions, tally),
                overwrite=self.overwrite,
                for_php=self.encoding == "php",
                force=conditions.force,
            )
        except UnreachableError as error:
            return Gone(error, tally)

    def _filled(
        self,
        places: Sequence[Place],
        shelves: Sequence[Shelf | Gone],
        filling: Filling,
        conditions: Conditions,
    ) -> Tally:
        living = [shelf for shelf in shelves if isinstance(shelf, Shelf)]
        if filling.kind == "donor":
            alive = [place for place in places if place.name in {each.place for each in living}]
            copies = self._copies(alive, filling, conditions)
            size, items = copies.size, copies.items()
        else:
            size, items = partial(size_of_file, filling), self._records(places, filling, conditions)
        if not conditions.force:
            # Of what comes, those that do not answer would have taken as much as the others.
            check_room(living, size() * len(living) // len(shelves))
        return fill(items, shelves, self._placement(conditions))

    def _records(
        self, places: Sequence[Place], filling: Filling, conditions: Conditions
    ) -> Iterator[Item]:
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

    def _copies(self, places: Sequence[Place], filling: Filling, conditions: Conditions) -> Copies:
        """Tell what is copied, and to which keys. Raises RefusedError."""
        source, donor_places = self._donor(places, filling, conditions)
        target = _bytes(prefix_of(self.namespace, conditions.release))
        return Copies(source, target, donor_places, conditions)

    def _donor(
        self, places: Sequence[Place], filling: Filling, conditions: Conditions
    ) -> tuple[bytes, Sequence[Place]]:
        """Tell what a donor's keys start with, and where they are. Raises RefusedError."""
        names = _names(places)
        donor = filling.donor if isinstance(filling.donor, Memcache) else None
        if donor is not None:
            if donor.per_release and not conditions.release:
                raise RefusedError(names, WHICH_RELEASE)
            return _bytes(prefix_of(donor.namespace, conditions.release)), filling.donor_places
        if not self.per_release:
            raise RefusedError(
                names, f"no cache is called {filling.value}, and `namespace` is not per release"
            )
        source = prefix_of(self.namespace, filling.value)
        if source == prefix_of(self.namespace, conditions.release):
            raise RefusedError(
                names, "a release is copied to another one: set `release:` or --live to the new one"
            )
        return _bytes(source), places

    def _sample(self, connection: Connection, conditions: Conditions, tally: Tally) -> list[bytes]:
        """Choose keys of the rollback release, to see that priming does not push them out."""
        if not self.per_release or not conditions.previous:
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


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _shown(keys: Sequence[bytes]) -> tuple[str, ...]:
    return tuple(shown(key.decode("utf-8", "backslashreplace")) for key in keys[:_EXAMPLES])
