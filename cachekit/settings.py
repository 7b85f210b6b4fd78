"""Settings as plain frozen dataclasses: the field names are the keys of cachekit.yaml.

`config/` reads the file.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal

from cachekit.caches.base import Cache
from cachekit.golive.base import GoLive
from cachekit.invalidation_settings import Invalidation
from cachekit.model import Expect, Node, Variant, Verdict
from cachekit.quantities import Bytes, OneOrMore, Seconds, Share, Written
from cachekit.sources.base import Source
from cachekit.step_settings import PlanSettings, ReleaseCheck
from cachekit.thresholds import Gate, Verify

MAX_IN_FLIGHT = 400
"""More sockets at once would give libcurl's select() descriptors over 1024, where it stalls."""

Order = Literal["file", "priority", "lastmod"]


@dataclass(frozen=True, kw_only=True)
class VerdictRule:
    """A site's own sign of a hit.

    Where `header` matches the regular expression, the verdict is this.
    """

    header: str
    matches: str
    verdict: Verdict
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Tls:
    """How a node's certificate is checked.

    Against the public name, by the system's CA bundle unless `ca_file`.
    """

    verify: bool = True
    ca_file: Path | None = None
    client_certificate: Path | None = None
    client_key: Path | None = None


def parse_concurrency(written: object) -> int | Literal["auto"]:
    """Read `auto` or a whole number from 1 to MAX_IN_FLIGHT. Raises ValueError."""
    if written == "auto":
        return "auto"
    text = str(written)
    if not isinstance(written, bool) and text.isdecimal() and 1 <= int(text) <= MAX_IN_FLIGHT:
        return int(text)
    raise ValueError(f"expected auto or a number from 1 to {MAX_IN_FLIGHT}")


Concurrency = Annotated[int | Literal["auto"], Written(parse_concurrency, r"^(auto|\d+)$", "auto")]


@dataclass(frozen=True, kw_only=True)
class WarmList:
    """One list of URLs with what all of them have in common.

    In YAML, the keys of `source` stand beside these.
    """

    source: Source
    include: OneOrMore[str] = ()
    exclude: OneOrMore[str] = ()
    limit: int | None = None
    required: bool = False
    cacheable: bool = True
    variants: OneOrMore[str] | None = None
    expect: Expect | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    personal: bool = False


@dataclass(frozen=True, kw_only=True)
class WarmSettings:
    """How URLs are warmed; every key has a safe default.

    `concurrency` and `rate` (requests a second) hold for each node, `max_in_flight` and `max_rate`
    for the whole run. `max_error_rate` is the share of failed targets above which a node is
    abandoned. `budget` ends the whole run.
    """

    headers: Mapping[str, str] = field(default_factory=dict)
    variants: Mapping[str, Variant] = field(default_factory=dict)
    expect: Expect = field(default_factory=Expect)
    concurrency: Concurrency = "auto"
    max_in_flight: int = 64
    rate: float | None = None
    max_rate: float | None = None
    connect_timeout: Seconds = 5.0
    first_byte_timeout: Seconds = 30.0
    timeout: Seconds = 60.0
    max_body: Bytes = 64 * 1024**2
    retries: int = 2
    max_error_rate: Share = Fraction(1, 2)
    budget: Seconds | None = None
    follow: bool = False
    verify: Verify = Fraction(1)
    verdicts: tuple[VerdictRule, ...] = ()
    gate: Gate = field(default_factory=Gate)
    tls: Tls = field(default_factory=Tls)
    http2: bool = False
    public_sitemap: bool = False
    order: Order = "file"
    include: OneOrMore[str] = ()
    exclude: OneOrMore[str] = ()
    limit: int | None = None
    stream: bool = False


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The whole of cachekit.yaml.

    URLs of hosts other than the site's and `allow_hosts` are dropped. `release` is the id of what
    is live or about to be, `previous` of what is kept for rollback.
    """

    site: str
    allow_hosts: OneOrMore[str] = ()
    state_dir: Path | None = None
    release: str = ""
    previous: str = ""
    nodes: Mapping[str, Node] = field(default_factory=dict)
    caches: Mapping[str, Cache] = field(default_factory=dict)
    warmlists: Mapping[str, WarmList] = field(default_factory=dict)
    warm: WarmSettings = field(default_factory=WarmSettings)
    golive: Mapping[str, GoLive] = field(default_factory=dict)
    release_check: ReleaseCheck | None = None
    plans: Mapping[str, PlanSettings] = field(default_factory=dict)
    invalidation: Invalidation = field(default_factory=Invalidation)
