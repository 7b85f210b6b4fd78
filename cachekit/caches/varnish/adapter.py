"""The `varnish` cache: clear and status of the Varnish on each node."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from cachekit.caches.base import Change, Conditions, Place, Status, Survey, on_nodes
from cachekit.caches.varnish.asking import Asked, to_pages, to_site
from cachekit.caches.varnish.bans import Headers, Vocabulary, Words, all_but
from cachekit.caches.varnish.calls import Call, Calls, KindName, check_requests
from cachekit.caches.varnish.clearing import marks_of, put_bans
from cachekit.caches.varnish.marks import with_doubt, without_marks
from cachekit.caches.varnish.port import ManagementPort
from cachekit.caches.varnish.presets import PRESETS, PresetName
from cachekit.caches.varnish.purging import probe, send
from cachekit.caches.varnish.state import Counters, cli_status, counted_bans, counters_of, status_of
from cachekit.model import Node, NodeAddress
from cachekit.quantities import OneOrMore
from cachekit.scope import Kind, Scope
from cachekit.transports import why_unreachable


@dataclass(frozen=True, kw_only=True)
class Varnish:
    """The Varnish on each node of `on`, cleared through its management port or by HTTP.

    `cli` is the management port, `127.0.0.1:6082` being the node's own and `{address}:6082` the one
    at the node's address; `secret_file` lies on the node, or here with `secret_here`. Without
    `cli` the node is asked by HTTP: `preset` names what its VCL takes, `requests` tells of others,
    `soft` lets pages expire where that is possible. `headers` and `match` say how objects are told
    apart, `tag_separators` what stands between tags. With `spare_live`, everything means everything
    but pages of the live release. `instance` is varnishd's -n, for its counters.
    """

    scopes: ClassVar[frozenset[Kind]] = frozenset(
        {Kind.EVERYTHING, Kind.RELEASE, Kind.TAG, Kind.URL, Kind.URL_PREFIX, Kind.URL_REGEX}
    )
    layer: ClassVar[int] = 50

    on: OneOrMore[str]
    cli: NodeAddress | None = None
    secret_file: Path | None = None
    secret_here: bool = False
    preset: PresetName = "cachekit"
    requests: Mapping[KindName, Call] = field(default_factory=dict)
    soft: bool = False
    match: Literal["object", "request"] = "object"
    headers: Headers = field(default_factory=Headers)
    tag_separators: str | None = None
    spare_live: bool = False
    instance: str | None = None

    def __post_init__(self) -> None:
        if self.cli is None:
            self._check_http()
        else:
            self._check_cli(self.cli.port)
        if self.tag_separators == "":
            raise ValueError("tag_separators: expected at least one character")

    def places(self, nodes: Mapping[str, Node]) -> tuple[Place, ...]:
        """Give each node."""
        port = self._port
        return on_nodes(self.on, nodes, by_transport=port is not None and port.needs_transport)

    def refusal(self, scope: Scope, conditions: Conditions) -> str:
        """Refuse what the VCL does not take, what cannot be said, and a release that is kept."""
        if self.cli is None and scope.kind not in self._calls:
            able = ", ".join(f"--{kind}" for kind in self._calls)
            return (
                f"its preset {self.preset} takes no --{scope.kind}, but {able}; `requests:` adds"
                " what its VCL takes besides, and `cli:` takes all"
            )
        if scope.kind is Kind.RELEASE and (kept := conditions.kept_refusal(scope.values)):
            return kept
        if self._spares(scope, conditions) and not conditions.release:
            return "`spare_live` needs the live release; set `release:` or --live"
        try:
            list(self._bans(scope, conditions) if self.cli else self._asked(scope, conditions))
        except ValueError as error:
            return str(error)
        return ""

    def clear(self, place: Place, scope: Scope, conditions: Conditions) -> Change:
        """Ban or purge what the scope selects; Varnish's own words are the proof."""
        marks = self._marks(scope)
        if port := self._port:
            with closing(port.open(place, conditions.deadline)) as cli:
                change = put_bans(cli, list(self._bans(scope, conditions)))
                found = marks_of(cli) if marks else None
        else:
            call, asked = self._calls[scope.kind], list(self._asked(scope, conditions))
            change, found = send(place, call, asked, conditions.site, conditions.deadline)
        change = change if found is None else without_marks(change, marks, found)
        return with_doubt(change, self._of_application(scope))

    def survey(self, place: Place, scope: Scope, conditions: Conditions) -> Survey:
        """Tell whether a clear would work; what it would take cannot be counted."""
        return Survey(warnings=self._look(place, {}, conditions).hazards)

    def status(self, place: Place, conditions: Conditions) -> Status:
        """Tell version, objects, hits and bans, as far as the node's ways lead to them."""
        can_run = place.node is not None and not why_unreachable(place.node)
        counters = counters_of(place, self.instance, conditions.deadline) if can_run else {}
        return self._look(place, counters, conditions)

    def _look(self, place: Place, counters: Counters, conditions: Conditions) -> Status:
        if port := self._port:
            with closing(port.open(place, conditions.deadline)) as cli:
                return cli_status(cli, counters)
        hazards = list(probe(place, self._calls, conditions.site, conditions.deadline))
        if bans := counted_bans(counters):
            hazards += bans.warnings
        return status_of(counters, details={"vcl": self.preset}, hazards=tuple(hazards))

    @property
    def _port(self) -> ManagementPort | None:
        if self.cli is None:
            return None
        return ManagementPort(
            address=self.cli, secret_file=self.secret_file, secret_here=self.secret_here
        )

    @property
    def _calls(self) -> Calls:
        preset = PRESETS[self.preset]
        added = {str(kind): call for kind, call in self.requests.items()}
        return {**preset.calls, **(preset.soft if self.soft else {}), **added}

    @property
    def _vocabulary(self) -> Vocabulary:
        separators = self.tag_separators or PRESETS[self.preset].separators
        return Vocabulary(headers=self.headers, separators=separators, match=self.match)

    def _marks(self, scope: Scope) -> tuple[str, ...]:
        """Name the headers that a VCL must add for a scope; others come from the application."""
        by_page = scope.kind in (Kind.URL, Kind.URL_PREFIX, Kind.URL_REGEX)
        headers = (self.headers.url, self.headers.host)
        return headers if by_page and self.match == "object" else ()

    def _of_application(self, scope: Scope) -> str:
        """Name the header of a scope that the application sends, where cachekit writes the ban."""
        if self.cli is None and "ban" not in self._calls[scope.kind].placeholders:
            return ""
        headers = {Kind.TAG: self.headers.tags, Kind.RELEASE: self.headers.release}
        return headers.get(scope.kind, "")

    def _spares(self, scope: Scope, conditions: Conditions) -> bool:
        takes_all = conditions.force or conditions.live_is_stale
        return self.spare_live and scope.kind is Kind.EVERYTHING and not takes_all

    def _words(self, scope: Scope, conditions: Conditions) -> Iterable[Words]:
        if self._spares(scope, conditions):
            return [all_but(conditions.release)]
        return self._vocabulary.words(scope, conditions.site)

    def _bans(self, scope: Scope, conditions: Conditions) -> Iterator[str]:
        return map(self._vocabulary.ban, self._words(scope, conditions))

    def _asked(self, scope: Scope, conditions: Conditions) -> Iterator[Asked]:
        """Say what to ask of the VCL. Raises ValueError."""
        call, site = self._calls[scope.kind], conditions.site
        if call.to_page:
            return to_pages(call, scope, site)
        return to_site(call, scope, site, self._words(scope, conditions), self._vocabulary)

    def _check_cli(self, port: int | None) -> None:
        if port is None:
            raise ValueError("cli: expected host:port, such as 127.0.0.1:6082")
        if self.preset != "cachekit" or self.requests or self.soft:
            raise ValueError("preset, requests and soft are for HTTP; leave them out, or `cli`")
        at_node = self.secret_file is not None and not self.secret_here
        if at_node and not str(self.secret_file).startswith("/"):
            raise ValueError("secret_file: expected an absolute path on the node")

    def _check_http(self) -> None:
        if self.secret_file is not None:
            raise ValueError("secret_file belongs to `cli`, which is missing")
        check_requests(self.requests)
        preset = PRESETS[self.preset]
        if self.soft and not preset.soft:
            raise ValueError(f"soft: the preset {self.preset} knows no way to let pages expire")
        everything = self._calls.get(Kind.EVERYTHING)
        if self.spare_live and (everything is None or "ban" not in everything.placeholders):
            raise ValueError(f"spare_live: the preset {self.preset} cannot leave a release out")
