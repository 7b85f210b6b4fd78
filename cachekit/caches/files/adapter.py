"""File caches on nodes: templates and objects of an application, pages of nginx."""

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit

from cachekit.caches.base import (
    Change,
    Conditions,
    Filling,
    Place,
    Status,
    Survey,
    on_nodes,
)
from cachekit.caches.files import answers, patterns
from cachekit.caches.files.agent.roots import system_reason
from cachekit.caches.files.call import ask
from cachekit.caches.pages import absolute, check_regex
from cachekit.caches.releases import Releases
from cachekit.errors import RefusedError
from cachekit.model import Node
from cachekit.quantities import OneOrMore, Share
from cachekit.scope import Kind, Scope

_RELEASE = "{release}"
_PLAIN = frozenset({Kind.EVERYTHING, Kind.RELEASE, Kind.PATH, Kind.GLOB, Kind.OLDER_THAN})
_BY_URL = frozenset({Kind.URL, Kind.URL_PREFIX, Kind.URL_REGEX})
_BY_KEY = _BY_URL | {Kind.KEY, Kind.PREFIX}
# What may empty the directory of a release, unlike a path or an age.
_WHOLE = frozenset({Kind.EVERYTHING, Kind.RELEASE, Kind.PREFIX, Kind.GLOB})
_SAFE_RELEASE = re.compile(r"(?!\.{1,2}$)[^/\x00-\x1f\x7f]+")


