"""The `redis` cache: clear, prime and status of redis servers and clusters."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from cachekit.caches.base import Change, Conditions, Filling, Place, Status, Survey, at_servers
from cachekit.caches.census import told
from cachekit.caches.namespace import (
    PLACEHOLDER,
    WHICH_RELEASE,
    fixed_part,
    namespace_refusal,
    prefix_of,
)
from cachekit.caches.records import size_of_file
from cachekit.caches.redis.census import by_release
from cachekit.caches.redis.clearing import clear_keys, clear_selected, clear_tags
from cachekit.caches.redis.connection import Access
from cachekit.caches.redis.donor import Copies, sources
from cachekit.caches.redis.keyspace import listed, selection_of, text, total, wire
from cachekit.caches.redis.loading import check_room, loaded
from cachekit.caches.redis.priming import fill
from cachekit.caches.redis.reading import Rewrite
from cachekit.caches.redis.state import status_of
from cachekit.caches.redis.store import Store, infos, opened
from cachekit.caches.redis.tags import TagSet, absent
from cachekit.caches.releases import Releases
from cachekit.caches.tally import Tally
from cachekit.deadline import Deadline
from cachekit.errors import RefusedError
from cachekit.model import Node, NodeAddress, shown
from cachekit.quantities import OneOrMore, Share
from cachekit.scope import Kind, Scope

_TAG = "{tag}"
_EXAMPLES = 5


@dataclass(frozen=True, kw_only=True)
class Redis:
    """redis servers, each by itself, or the seeds of one cluster.

    `namespace` is what keys start with, `{release}` in it the token of a release. `tags` names the
    application's own sets of keys, as `tag:{tag}`; `member_prefix` is what these leave out of the
    keys. Records and copies never replace an entry that is there, unless `overwrite` says so.
    """

    layer: ClassVar[int] = 30
    scopes: ClassVar[frozenset[Kind]] = frozenset(
        {Kind.EVERYTHING, Kind.RELEASE, Kind.KEY, Kind.PREFIX, Kind.GLOB, Kind.TAG}
    )
    prime_from: ClassVar[frozenset[str]] = frozenset({"file", "command", "donor"})
    # Each server is filled by itself, and fails by itself: which one holds a key is not known here.
    sharded: ClassVar[bool] = False

    servers: OneOrMore[NodeAddress]
    via: str | None = None
    cluster: bool = False
    db: int = 0
    username: str = ""
    password: str = field(default="", repr=False)
    password_file: Path | None = None
    tls: bool = False
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    namespace: str = ""
    tags: str = ""
    member_prefix: str = ""
    exclusive: bool = False
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
        """Each server; a cluster is one place."""
        places = at_servers(self.servers, self.via, nodes)
        if not self.cluster:
            return places
        name = ",".join(place.name for place in places)
        return (Place(name=name, node=places[0].node, addresses=tuple(self.servers)),)

    def refusal(self, scope: Scope, conditions: Conditions) -> str:
        """Refuse what reaches beyond the namespace, or into a release that is kept."""
        if scope.kind is Kind.TAG:
            return self._tag_refusal(conditions)
        return namespace_refusal(self.namespace, scope, conditions, exclusive=self.exclusive)

    def clear(self, place: Place, scope: Scope, conditions: Conditions) -> Change:
        """Unlink what the scope selects, and look again until nothing of it is left."""
        if scope.kind not in (Kind.KEY, Kind.TAG):
            selection = selection_of(scope, self.namespace)
            return clear_selected(lambda: self._writing(place, conditions), selection)
        with self._writing(place, conditions) as store:
            if scope.kind is Kind.KEY:
                return clear_keys(store, list(map(wire, scope.values)))
            fixed = b"" if conditions.force else wire(fixed_part(self.namespace))
            tags = self._tag_sets(store, scope, conditions)
            return clear_tags(store, tags, lambda key: not key.startswith(fixed))

    def survey(self, place: Place, scope: Scope, conditions: Conditions) -> Survey:
        """Count what the scope selects."""
        with self.opened(place, conditions.deadline) as store:
            tags = self._tag_sets(store, scope, conditions) if scope.kind is Kind.TAG else []
            found = self._found(store, scope, tags)
            return Survey(
                found=len(found),
                total=total(store),
                examples=tuple(shown(text(key)) for key in found[:_EXAMPLES]),
                warnings=absent(tags),
            )

    def status(self, place: Place, conditions: Conditions) -> Status:
        """Tell the counters and hazards, of all primaries together in a cluster."""
        access = self._access(place)
        told, hazards = infos(place, access, conditions.deadline, cluster=self.cluster)
        return status_of(told, self.db, hazards)

    def releases(self, place: Place, conditions: Conditions) -> Releases:
        """Count the entries of each release, and estimate their size from some of them."""
        with self.opened(place, conditions.deadline) as store:
            entries = told(by_release(store, self.namespace), self.namespace)
            return Releases(aged_since="used", entries=entries)

    def prime(self, places: Sequence[Place], filling: Filling, conditions: Conditions) -> Change:
        """Store records, or copies of another redis or release."""
        (place,) = places
        if self.per_release and not conditions.release:
            raise RefusedError(place.name, WHICH_RELEASE)
        tally = Tally()
        if filling.kind == "donor":
            self._copy(place, filling, conditions, tally)
        else:
            self._load(place, filling, conditions, tally)
        return tally.change()

    def opened(
        self, place: Place, deadline: Deadline, *, writing: bool = False
    ) -> AbstractContextManager[Store]:
        """Connect to all servers of a place. Raises CachekitError."""
        return opened(place, self._access(place), deadline, cluster=self.cluster, writing=writing)

    def _writing(self, place: Place, conditions: Conditions) -> AbstractContextManager[Store]:
        return self.opened(place, conditions.deadline, writing=True)

    def _problems(self) -> Iterator[tuple[bool, str]]:
        unix = any(address.unix_path for address in self.servers)
        braces = "{" in self.namespace.replace(PLACEHOLDER, "")
        yield not self.servers, "expected one server or more"
        yield len(set(self.servers)) != len(self.servers), "a server is named twice"
        yield bool(self.password and self.password_file), "expected one of password, password_file"
        secret = self.password or self.password_file
        yield bool(self.username) and not secret, "expected a password beside username"
        yield self.db < 0, "expected db of 0 or more"
        yield self.cluster and self.db != 0, "a cluster has db 0 only"
        yield unix and self.cluster, "expected host and port of a cluster's nodes"
        yield unix and self.tls, "expected host and port where tls is on"
        files = any((self.ca_file, self.cert_file, self.key_file))
        yield files and not self.tls, "expected `tls: true` beside ca_file, cert_file, key_file"
        yield bool(self.key_file) and not self.cert_file, "expected cert_file beside key_file"
        yield self.cluster and braces, "braces would put all keys on one server of the cluster"
        yield bool(self.tags) and _TAG not in self.tags, f"expected {_TAG} in tags"
        yield bool(self.member_prefix) and not self.tags, "expected tags beside member_prefix"
        yield self.max_keys is not None and self.max_keys < 0, "expected max_keys of 0 or more"

    def _access(self, place: Place) -> Access:
        password = self.password
        if self.password_file is not None:
            try:
                password = self.password_file.read_text(encoding="utf-8").strip("\r\n")
            except (OSError, UnicodeDecodeError) as error:
                raise RefusedError(place.name, f"password_file cannot be read: {error}") from error
        return Access(
            db=self.db,
            username=self.username,
            password=password,
            tls=self.tls,
            ca_file=self.ca_file,
            cert_file=self.cert_file,
            key_file=self.key_file,
        )

    def _tag_refusal(self, conditions: Conditions) -> str:
        if not self.tags:
            return "has no `tags`: the pattern of the sets in which the application lists keys"
        if PLACEHOLDER in self.tags + self.member_prefix and not conditions.release:
            return "its tags are per release: set `release:`, or give --live"
        return ""

    def _tag_sets(self, store: Store, scope: Scope, conditions: Conditions) -> list[TagSet]:
        pattern = prefix_of(self.tags, conditions.release)
        prefix = wire(prefix_of(self.member_prefix, conditions.release))
        names = [wire(pattern.replace(_TAG, value)) for value in scope.values]
        return [TagSet(store, name, prefix) for name in names]

    def _found(self, store: Store, scope: Scope, tags: Sequence[TagSet]) -> list[bytes]:
        if scope.kind is Kind.KEY:
            return store.present(map(wire, scope.values))
        if scope.kind is Kind.TAG:
            return store.present({tag.key_of(each) for tag in tags for each in tag.members()})
        return list(listed(store, selection_of(scope, self.namespace)))

    def _load(self, place: Place, filling: Filling, conditions: Conditions, tally: Tally) -> None:
        if len(self.servers) > 1 and not self.cluster:
            raise RefusedError(
                place.name,
                "only the application knows which of these servers holds a key; configure each as"
                " a cache of its own, and prime it with its own records",
            )
        with self._writing(place, conditions) as store:
            items = loaded(filling, self.namespace, conditions, place.name, tally)
            if not conditions.force:
                check_room(store, size_of_file(filling))
            fill(items, store, tally, overwrite=self.overwrite, force=conditions.force)

    def _copy(self, place: Place, filling: Filling, conditions: Conditions, tally: Tally) -> None:
        donor, rewrite = self._donor(place, filling, conditions)
        for source in sources(place, filling, self.servers[:1] if self.cluster else self.servers):
            with (
                self._writing(place, conditions) as target,
                donor.opened(source, conditions.deadline) as store,
            ):
                copies = Copies(store, target, rewrite, tally)
                if not conditions.force:
                    check_room(target, copies.size())
                fill(
                    copies.items(),
                    target,
                    tally,
                    overwrite=self.overwrite,
                    force=conditions.force,
                )

    def _donor(
        self, place: Place, filling: Filling, conditions: Conditions
    ) -> tuple["Redis", Rewrite]:
        """Tell which cache is copied from, and how keys change. Raises RefusedError."""
        target = wire(prefix_of(self.namespace, conditions.release))
        if isinstance(filling.donor, Redis):
            if filling.donor.per_release and not conditions.release:
                raise RefusedError(place.name, WHICH_RELEASE)
            source = prefix_of(filling.donor.namespace, conditions.release)
            return filling.donor, Rewrite(wire(source), target)
        if not self.per_release:
            raise RefusedError(
                place.name,
                f"no cache is called {filling.value}, and `namespace` is not per release",
            )
        if conditions.release == filling.value:
            raise RefusedError(
                place.name,
                "a release is copied to another one: set `release:` or --live to the new one",
            )
        return self, Rewrite(wire(prefix_of(self.namespace, filling.value)), target)
