"""What a run would ask: nodes, variants and the collected URLs. Nothing has been warmed yet."""

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TypeVar

from cachekit.errors import ConfigError, Problem
from cachekit.model import PLAIN, Node, Site, Traits, Variant, shown, shown_url
from cachekit.replay import Terms, place_of, public_route, route_to
from cachekit.results import PlanFacts
from cachekit.settings import Settings, WarmList, WarmSettings
from cachekit.sources.base import Surroundings
from cachekit.warming.collect import UrlSet, collect, stream
from cachekit.warming.fetch import Fetch
from cachekit.warming.soundness import refuse_unsound
from cachekit.warming.stop import Stop

_EXAMPLES = 10
_Named = TypeVar("_Named")

DEFAULT_HEADERS = {
    "User-Agent": "Mozilla/5.0 (compatible; cachekit)",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    # The very bytes that browsers send: nginx compares Vary: Accept-Encoding as a raw string.
    "Accept-Encoding": "gzip, deflate, br, zstd",
}
"""Sent with every request unless `warm.headers`, a variant or a list says otherwise."""


@dataclass(frozen=True, kw_only=True)
class WarmPlan:
    """The whole of what will be asked, in order; `targets` = URLs x variants x nodes."""

    settings: Settings
    site: Site
    nodes: tuple[Node, ...]
    variants: tuple[Variant, ...]
    lists: Mapping[str, WarmList]
    urls: UrlSet
    per_node: int
    required: int

    @property
    def targets(self) -> int:
        """How many targets there are on all nodes."""
        return self.per_node * len(self.nodes)

    @property
    def key(self) -> str:
        """Tell runs apart that cannot be resumed by one another: asked or judged otherwise.

        What lists and URLs say of it is in the digest of the URLs.
        """
        warm = self.settings.warm
        facts = [
            repr((sorted(warm.headers.items()), warm.expect, warm.verdicts, warm.follow)),
            str(self.site),
            sorted((node.name, str(node.address)) for node in self.nodes),
            sorted((name, warm_list.source.describe()) for name, warm_list in self.lists.items()),
            [
                (v.name, sorted(v.headers) if v.personal else sorted(v.headers.items()))
                for v in self.variants
            ],
        ]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    @property
    def facts(self) -> PlanFacts:
        """Write the plan for people."""
        return PlanFacts(
            site=str(self.site),
            nodes={node.name: str(node.address) for node in self.nodes},
            variants=tuple(variant.name for variant in self.variants if variant.name),
            lists={name: shown(item.source.describe()) for name, item in self.lists.items()},
            urls=len(self.urls),
            targets=self.targets,
            verify=self.settings.warm.verify,
            cuts=dict(self.urls.cuts),
            warnings=self.warnings,
            examples=tuple(shown_url(url) for url, _ in islice(self.urls, _EXAMPLES)),
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """Say loudly what makes this run prove less than it seems to."""
        found = []
        if not self.settings.warm.tls.verify:
            found.append(
                "TLS certificates are NOT verified: a wrong or old certificate goes unseen"
            )
        return tuple(found)


def plan_warm(  # noqa: PLR0913 - what can be chosen of the settings
    settings: Settings,
    *,
    nodes: Sequence[Node] | None = None,
    lists: Sequence[str] | None = None,
    variants: Sequence[str] | None = None,
    spool: Path | None = None,
    stdin: BinaryIO | None = None,
    stop: Stop | None = None,
) -> WarmPlan:
    """Collect the URLs and cross them with nodes and variants; `None` means all in the settings.

    Reads lists and fetches sitemaps, and asks no page. `spool` is where `stream` keeps its URLs,
    `stop` ends fetches when the budget is spent. Raises ConfigError and SourceError.
    """
    chosen_nodes = tuple(settings.nodes.values() if nodes is None else nodes)
    chosen_lists = _chosen(settings.warmlists, lists, "list")
    refuse_unsound(settings, chosen_lists)
    site = Site(settings.site, tuple(settings.allow_hosts))
    if not chosen_nodes:
        raise ConfigError("no nodes: name some under `nodes:` or with --node")
    if not chosen_lists:
        raise ConfigError(
            "no list of URLs: name some under `warmlists:` or with --url, --list, --sitemap"
        )
    refuse_twins(chosen_nodes, site)
    chosen_variants = tuple(_chosen(settings.warm.variants, variants, "variant").values())
    surroundings = Surroundings(
        site=site,
        fetch=_fetch(settings, site, chosen_nodes, stop or Stop(settings.warm.budget)),
        stdin=stdin or _standard_input(),
    )
    urls = _collect(settings.warm, chosen_lists, surroundings, spool)
    every = chosen_variants or (Variant(name=""),)
    counted = [(t, count * len(applicable(every, t))) for t, count in urls.kinds()]
    return WarmPlan(
        settings=settings,
        site=site,
        nodes=chosen_nodes,
        variants=every,
        lists=chosen_lists,
        urls=urls,
        per_node=sum(count for _, count in counted),
        required=sum(count for traits, count in counted if traits.required),
    )


def refuse_twins(nodes: Sequence[Node], site: Site) -> None:
    """Raise ConfigError for nodes that are one place under several names: it would be asked twice.

    Names are not resolved: a host by name and by address are two places.
    """
    names: dict[str, list[str]] = {}
    for node in nodes:
        names.setdefault(place_of(node, site), []).append(node.name)
    twins = [
        Problem("nodes", f"{' and '.join(same)} are one place, {place}; name it once")
        for place, same in names.items()
        if len(same) > 1
    ]
    if twins:
        raise ConfigError(twins)


def applicable(variants: Sequence[Variant], traits: Traits) -> list[Variant]:
    """Give the variants a URL is asked under."""
    named = traits.variants
    return [variant for variant in variants if named is None or variant.name in named]


def header_lines(settings: Settings, variant: Variant, traits: Traits) -> list[str]:
    """Merge the headers of all levels, the narrowest last; an empty value leaves a header out."""
    merged: dict[str, tuple[str, str]] = {}
    for level in (DEFAULT_HEADERS, settings.warm.headers, variant.headers, traits.headers):
        merged |= {name.lower(): (name, value) for name, value in level.items()}
    return [f"{name}: {value}" if value else f"{name}:" for name, value in merged.values()]


def terms_of(settings: Settings) -> Terms:
    """Give deadlines, caps and trust in the replay's own terms."""
    warm, tls = settings.warm, settings.warm.tls
    return Terms(
        connect_timeout=warm.connect_timeout,
        first_byte_timeout=warm.first_byte_timeout,
        timeout=warm.timeout,
        max_body=warm.max_body,
        verify=tls.verify,
        ca_file=tls.ca_file,
        client_certificate=tls.client_certificate,
        client_key=tls.client_key,
        http2=warm.http2,
    )


def _standard_input() -> BinaryIO:
    # A daemon may have none.
    return sys.stdin.buffer if sys.stdin is not None else BytesIO()


def _chosen(
    available: Mapping[str, _Named], names: Sequence[str] | None, what: str
) -> dict[str, _Named]:
    if names is None:
        return dict(available)
    unknown = [name for name in names if name not in available]
    if unknown:
        have = ", ".join(available) or "none"
        raise ConfigError(
            f"no {what} named {', '.join(unknown)} in the settings; there are: {have}"
        )
    return {name: available[name] for name in names}


def _fetch(settings: Settings, site: Site, nodes: Sequence[Node], stop: Stop) -> Fetch:
    if settings.warm.public_sitemap:
        routes = {"from the public site": public_route()}
    else:
        routes = {f"through node {node.name}": route_to(node, site) for node in nodes}
    # Only gzip: sitemaps are decoded here, and every server has it.
    plain = Variant(name="", headers={"Accept-Encoding": "gzip"})
    return Fetch(
        routes=routes,
        site=site,
        terms=terms_of(settings),
        headers=header_lines(settings, plain, PLAIN),
        retries=settings.warm.retries,
        stop=stop,
    )


def _collect(
    warm: WarmSettings,
    lists: Mapping[str, WarmList],
    surroundings: Surroundings,
    spool: Path | None,
) -> UrlSet:
    if warm.stream:
        if spool is None:
            raise ConfigError("a streamed run needs a place to keep its URLs: give `spool`")
        return stream(
            lists,
            surroundings,
            spool,
            include=warm.include,
            exclude=warm.exclude,
            limit=warm.limit,
            gate_required=warm.gate.required,
        )
    return collect(
        lists,
        surroundings,
        include=warm.include,
        exclude=warm.exclude,
        limit=warm.limit,
        order=warm.order,
        gate_required=warm.gate.required,
    )
