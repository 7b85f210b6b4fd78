"""Rolling go-live: nodes go out, are worked on, and come back if they pass; batch by batch.

No node that passed is left out, and none that failed is in, whenever the run is interrupted: each
turn is on record before it is made, and a resumed run goes on from there.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from cachekit.deploy import journal as journals
from cachekit.deploy.compile import compile_batch
from cachekit.deploy.doing import Doing, Done, on_each
from cachekit.deploy.resolve import TURN_SECONDS, names_of
from cachekit.deploy.turns import standing
from cachekit.deploy.work import RollWork, Stage, Work
from cachekit.errors import CachekitError, NodeError
from cachekit.golive.base import GoLive, Standing
from cachekit.model import Node
from cachekit.runs import RunOutcome

_LOOK_SECONDS = 0.2
_OURS = ("going out", "out", "failed", "passed", "going in")
_IN_FLIGHT = ("going out", "out")
_PASSED = ("passed", "going in")


@dataclass
class Roll:
    """One roll; `record` tells what an earlier part of the run did, `part` does one step.

    `lost` are the nodes that stay out, each with the reason; `others` those that somebody else had
    taken out: they are worked on, and left as they were.
    """

    work: RollWork
    doing: Doing
    record: journals.Record
    part: Callable[[Work, Doing], Done]
    lost: dict[str, str] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)
    evidence: list[str] = field(default_factory=list)
    worst: RunOutcome = RunOutcome.DONE

    def run(self) -> Done:
        """Roll over all nodes that are not in after an earlier part of the run."""
        turns = {name: turn for name, (turn, _) in self.record.turns.items()}
        self._put_in([n for n in self.work.nodes if turns.get(n.name) in _PASSED])
        left = [n for n in self.work.nodes if turns.get(n.name) not in ("in", *_PASSED)]
        batch = [node for node in left if turns.get(node.name) in _IN_FLIGHT]
        reason = ""
        while left and not reason:
            batch = batch or left[: self._room()]
            reason = self._why_not(batch, left)
            if not reason:
                left = [node for node in left if node not in batch]
                self._batch(batch)
                self._settle(left)
            batch = []
        return self._done(left, reason)

    @property
    def _actors(self) -> Sequence[GoLive]:
        return tuple(self.work.actors.values())

    def _room(self) -> int:
        """How many more nodes may be out."""
        return min(self.work.batch, self.work.max_out - len(self.lost) - len(self.others))

    def _why_not(self, batch: Sequence[Node], left: Sequence[Node]) -> str:
        """Say why no more nodes go out; "" if they may."""
        if self.doing.stop.reason:
            return self.doing.stop.reason
        if len(self.lost) > self.work.max_failed:
            return f"more failed than max_failed {self.work.max_failed}"
        if not batch:
            return f"{', '.join((*self.lost, *self.others))} are out: max_out {self.work.max_out}"
        rest = [node for node in self.work.nodes if node not in batch]
        if not any(self._is_in(node) for node in rest):
            return f"none of {names_of(rest)} is in: nobody would serve without {names_of(batch)}"
        return ""

    def _is_in(self, node: Node) -> bool:
        conditions = self.doing.conditions(TURN_SECONDS)
        try:
            return standing(node, self._actors, conditions).standing is Standing.IN
        except CachekitError:
            return False

    def _batch(self, nodes: Sequence[Node]) -> None:
        out = self._take_out(nodes)
        at = f"{self.work.id}/{'+'.join(node.name for node in nodes)}"
        touched = False
        for stage in self._stages(at, out) if out else ():
            out = [node for node in out if node.name not in self.lost]
            if not out or self.doing.stop.reason:
                break
            touched = True
            self._stage([work.only({node.name for node in out}) for work in stage])
        else:
            self._pass([node for node in out if node.name not in self.lost])
            return
        self._interrupted([node for node in out if node.name not in self.lost], touched=touched)

    def _stages(self, at: str, nodes: Sequence[Node]) -> list[Stage]:
        return compile_batch(self.doing.settings, self.doing.facts, self.work, at, nodes)

    def _take_out(self, nodes: Sequence[Node]) -> list[Node]:
        found = on_each(nodes, self._out)
        for name, each in found.items():
            if isinstance(each, str):
                self.lost[name] = each
        self._note(found)
        return [node for node in nodes if node.name not in self.lost]

    def _out(self, node: Node) -> tuple[str, ...]:
        conditions = self.doing.conditions(TURN_SECONDS)
        now = standing(node, self._actors, conditions)
        if now.standing is Standing.OUT and not self._is_ours(node):
            self.others.append(node.name)
            return (f"was out, and not by cachekit: left out; {'; '.join(now.evidence)}",)
        try:
            return self.doing.turns.take_out(node, self._actors, conditions)
        except CachekitError as error:
            # Nothing was done to it yet: it is as good as it was.
            self._put_in([node])
            raise NodeError(node.name, f"cannot be taken out: {error}") from error

    def _is_ours(self, node: Node) -> bool:
        turn = journals.last_turn(self.doing.state_dir, self.doing.settings.site, node.name)
        return turn is not None and turn[0] in _OURS

    def _stage(self, works: Sequence[Work]) -> None:
        with ThreadPoolExecutor(max(1, len(works))) as pool:
            for work, done in zip(works, pool.map(self._part, works), strict=True):
                self._judge(work, done)

    def _part(self, work: Work) -> Done:
        return self.part(work, self.doing)

    def _judge(self, work: Work, done: Done) -> None:
        if done.outcome in (RunOutcome.DONE, RunOutcome.SKIPPED):
            return
        if done.outcome is RunOutcome.DEGRADED or work.on_failure == "continue":
            self.worst = max(self.worst, RunOutcome.DEGRADED, key=lambda outcome: outcome.rank)
            return
        # What a stop cut off is no fault of the node: a resumed run goes on with it.
        if self.doing.stop.reason:
            return
        for node in work.nodes:
            if reason := done.lost.get(node.name, "" if done.lost else done.reason):
                self.lost[node.name] = f"{work.title}: {reason}"
                self.doing.turns.failed(node, self.lost[node.name])

    def _pass(self, nodes: Sequence[Node]) -> None:
        for node in nodes:
            if node.name not in self.others:
                self.doing.turns.passed(node)
        self._put_in([node for node in nodes if node.name not in self.others])

    def _interrupted(self, nodes: Sequence[Node], *, touched: bool) -> None:
        if not touched:
            self._put_in(nodes)
            return
        for node in nodes:
            self.lost[node.name] = (
                f"out, and not done with: {self.doing.stop.reason}; `--resume` goes on with it"
            )

    def _put_in(self, nodes: Sequence[Node]) -> None:
        if not nodes:
            return
        conditions = self.doing.conditions(TURN_SECONDS)
        found = on_each(nodes, lambda node: self.doing.turns.put_in(node, self._actors, conditions))
        for name, each in found.items():
            if isinstance(each, str):
                self.lost[name] = f"cannot be put in: {each}"
        self._note(found)

    def _note(self, found: dict[str, tuple[str, ...] | str]) -> None:
        for name, each in found.items():
            self.evidence += [f"{name}: {text}" for text in each if isinstance(each, tuple)]

    def _settle(self, left: Sequence[Node]) -> None:
        end = time.monotonic() + self.work.settle
        while left and not self.doing.stop.reason and (rest := end - time.monotonic()) > 0:
            time.sleep(min(rest, _LOOK_SECONDS))

    def _done(self, left: Sequence[Node], reason: str) -> Done:
        lost = {**self.lost, **{node.name: f"not reached: {reason}" for node in left}}
        told = [f"{name}: {why}" for name, why in self.lost.items()]
        if left:
            told.append(f"{names_of(left)} not reached: {reason}")
        failed = bool(left) or len(self.lost) > self.work.max_failed
        degraded = RunOutcome.DEGRADED if self.lost or self.others else self.worst
        return Done(
            outcome=RunOutcome.FAILED if failed else degraded,
            reason="; ".join(told),
            lost=lost,
            evidence=tuple(self.evidence),
        )
