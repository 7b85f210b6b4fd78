"""The `apc` cache: clear, prime and status of the APCu and the OPcache of php-fpm."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import translate
from typing import ClassVar, Literal

from cachekit.caches.apc import census, changes
from cachekit.caches.apc.call import Hook, Step, ask_pool, encoded
from cachekit.caches.apc.commands import argv_of, run
from cachekit.caches.apc.priming import Storing, compile_files
from cachekit.caches.apc.reload import reload
from cachekit.caches.apc.state import status_of
from cachekit.caches.base import (
    NOT_APPLICABLE,
    Change,
    Conditions,
    Filling,
    Place,
    Status,
    Survey,
    on_nodes,
)
from cachekit.caches.census import told
from cachekit.caches.namespace import PLACEHOLDER, fixed_part, namespace_refusal, prefix_of
from cachekit.caches.releases import Releases
from cachekit.model import Node, parse_address
from cachekit.quantities import OneOrMore, Share
from cachekit.scope import Kind, Scope

Segment = Literal["opcode", "user"]

_LAYERS: Mapping[str, int] = {"opcode": 20, "user": 35}
_BY_KEY = frozenset({Kind.RELEASE, Kind.KEY, Kind.PREFIX, Kind.GLOB})
_TAKES: Mapping[str, frozenset[Kind]] = {
    "opcode": frozenset({Kind.EVERYTHING, Kind.PATH}),
    "user": frozenset({Kind.EVERYTHING}) | _BY_KEY,
}
_FILLED_FROM: Mapping[str, frozenset[str]] = {
    "opcode": frozenset({"path"}),
    "user": frozenset({"file", "command"}),
}


@dataclass(frozen=True, kw_only=True)
class Apc:
    """The memory that php-fpm's pools share on each node of `on`: opcode (OPcache), user (APCu).

    `sockets` are paths, globs or host:port on the node; without them, all php-fpm there is found.
    `php` is the PHP of the command line that talks to them, `sudo -n -u www-data php` where rights
    are wanting; the hook lies in `tmp` meanwhile, which the pools must be able to read.
    `namespace` is what APCu's keys start with, `{release}` in it the token of a release: no others
    are touched. `reload_command` takes the place of opcache_reset(). `clear_command` and
    `prime_command` are arguments of `php`, run on the node after a clear of everything and after a
    prime.
    """

    scopes: ClassVar[frozenset[Kind]] = _TAKES["opcode"] | _TAKES["user"]
    sharded: ClassVar[bool] = False

    on: OneOrMore[str]
    sockets: OneOrMore[str] = ()
    segments: OneOrMore[Segment] = ("opcode", "user")
    php: str = "php"
    namespace: str = ""
    overwrite: bool = False
    tmp: str | None = None
    reload_command: OneOrMore[str] = ()
    clear_command: OneOrMore[str] = ()
    prime_command: OneOrMore[str] = ()
    max_keys: int | None = None
    max_share: Share | None = None

    def __post_init__(self) -> None:
        if not self.segments or len(set(self.segments)) != len(self.segments):
            raise ValueError("segments: expected opcode, user or both")
        for socket in self.sockets:
            _check_socket(socket)
        if self.tmp is not None and not self.tmp.startswith("/"):
            raise ValueError("tmp: expected an absolute path on the node")
        if not argv_of((self.php,)):
            raise ValueError("php: expected a program, or a command line such as sudo -n php")
        if self.max_keys is not None and self.max_keys < 0:
            raise ValueError("max_keys: expected 0 or more")
        for command in (self.reload_command, self.clear_command, self.prime_command):
            argv_of(command)

    @property
    def layer(self) -> int:
        """The innermost of its segments."""
        return min(_LAYERS[segment] for segment in self.segments)

    @property
    def prime_from(self) -> frozenset[str]:
        """What its segments can be filled from."""
        return frozenset().union(*(_FILLED_FROM[segment] for segment in self.segments))

    @property
    def per_release(self) -> bool:
        """Whether releases have keys of their own in APCu; OPcache knows paths only."""
        return "user" in self.segments and PLACEHOLDER in self.namespace

    def parts(self) -> Mapping[str, "Apc"]:
        """Give each segment as a cache.

        `clear_command` runs once, with the outermost; `max_keys` and `max_share` are of APCu.
        """
        outermost = max(self.segments, key=_LAYERS.__getitem__)
        return {
            segment: replace(
                self,
                segments=(segment,),
                clear_command=self.clear_command if segment == outermost else (),
                max_keys=self.max_keys if segment == "user" else None,
                max_share=self.max_share if segment == "user" else None,
            )
            for segment in self.segments
        }

    def places(self, nodes: Mapping[str, Node]) -> tuple[Place, ...]:
        """Give each node."""
        return on_nodes(self.on, nodes)

    def refusal(self, scope: Scope, conditions: Conditions) -> str:
        """Refuse what its segments do not take, and what is outside of the namespace."""
        if not self._fitting(scope):
            return f"{NOT_APPLICABLE}the segment {self.segments[0]} takes no --{scope.kind}"
        if scope.kind is Kind.PATH:
            reasons = {value: _path_refusal(value) for value in scope.values}
            return next((f"--path {path}: {why}" for path, why in reasons.items() if why), "")
        # The memory is of the node's own pools, and a survey names them: no store of others.
        return namespace_refusal(self.namespace, scope, conditions, exclusive=True)

    def clear(self, place: Place, scope: Scope, conditions: Conditions) -> Change:
        """Restart or invalidate OPcache, clear or delete from APCu, and look what is left."""
        done = [
            self._clear_opcode(place, scope, conditions)
            if segment == "opcode"
            else self._clear_user(place, scope, conditions)
            for segment in self._fitting(scope)
        ]
        command = self.clear_command if scope.kind is Kind.EVERYTHING else ()
        return self._then(command, changes.total(done), place, conditions)

    def survey(self, place: Place, scope: Scope, conditions: Conditions) -> Survey:
        """Count the scripts and keys that a clear would touch."""
        steps = [self._counting(segment, scope) for segment in self._fitting(scope)]
        return changes.surveyed(self._hook.ask(place, steps, conditions.deadline))

    def status(self, place: Place, conditions: Conditions) -> Status:
        """Tell how full the segments are and how they fare."""
        steps = [ask_pool(f"{segment}.state") for segment in self.segments]
        return status_of(self._hook.ask(place, steps, conditions.deadline), self.segments)

    def releases(self, place: Place, conditions: Conditions) -> Releases:
        """Count the entries of each release in APCu."""
        counts = census.by_release(
            self._hook.ask(place, [census.asking(self.namespace)], conditions.deadline)
        )
        return Releases(aged_since="written", entries=told(counts, self.namespace))

    def prime(self, places: Sequence[Place], filling: Filling, conditions: Conditions) -> Change:
        """Compile files that are on the node into OPcache, or store records in APCu."""
        (place,) = places
        if filling.kind == "path":
            change = compile_files(self._hook, place, filling, conditions.deadline)
        else:
            storing = Storing(filling, self.namespace, self.overwrite, conditions)
            change = storing.store(self._hook, place)
        return self._then(self.prime_command, change, place, conditions)

    @property
    def _hook(self) -> Hook:
        return Hook(tuple(argv_of((self.php,))), tuple(map(_bare, self.sockets)), self.tmp)

    def _fitting(self, scope: Scope) -> tuple[Segment, ...]:
        return tuple(each for each in self.segments if scope.kind in _TAKES[each])

    def _clear_opcode(self, place: Place, scope: Scope, conditions: Conditions) -> Change:
        if scope.kind is Kind.PATH:
            step, read = ask_pool("opcode.invalidate", **_paths(scope)), changes.invalidated
        elif self.reload_command:
            argv = argv_of(self.reload_command)
            return reload(self._hook, place, argv, conditions.deadline)
        else:
            step, read = Step("reset"), changes.restarted
        return changes.changed(self._hook.ask(place, [step], conditions.deadline), read)

    def _clear_user(self, place: Place, scope: Scope, conditions: Conditions) -> Change:
        selection = self._keys(scope)
        step = ask_pool("user.delete", **selection) if selection else ask_pool("user.clear")
        read = changes.deleted if selection else changes.cleared
        return changes.changed(self._hook.ask(place, [step], conditions.deadline), read)

    def _counting(self, segment: Segment, scope: Scope) -> Step:
        return ask_pool(
            f"{segment}.count", **(_paths(scope) if segment == "opcode" else self._keys(scope))
        )

    def _keys(self, scope: Scope) -> dict[str, list[str]]:
        """Say to the hook which keys are meant; nothing for all that there are."""
        if scope.kind is Kind.EVERYTHING:
            prefix = fixed_part(self.namespace)
            return {"prefixes": [encoded(prefix)]} if prefix else {}
        if scope.kind is Kind.RELEASE:
            releases = (prefix_of(self.namespace, value) for value in scope.values)
            return {"prefixes": [encoded(prefix) for prefix in releases]}
        if scope.kind is Kind.GLOB:
            return {"patterns": [encoded(_pcre(value)) for value in scope.values]}
        name = "keys" if scope.kind is Kind.KEY else "prefixes"
        return {name: [encoded(value) for value in scope.values]}

    def _then(
        self, command: Sequence[str], change: Change, place: Place, conditions: Conditions
    ) -> Change:
        """Run a command of the user's after what was done, and add what it said."""
        if not command:
            return change
        said = run(place, [*argv_of((self.php,)), *argv_of(command)], conditions.deadline)
        return replace(change, evidence=(*change.evidence, said))


def _paths(scope: Scope) -> dict[str, list[str]]:
    return {"paths": [encoded(value) for value in scope.values]}


def _pcre(glob: str) -> str:
    """Translate a glob for PCRE, where the end as Python writes it lets a newline follow."""
    return rf"^{translate(glob)[:-2]}\z"


def _path_refusal(path: str) -> str:
    if not path.startswith("/") or ".." in path.split("/"):
        return "expected an absolute path without `..`, of a PHP file or a directory"
    return "" if path.strip("/") else "selects every script; use --everything"


def _check_socket(written: str) -> None:
    bare = _bare(written)
    if bare.startswith("/"):
        return
    if parse_address(bare).port is None:
        raise ValueError(f"sockets: {written}: expected a path, a glob, or host:port")


def _bare(socket: str) -> str:
    return socket.removeprefix("unix:")
