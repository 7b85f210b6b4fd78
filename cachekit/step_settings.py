"""Plans as they stand in the settings: what each kind of step says, each a plain dataclass.

A step is a mapping with the one key that names its kind (`clear:`, `prime:`, …), beside keys of its
own and those of all steps. In its texts `{release}`, `{previous}` and the other facts of the deploy
stand for what holds for a run.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Literal

from cachekit.quantities import OneOrMore, Seconds, Written, parse_share
from cachekit.scope import Kind
from cachekit.thresholds import Gate, Verify

OnFailure = Literal["stop", "continue", "rollback"]
EVERY = "all"
"""In place of names of caches or lists: all of them."""


def parse_batch(written: object) -> str:
    """Read a number of nodes or a share of them, kept as text. Raises ValueError."""
    text = str(written).strip()
    if not isinstance(written, bool) and text.isdecimal() and int(text) > 0:
        return text
    if text.endswith("%") and 0 < parse_share(text) < 1:
        return text
    raise ValueError("expected a number of nodes, or a share of them such as 25%, never all")


Batch = Annotated[str, Written(parse_batch, r"^(\d+|\d+(\.\d+)?%)$", "25%")]


@dataclass(frozen=True, kw_only=True)
class StepSettings:
    """What all steps may say.

    `on` narrows to nodes and groups. `when` lets the step run only if a text is not empty, or
    `A == B` or `A != B` holds. `on_failure` goes over that of the plan.
    """

    title: str = ""
    on: OneOrMore[str] = ()
    when: str = ""
    deadline: Seconds | None = None
    on_failure: OnFailure | None = None


@dataclass(frozen=True, kw_only=True)
class ClearStep(StepSettings):
    """Clear caches, by name or `all`; everything, unless one kind of scope is given.

    `cache/part` names one part of a cache, such as `code/opcode`.
    """

    clear: OneOrMore[str]
    everything: bool = False
    release: OneOrMore[str] = ()
    key: OneOrMore[str] = ()
    prefix: OneOrMore[str] = ()
    glob: OneOrMore[str] = ()
    tag: OneOrMore[str] = ()
    url: OneOrMore[str] = ()
    url_prefix: OneOrMore[str] = ()
    url_regex: OneOrMore[str] = ()
    path: OneOrMore[str] = ()
    older_than: OneOrMore[str] = ()

    def scopes(self) -> Iterator[tuple[Kind, tuple[str, ...]]]:
        """Give each kind of scope that is written, with its values."""
        for kind in Kind:
            values = getattr(self, kind.name.lower())
            if values:
                yield kind, () if values is True else values


@dataclass(frozen=True, kw_only=True)
class PrimeStep(StepSettings):
    """Prime caches, by name, from `file:`, `donor:`, `command:` or `path:`."""

    prime: OneOrMore[str]
    source: str = field(metadata={"alias": "from"})


@dataclass(frozen=True, kw_only=True)
class WarmStep(StepSettings):
    """Warm lists, by name or `all`, on nodes; what is said here goes over `warm:`.

    With `expiring_within`, pages that would expire within that time are renewed, and only those.
    """

    warm: OneOrMore[str]
    variants: OneOrMore[str] | None = None
    verify: Verify | None = None
    gate: Gate | None = None
    limit: int | None = None
    expiring_within: Seconds | None = None


@dataclass(frozen=True, kw_only=True)
class RunStep(StepSettings):
    """Run a command, one text or a list of words; here, or on each node of `on`."""

    run: OneOrMore[str]


@dataclass(frozen=True, kw_only=True)
class WaitStep(StepSettings):
    """Wait for a time, or for `release`: until all nodes of `on` run it."""

    wait: str


@dataclass(frozen=True, kw_only=True)
class GoLiveStep(StepSettings):
    """Put nodes of `on` in by these actors, then take out those that they stand instead of."""

    golive: OneOrMore[str]
    instead_of: OneOrMore[str] = ()


@dataclass(frozen=True, kw_only=True)
class RollStep(StepSettings):
    """Take nodes out batch by batch, do the steps on them, and put in those that passed.

    `max_out` bounds how many nodes are out at once, those that failed included; `max_failed` is how
    many may fail before the roll stops. `settle` is waited after each batch. `turn` is how
    long it may take to take a node out, or to put one in.
    """

    roll: OneOrMore[str]
    golive: OneOrMore[str]
    steps: "tuple[Steps, ...]"
    batch: Batch = "1"
    max_out: Batch | None = None
    max_failed: int = 0
    settle: Seconds = 0.0
    turn: Seconds = 60.0


Step = ClearStep | PrimeStep | WarmStep | RunStep | WaitStep | GoLiveStep | RollStep
Steps = tuple[Step, ...]
"""A stage: steps that may run side by side."""

KINDS: dict[str, type[Step]] = {
    "clear": ClearStep,
    "prime": PrimeStep,
    "warm": WarmStep,
    "run": RunStep,
    "wait": WaitStep,
    "golive": GoLiveStep,
    "roll": RollStep,
}
"""The key that names a kind of step, in the order in which they are looked for; `roll` has `golive`
as well, so a step with both is a roll."""


@dataclass(frozen=True, kw_only=True)
class PlanSettings:
    """A plan: stages in order; in YAML, a list within the list of steps is a stage of several.

    `last` (in YAML `finally`) runs at the end however it came. `rollback` names the plan that a
    failure with `on_failure: rollback` runs.
    """

    steps: tuple[Steps, ...] = ()
    last: tuple[Steps, ...] = field(default=(), metadata={"alias": "finally"})
    on_failure: OnFailure = "stop"
    rollback: str = "rollback"
    schedule: str = ""
    deadline: Seconds | None = None


@dataclass(frozen=True, kw_only=True)
class ReleaseCheck:
    """How to learn which release a node runs: by one of a header, a file, or a command.

    `on` are the nodes that run the application. `wait` is how long a run waits for the last of them
    before it clears an edge that would refill from old ones.
    """

    on: OneOrMore[str]
    header: str = ""
    url: str = "/"
    file: str = ""
    command: OneOrMore[str] = ()
    wait: Seconds = 30.0
