"""What happened, as past-tense facts for listeners: progress bar, log, journal, tests.

The library never prints.
"""

from collections.abc import Callable
from dataclasses import dataclass

from cachekit.model import Verdict, shown, shown_url
from cachekit.results import PlanFacts, TargetResult
from cachekit.runs import StepReport

FILL = "fill"
VERIFY = "verify"


@dataclass(frozen=True, slots=True)
class RunPlanned:
    """What is about to be asked; `skipped` targets were done by the run that is resumed."""

    plan: PlanFacts
    skipped: int


@dataclass(frozen=True, slots=True)
class PassStarted:
    """A pass over the targets began; `targets` is how many it will ask at most."""

    name: str
    targets: int


@dataclass(frozen=True, slots=True)
class PassFinished:
    """A pass over the targets ended."""

    name: str


@dataclass(frozen=True, slots=True)
class NodeAbandoned:
    """A node failed too often; its remaining targets are not asked."""

    node: str
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """What targets of one pass, node and variant have in common; make one and share it."""

    pass_name: str
    node: str
    variant: str = ""
    counts_for_hit: bool = True
    required: bool = False


@dataclass(slots=True)
class TargetDone:
    """One target got its final answer in one pass. Times are in seconds, `url` is as listed.

    `ok` is whether it met its expectations; `reasons` are codes of `cachekit.warming.reasons`, all
    that apply: of the failure if not ok, else of not being a hit. `head` is the header block that
    came last, for listeners that read more of it; it is not recorded.
    """

    asked: Asked
    ordinal: int
    url: bytes
    ok: bool
    verdict: Verdict
    status: int
    seconds: float
    retries: int
    reasons: tuple[str, ...]
    detail: str
    head: bytes = b""

    @property
    def pass_name(self) -> str:
        """FILL or VERIFY."""
        return self.asked.pass_name

    @property
    def node(self) -> str:
        """The name of the node."""
        return self.asked.node

    @property
    def variant(self) -> str:
        """The name of the variant, empty if there are none."""
        return self.asked.variant

    def result(self) -> TargetResult:
        """Write the target for reports: nothing secret, nothing that acts on a terminal."""
        return TargetResult(
            url=shown_url(self.url),
            node=self.node,
            variant=self.variant,
            pass_name=self.pass_name,
            verdict=self.verdict.value,
            status=self.status,
            seconds=round(self.seconds, 6),
            retries=self.retries,
            reasons=self.reasons,
            detail=shown(self.detail),
        )


@dataclass(frozen=True, slots=True)
class StepStarted:
    """A step of a plan began."""

    id: str
    title: str


@dataclass(frozen=True, slots=True)
class StepEnded:
    """A step of a plan ended, or was left out."""

    step: StepReport


Event = (
    StepStarted | StepEnded | RunPlanned | PassStarted | PassFinished | NodeAbandoned | TargetDone
)
Listener = Callable[[Event], None]
