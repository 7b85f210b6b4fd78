"""What the steps of a run found, brought together for the sections of the page."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from cachekit.reports.found import Found
from cachekit.results import Check, NodeResult, Outcome, ReasonCount, TargetResult, WarmReport
from cachekit.runs import NodeReport, RunReport

_Item = TypeVar("_Item")
_EXAMPLES = 3
_SLOWEST = 5


@dataclass(frozen=True)
class Listed(Generic[_Item]):
    """The first of many, and how many more there are."""

    items: tuple[_Item, ...]
    more: int


def first(items: Sequence[_Item], most: int, *, more: int = 0) -> Listed[_Item]:
    """List so many at most; `more` were left out before."""
    return Listed(tuple(items[:most]), max(0, len(items) - most) + more)


@dataclass(frozen=True)
class Warmed:
    """One node in one warm."""

    step: str
    node: NodeResult
    report: WarmReport

    @property
    def outcome(self) -> Outcome | None:
        """What the gate says of the node alone; None of all nodes together."""
        return self.report.node_outcomes.get(self.node.name)


@dataclass(frozen=True)
class NodeRow:
    """One line about a node; of one that was warmed several times, the first has its standing."""

    name: str
    standing: NodeReport | None
    warmed: Warmed | None
    notes: tuple[str, ...]


def warmed_nodes(found: Iterable[Found]) -> tuple[Warmed, ...]:
    """List every node of every warm, in order."""
    return tuple(
        Warmed(each.step.id, node, each.warm)
        for each in found
        if each.warm is not None
        for node in each.warm.nodes
    )


def all_nodes(found: Iterable[Found]) -> Warmed | None:
    """Give what all nodes came to together, where one warm was for several."""
    warms = [(each.step.id, each.warm) for each in found if each.warm is not None]
    if len(warms) != 1 or len(warms[0][1].nodes) < 2:
        return None
    step, report = warms[0]
    return Warmed(step, replace(report.total, name="all"), report)


def node_rows(run: RunReport, warmed: Sequence[Warmed]) -> tuple[NodeRow, ...]:
    """List the nodes that were warmed or that the run left somewhere."""
    standings = {node.name: node for node in run.nodes}
    names = dict.fromkeys([*standings, *(each.node.name for each in warmed)])
    return tuple(row for name in names for row in _rows_of(name, standings.get(name), run, warmed))


def _rows_of(
    name: str, standing: NodeReport | None, run: RunReport, warmed: Sequence[Warmed]
) -> Iterator[NodeRow]:
    mine: list[Warmed | None] = [each for each in warmed if each.node.name == name]
    notes = tuple(_notes(name, standing.reason if standing else "", run))
    for number, each in enumerate(mine or [None]):
        abandoned = (f"abandoned: {each.node.abandoned}",) if each and each.node.abandoned else ()
        here = (standing, (*notes, *abandoned)) if number == 0 else (None, abandoned)
        yield NodeRow(name, here[0], each, here[1])


def _notes(name: str, said: str, run: RunReport) -> Iterator[str]:
    """Tell each reason why a node was lost once: a roll repeats those of its steps."""
    if said:
        yield said
    for step in run.steps:
        if (why := step.lost.get(name, "")) and why not in said:
            said += f"\n{why}"
            yield f"step {step.id}: {why}"


def checks(found: Iterable[Found]) -> tuple[tuple[str, Check], ...]:
    """List the checks of all gates with the step of each, the worst first."""
    listed = [
        (each.step.id, check)
        for each in found
        if each.warm is not None
        for check in each.warm.checks
    ]
    return tuple(sorted(listed, key=lambda item: -item[1].outcome.rank))


def reasons(found: Iterable[Found]) -> tuple[ReasonCount, ...]:
    """Add up the reasons of all warms: failures first, then by count."""
    added: dict[tuple[str, bool], ReasonCount] = {}
    for each in _warms(found):
        for reason in each.reasons:
            key = reason.code, reason.failure
            added[key] = _added(added[key], reason) if key in added else reason
    return tuple(sorted(added.values(), key=lambda reason: (not reason.failure, -reason.count)))


def _added(one: ReasonCount, other: ReasonCount) -> ReasonCount:
    examples = tuple(dict.fromkeys((*one.examples, *other.examples)))[:_EXAMPLES]
    return replace(one, count=one.count + other.count, examples=examples)


def failures(found: Iterable[Found], most: int) -> Listed[TargetResult]:
    """List failed targets of all warms."""
    warms = list(_warms(found))
    listed = [failure for report in warms for failure in report.failures]
    return first(listed, most, more=sum(report.failures_cut for report in warms))


def slowest(found: Iterable[Found]) -> tuple[TargetResult, ...]:
    """List the slowest answers of all warms."""
    listed = [target for report in _warms(found) for target in report.slowest]
    return tuple(sorted(listed, key=lambda target: -target.seconds)[:_SLOWEST])


def left_out(report: WarmReport) -> Mapping[str, int]:
    """Tell what was left out before asking, the most frequent first."""
    return dict(sorted(report.cuts.items(), key=lambda item: -item[1]))


def _warms(found: Iterable[Found]) -> Iterator[WarmReport]:
    return (each.warm for each in found if each.warm is not None)
