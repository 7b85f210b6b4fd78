"""Rolling go-live: nodes go out, are worked on, and come back if they pass; batch by batch.

No node that passed is left out, and none that failed is in, whenever the run is interrupted: each
turn is on record before it is made, and a resumed run goes on from there.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from cachekit.caches.base import Conditions
from cachekit.deploy import history
from cachekit.deploy.compile import compile_batch
from cachekit.deploy.doing import Doing, Done, on_each
from cachekit.deploy.resolve import Surroundings, names_of
from cachekit.deploy.turns import Turns, standing
from cachekit.deploy.work import RollWork, Stage, Work
from cachekit.errors import CachekitError, NodeError
from cachekit.golive.base import Standing, Turn
from cachekit.model import Node
from cachekit.runs import NOT_REACHED, RunOutcome

_LOOK_SECONDS = 0.2
_OURS = ("going out", "out", "failed", "passed", "going in")
_IN_FLIGHT = ("going out", "out")
_PASSED = ("passed", "going in")
_HALF_DONE = ("out", "failed")


@dataclass
class Roll:
    """One roll; `earlier` has the last turns of an earlier part of the run, `part` does one step.

    `lost` are the nodes that failed, `cut` those that a stop left half done, each with the reason;
    `were_out` those that were out when they were reached, `others` those of them that somebody else
    had taken out: they are worked on, and left as they were.
    """

    work: RollWork
    doing: Doing
    earlier: Mapping[str, str]
    part: Callable[[Work, Doing], Done]
    lost: dict[str, str] = field(default_factory=dict)
    cut: dict[str, str] = field(default_factory=dict)
    were_out: set[str] = field(default_factory=set)
    others: set[str] = field(default_factory=set)
    evidence: list[str] = field(default_factory=list)
    worst: RunOutcome = RunOutcome.DONE

    def __post_init__(self) -> None:
        self.doing = replace(self.doing, stop=self.doing.stop.within(self.work.seconds))
        self.actors = tuple(self.work.actors.values())
        self.turns = Turns(self.doing.journal, self.work.id, self.actors)

    def run(self) -> Done:
        """Roll over all nodes that are not in after an earlier part of the run."""
        nodes, earlier = self.work.nodes, self.earlier
        self._put_in([node for node in nodes if earlier.get(node.name) in _PASSED])
        left = [node for node in nodes if earlier.get(node.name) not in ("in", *_PASSED)]
        batch = [node for node in left if earlier.get(node.name) in _IN_FLIGHT]
        reason = ""
        while left and not (reason := self._why_stop()):
            stands = on_each(nodes, self._standing)
            batch = batch or self._next(left, stands)
            if reason := self._why_not(batch, stands):
                break
            left = [node for node in left if node not in batch]
            self._batch(batch)
            self._settle(left)
            batch = []
        return self._done(left, reason)

    def _why_stop(self) -> str:
        if self.doing.stop.reason:
            return self.doing.stop.reason
        if len(self.lost) > self.work.max_failed:
            return f"more failed than max_failed {self.work.max_failed}"
        return ""

    def _next(self, left: Sequence[Node], stands: Mapping[str, Turn | str]) -> list[Node]:
        """Choose the next batch: first those that are out already, which costs nobody anything."""
        idle = [node for node in left if not _is(stands[node.name], Standing.IN)]
        if idle:
            return idle[: self.work.batch]
        out = sum(not _is(each, Standing.IN) for each in stands.values())
        return list(left[: max(0, min(self.work.batch, self.work.max_out - out))])

    def _why_not(self, batch: Sequence[Node], stands: Mapping[str, Turn | str]) -> str:
        """Say why these nodes must not go out; "" if they may."""
        out = [
            f"{name} {_told(each)}" for name, each in stands.items() if not _is(each, Standing.IN)
        ]
        if not batch:
            return f"no more than max_out {self.work.max_out} may be out: {'; '.join(out)}"
        rest = [node for node in self.work.nodes if node not in batch]
        if any(_is(stands[node.name], Standing.IN) for node in rest):
            return ""
        if all(_is(stands[node.name], Standing.OUT) for node in batch):
            return ""  # it can only get better
        return f"nobody would serve without {names_of(batch)}: {'; '.join(out)}"

    def _standing(self, node: Node) -> Turn:
        return standing(node, self.actors, self._conditions())

    def _conditions(self) -> Conditions:
        return self.doing.conditions(self.work.turn)

    def _batch(self, nodes: Sequence[Node]) -> None:
        at = f"{self.work.id}/{'+'.join(node.name for node in nodes)}"
        around = Surroundings(
            settings=self.doing.settings,
            facts=self.doing.facts,
            among=tuple(nodes),
            force=self.doing.force,
        )
        stages = compile_batch(around, self.work, at)
        self._note(on_each(nodes, self._out))
        begun = self._stages(stages, nodes)
        fit = self._fit(nodes)
        if begun == len(stages):
            self._pass(fit)
            return
        untouched = [] if begun else [node for node in fit if self._was_serving(node)]
        self._put_in(untouched)
        self._leave([node for node in fit if node not in untouched])

    def _was_serving(self, node: Node) -> bool:
        return node.name not in self.were_out and self.earlier.get(node.name) not in _HALF_DONE

    def _fit(self, nodes: Sequence[Node]) -> list[Node]:
        return [n for n in nodes if n.name not in self.lost and n.name not in self.cut]

    def _out(self, node: Node) -> tuple[str, ...]:
        now = self._standing(node)
        if now.standing is Standing.OUT:
            self.were_out.add(node.name)
            if not self._is_ours(node):
                self.others.add(node.name)
                self.turns.was_out(node, "somebody else took it out")
                return (f"was out, and not by cachekit: left out; {'; '.join(now.evidence)}",)
        try:
            return self.turns.take_out(node, self._conditions())
        except CachekitError as error:
            # Nothing was done to it yet: it is as good as it was.
            back = "" if node.name in self.were_out else self._back(node)
            raise NodeError(node.name, f"cannot be taken out: {error}{back}") from error

    def _back(self, node: Node) -> str:
        """Put a node back; say so if that fails."""
        try:
            self.turns.put_in(node, self._conditions())
        except CachekitError as error:
            return f"; nor put back: {error}"
        return ""

    def _is_ours(self, node: Node) -> bool:
        turn = history.last_turn(self.doing.state_dir, self.doing.settings.site, node.name)
        return turn is not None and turn[0] in _OURS

    def _stages(self, stages: Sequence[Stage], nodes: Sequence[Node]) -> int:
        """Do stages until a stop, or until no node is left; give how many were begun."""
        for number, stage in enumerate(stages):
            if self.doing.stop.reason or not self._fit(nodes):
                return number
            self._stage(self._narrowed(stage), nodes)
        return len(stages)

    def _narrowed(self, stage: Stage) -> list[Work]:
        """Leave out nodes that have failed, and steps that were for them alone."""
        narrowed = [(work, work.without({*self.lost, *self.cut})) for work in stage]
        return [left for work, left in narrowed if left.nodes or not work.nodes]

    def _stage(self, works: Sequence[Work], nodes: Sequence[Node]) -> None:
        with ThreadPoolExecutor(max(1, len(works))) as pool:
            for work, done in zip(works, pool.map(self._part, works), strict=True):
                self._judge(work, done, self._fit(nodes))

    def _part(self, work: Work) -> Done:
        return self.part(work, self.doing)

    def _judge(self, work: Work, done: Done, nodes: Sequence[Node]) -> None:
        if done.outcome in (RunOutcome.DONE, RunOutcome.SKIPPED):
            return
        if done.outcome is RunOutcome.DEGRADED or work.on_failure == "continue":
            self.worst = max(self.worst, RunOutcome.DEGRADED, key=lambda outcome: outcome.rank)
            return
        # What concerns none of them, such as the release of other nodes, concerns them all.
        own = [node for node in nodes if node in work.nodes] or nodes
        failed = [node for node in own if node.name in done.lost] or own
        if self.doing.stop.reason:
            # What a stop cut off is no fault of the node: a resumed run goes on with it.
            self._leave(failed)
            return
        for node in failed:
            self._fail(node, f"{work.title}: {done.lost.get(node.name, done.reason)}")

    def _fail(self, node: Node, reason: str) -> None:
        self.lost[node.name] = reason
        record = self.turns.was_out if node.name in self.others else self.turns.failed
        record(node, reason)

    def _pass(self, nodes: Sequence[Node]) -> None:
        own = [node for node in nodes if node.name not in self.others]
        for node in own:
            self.turns.passed(node)
        self._put_in(own)

    def _leave(self, nodes: Sequence[Node]) -> None:
        reason = f"out, and not done with: {self.doing.stop.reason}; `--resume` goes on with it"
        for node in nodes:
            self.cut[node.name] = reason
            if node.name not in self.others:
                self.turns.left_out(node, reason)

    def _put_in(self, nodes: Sequence[Node]) -> None:
        found = on_each(nodes, lambda node: self.turns.put_in(node, self._conditions()))
        self._note(found, "cannot be put in: ")

    def _note(self, found: Mapping[str, tuple[str, ...] | str], what: str = "") -> None:
        for name, each in found.items():
            if isinstance(each, str):
                self.lost[name] = f"{what}{each}"
            else:
                self.evidence += [f"{name}: {text}" for text in each]

    def _settle(self, left: Sequence[Node]) -> None:
        end = time.monotonic() + self.work.settle
        while left and not self.doing.stop.reason and (rest := end - time.monotonic()) > 0:
            time.sleep(min(rest, _LOOK_SECONDS))

    def _done(self, left: Sequence[Node], reason: str) -> Done:
        out = {**self.lost, **self.cut}
        told = [f"{name}: {why}" for name, why in out.items()]
        if left:
            told.append(f"{names_of(left)} not reached: {reason}")
        failed = bool(left or self.cut) or len(self.lost) > self.work.max_failed
        degraded = RunOutcome.DEGRADED if self.lost or self.others else self.worst
        return Done(
            outcome=RunOutcome.FAILED if failed else degraded,
            reason="; ".join(told),
            lost={**out, **{node.name: f"{NOT_REACHED}{reason}" for node in left}},
            evidence=tuple(self.evidence),
        )


def _is(found: Turn | str, wanted: Standing) -> bool:
    return isinstance(found, Turn) and found.standing is wanted


def _told(found: Turn | str) -> str:
    if isinstance(found, str):
        return f"is unknown: {found}"
    said = "; ".join(found.evidence or found.warnings)
    return f"is {found.standing}: {said}" if said else f"is {found.standing}"