@dataclass(frozen=True, kw_only=True)
class Files:
    """One directory of cache files on each node of `on`.

    It must hold a file `.cachekit`, or `adopt` must be true; `owner` is who must own it. `path`
    may contain `{release}`. `shared` is a tree that all nodes see (NFS): the first of them clears
    it. `opcache` names the apc cache that holds bytecode of these files. With `format: nginx` it
    is a proxy_cache_path or fastcgi_cache_path, whose key may be told by `key`, such as
    `{scheme}{method}{host}{uri}`. Prime keeps the last `keep` trees for a rollback.
    """

    prime_from: ClassVar[frozenset[str]] = frozenset({"path", "command"})
    sharded: ClassVar[bool] = False

    on: OneOrMore[str]
    path: Path
    adopt: bool = False
    shared: bool = False
    owner: str | None = None
    format: Literal["plain", "nginx"] = "plain"
    key: str | None = None
    opcache: str | None = None
    keep: int = 1
    max_keys: int | None = None
    max_share: Share | None = None

    def __post_init__(self) -> None:
        if reason := system_reason(str(self.path)):
            raise ValueError(f"path {self.path}: {reason}")
        for name, number in (("keep", self.keep), ("max_keys", self.max_keys)):
            if number is not None and number < 0:
                raise ValueError(f"{name}: expected 0 or more")
        if self.key is not None and (self.format != "nginx" or self.key.count("{uri}") != 1):
            raise ValueError("key: expected a template with one {uri}, and `format: nginx`")
        if self.opcache is not None and self.format == "nginx":
            raise ValueError("opcache: nginx keeps no PHP files")

    @property
    def scopes(self) -> frozenset[Kind]:
        """By key and URL only where nginx has written them, by release where the path tells it."""
        kinds = _PLAIN | _BY_KEY if self.format == "nginx" else _PLAIN
        return kinds if self.per_release else kinds - {Kind.RELEASE}

    @property
    def per_release(self) -> bool:
        """Whether each release has a directory of its own."""
        return _RELEASE in str(self.path)

    @property
    def layer(self) -> int:
        """Pages of nginx lie outside of the data that they are made of."""
        return 40 if self.format == "nginx" else 10

    def places(self, nodes: Mapping[str, Node]) -> tuple[Place, ...]:
        """Give each node; of a shared tree the first, which acts for all."""
        places = on_nodes(self.on, nodes)
        if not self.shared:
            return places
        names = tuple(place.name for place in places)
        return tuple(replace(place, shared_by=names) for place in places[:1])

    def refusal(self, scope: Scope, conditions: Conditions) -> str:
        """Refuse what does not fit the format, leads out of the directory, or is a kept release."""
        try:
            self._roots(scope, conditions)
            self._selection(scope, conditions)
        except ValueError as error:
            return str(error)
        if self.per_release and scope.kind in _WHOLE:
            return conditions.kept_refusal(self._releases(scope, conditions))
        return ""

    def clear(self, place: Place, scope: Scope, conditions: Conditions) -> Change:
        """Remove files; everything by putting an empty tree in the place of the old one."""
        changes = [
            answers.change(self._ask("clear", place, scope, root, conditions))
            for root in self._roots(scope, conditions)
        ]
        return answers.total(changes)

    def survey(self, place: Place, scope: Scope, conditions: Conditions) -> Survey:
        """Count files and bytes that are meant."""
        surveys = [
            answers.survey(self._ask("survey", place, scope, root, conditions))
            for root in self._roots(scope, conditions)
        ]
        return answers.total_survey(surveys)

    def status(self, place: Place, conditions: Conditions) -> Status:
        """Tell number, size and age of the files, leftovers of crashes, and room on the disk."""
        job = self._job("status", self._live_root(place, conditions))
        answer = self._checked(place, ask(place, job, conditions.deadline))
        return answers.status(answer, adopted=self.adopt, has_opcache=self.opcache is not None)

    def releases(self, place: Place, conditions: Conditions) -> Releases:
        """Count the files in the directory of each release."""
        job = self._job("releases", str(self.path))
        return answers.releases(ask(place, job, conditions.deadline))

    def prime(self, places: Sequence[Place], filling: Filling, conditions: Conditions) -> Change:
        """Build a tree beside the old one, verify it, and put it in its place.

        `path` is a directory or a tar archive on the node, or a tree kept for a rollback; `command`
        is run there and fills the directory that CACHEKIT_DIR names.
        """
        (place,) = places
        job = self._job("prime", self._live_root(place, conditions)) | {"keep": self.keep}
        if filling.kind == "command":
            job["command"] = _argv(place, filling.value)
        elif filling.value.startswith("/"):
            job["source"] = filling.value
        else:
            raise RefusedError(place.name, f"{filling}: expected an absolute path on the node")
        answer = ask(place, job, conditions.deadline)
        if "missing" in answer:
            raise RefusedError(place.name, f"{answer['missing']}; make it, or correct `path`")
        return answers.primed(answer)

    def implied(self, scope: Scope) -> Mapping[str, Scope]:
        """Name the bytecode of the files that go; of all releases, if the one is not known."""
        if self.opcache is None:
            return {}
        root = str(self.path)
        if scope.kind is Kind.RELEASE:
            paths = tuple(self._root(each) for each in scope.values)
        elif self.per_release:
            paths = (root.partition(_RELEASE)[0].rpartition("/")[0],)
        elif self.shared:
            # PHP knows scripts by the tree beside it that the link leads to.
            paths = (root.rpartition("/")[0],)
        elif scope.kind is Kind.PATH:
            paths = tuple(f"{root}/{patterns.below(each, root)}" for each in scope.values)
        else:
            paths = (root,)
        return {self.opcache: Scope(Kind.PATH, paths)}

    def _ask(
        self, action: str, place: Place, scope: Scope, root: str, conditions: Conditions
    ) -> dict[str, Any]:
        job = self._job(action, root) | self._selection(scope, conditions)
        answer = self._checked(place, ask(place, job, conditions.deadline))
        if scope.kind in _BY_URL and (looks := answer.get("looks")):
            hosts = self._hosts(scope, conditions)
            if not self._holds(place, root, tuple(hosts.values()), looks, conditions):
                return answers.without_hosts(answer, tuple(hosts))
        return answer

    def _hosts(self, scope: Scope, conditions: Conditions) -> dict[str, str]:
        """Name the hosts that are asked for, each with what matches all its keys."""
        values = ("/",) if scope.kind is Kind.URL_REGEX else scope.values
        pages = [absolute(value, conditions.site) for value in values]
        return {urlsplit(page).netloc: patterns.uri_regex(page, self.key) for page in pages}

    def _holds(
        self,
        place: Place,
        root: str,
        match: Sequence[str],
        looks: Sequence[str],
        conditions: Conditions,
    ) -> bool:
        """Whether any key matches: one of the examples, or else of all."""
        if any(re.fullmatch(regex, key, re.DOTALL) for regex in match for key in looks):
            return True
        job = self._job("survey", root) | {"everything": False, "by_key": True, "match": match}
        return bool(ask(place, job, conditions.deadline).get("found"))

    def _checked(self, place: Place, answer: dict[str, Any]) -> dict[str, Any]:
        """Take a directory of a release that is not there for an empty one."""
        if "missing" in answer and not self.per_release:
            raise RefusedError(
                place.name, f"{answer['missing']}; make {self.path} there, or correct `path`"
            )
        return answer

    def _job(self, action: str, root: str) -> dict[str, Any]:
        return {
            "action": action,
            "path": root,
            "adopt": self.adopt,
            "shared": self.shared,
            "owner": self.owner,
        }

    def _roots(self, scope: Scope, conditions: Conditions) -> tuple[str, ...]:
        return tuple(self._root(each) for each in self._releases(scope, conditions))

    def _releases(self, scope: Scope, conditions: Conditions) -> tuple[str, ...]:
        """Name the releases whose directories are meant: without any, that of the live one."""
        return scope.values if scope.kind is Kind.RELEASE else (conditions.release,)

    def _live_root(self, place: Place, conditions: Conditions) -> str:
        try:
            return self._root(conditions.release)
        except ValueError as error:
            raise RefusedError(place.name, str(error)) from error

    def _root(self, release: str) -> str:
        root = str(self.path)
        if not self.per_release:
            return root
        if not release:
            raise ValueError(f"path {root} is that of a release; set `release:`, or give --live")
        if not _SAFE_RELEASE.fullmatch(release):
            raise ValueError(f"release {release!r} is no name of a directory")
        return root.replace(_RELEASE, release)

    def _selection(self, scope: Scope, conditions: Conditions) -> dict[str, Any]:
        """Say to the node which files are meant. Raises ValueError."""
        if scope.kind is Kind.OLDER_THAN:
            return {"everything": False, "older_than": scope.seconds}
        if scope.kind is Kind.URL_REGEX:
            return {"everything": False, "by_key": True} | self._search(scope, conditions.site)
        if regex := self._regexes(conditions).get(scope.kind):
            values = scope.values
            if scope.kind is Kind.PATH:
                root = self._root(conditions.release)
                values = tuple(patterns.below(value, root) for value in values)
            match = [regex(value) for value in values]
            return {"everything": False, "by_key": scope.kind in _BY_KEY, "match": match}
        return {"everything": True}

    def _search(self, scope: Scope, site: str) -> dict[str, Any]:
        """Say which part of a key to search, for what. Raises ValueError."""
        for value in scope.values:
            check_regex(value)
        within = patterns.uri_regex(absolute("/", site), self.key)
        return {"within": within, "search": list(scope.values)}

    def _regexes(self, conditions: Conditions) -> Mapping[Kind, Callable[[str], str]]:
        def url(value: str, *, as_prefix: bool = False) -> str:
            page = absolute(value, conditions.site)
            return patterns.url_regex(page, self.key, as_prefix=as_prefix)

        def url_prefix(value: str) -> str:
            return url(value, as_prefix=True)

        return {
            Kind.PATH: patterns.path_regex,
            Kind.GLOB: patterns.glob_regex,
            Kind.KEY: re.escape,
            Kind.PREFIX: lambda value: f"{re.escape(value)}.*",
            Kind.URL: url,
            Kind.URL_PREFIX: url_prefix,
        }


def _argv(place: Place, command: str) -> list[str]:
    try:
        argv = shlex.split(command)
    except ValueError as error:
        raise RefusedError(place.name, f"command {command}: {error}") from error
    if not argv:
        raise RefusedError(place.name, "the command is empty")
    return argv
