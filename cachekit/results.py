"""What a run found, as plain frozen data: reports are made from this and nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction

from cachekit.errors import ExitCode


class Outcome(StrEnum):
    """What the gate says; ordered from best to worst."""

    GO = "go"
    DEGRADED = "degraded"
    NO_GO = "no-go"

    @property
    def exit_code(self) -> ExitCode:
        """What the process tells the deploy tool."""
        return _EXIT_CODES[self]

    @property
    def rank(self) -> int:
        """0 is best."""
        return tuple(Outcome).index(self)


_EXIT_CODES = {
    Outcome.GO: ExitCode.OK,
    Outcome.DEGRADED: ExitCode.DEGRADED,
    Outcome.NO_GO: ExitCode.FAILED,
}


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Percentiles in seconds, of good answers only; 0 answers have none.

    `curve` has a point (percentile, seconds) at every step that so many answers tell apart, from
    the shortest at 0 to the longest at 100; the steps get finer towards the tail.
    """

    count: int = 0
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    longest: float | None = None
    curve: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, kw_only=True)
class PassResult:
    """One pass over one node (or all): `asked` = `ok` + failed; `verdicts` counts all asked.

    `hits` of `counted` are what the hit rate is made of: personal and `cacheable: false` targets
    are left out.
    """

    asked: int = 0
    ok: int = 0
    retries: int = 0
    hits: int = 0
    counted: int = 0
    verdicts: Mapping[str, int] = field(default_factory=dict)
    latency: Latency = Latency()

    @property
    def hit_share(self) -> Fraction | None:
        """Share of hits; None when nothing was asked that counts."""
        return Fraction(self.hits, self.counted) if self.counted else None


@dataclass(frozen=True, kw_only=True)
class NodeResult:
    """One node: `ok` targets met their expectations in every pass they were asked in."""

    name: str
    address: str
    targets: int
    asked: int
    ok: int
    fill: PassResult
    verify: PassResult
    abandoned: str = ""

    @property
    def ok_share(self) -> Fraction:
        """Share of ok among all targets: one never asked is not ok, and none prove nothing."""
        return Fraction(self.ok, self.targets) if self.targets else Fraction(0)


@dataclass(frozen=True, kw_only=True)
class ReasonCount:
    """A reason that applied to `count` answers; `failure` tells failures from mere non-hits."""

    code: str
    title: str
    advice: str
    failure: bool
    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class TargetResult:
    """One target worth naming: a failure, or one of the slowest. Times in seconds."""

    url: str
    node: str
    variant: str
    pass_name: str
    verdict: str
    status: int
    seconds: float
    retries: int
    reasons: tuple[str, ...]
    detail: str


@dataclass(frozen=True, kw_only=True)
class Check:
    """One threshold of the gate, for the whole run or one node.

    What was found, wanted and concluded.
    """

    name: str
    node: str | None
    outcome: Outcome
    found: str
    wanted: str


@dataclass(frozen=True, kw_only=True)
class Sample:
    """How sure a sampled verify pass is: the hit rate lies in [low, high] with 95 % confidence."""

    share: Fraction
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Renewal:
    """How long pages stay fresh, as the fill pass saw them, and what was renewed; in targets.

    `horizon` is in seconds: `fresh` ones last beyond it, `expiring` ones do not, of `unknown` ones
    it is not told, `missing` ones were in no cache before. Of the expiring ones `renewed` were
    cleared and warmed again; `problems` say why others were not.
    """

    horizon: float
    fresh: int
    expiring: int
    unknown: int
    missing: int
    renewed: int = 0
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class WarmReport:
    """One run of warming, complete. `elapsed` in seconds, `started` in ISO 8601 with zone.

    `run` names the run in the journal, `skipped` counts the targets an earlier part of it had done.
    `verify` is the share of targets that were to be verified, 0 if none. `node_outcomes` is what
    the gate says of each node alone.
    """

    site: str
    outcome: Outcome
    exit_code: int
    started: str
    elapsed: float
    ended_early: str
    run: str
    skipped: int
    urls: int
    variants: tuple[str, ...]
    targets: int
    cuts: Mapping[str, int]
    warnings: tuple[str, ...]
    nodes: tuple[NodeResult, ...]
    total: NodeResult
    verify: Fraction
    sample: Sample | None
    checks: tuple[Check, ...]
    node_outcomes: Mapping[str, Outcome]
    reasons: tuple[ReasonCount, ...]
    failures: tuple[TargetResult, ...]
    failures_cut: int
    slowest: tuple[TargetResult, ...]
    renewal: Renewal | None = None


@dataclass(frozen=True, kw_only=True)
class PlanFacts:
    """What a run would ask, for people to look at first. `examples` are the first URLs in order."""

    site: str
    nodes: Mapping[str, str]
    variants: tuple[str, ...]
    lists: Mapping[str, str]
    urls: int
    targets: int
    verify: Fraction
    cuts: Mapping[str, int]
    warnings: tuple[str, ...]
    examples: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What one node answered to a first look: `ok` if it serves the site at all."""

    node: str
    address: str
    ok: bool
    found: str
