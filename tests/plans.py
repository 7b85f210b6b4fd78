"""Plans, go-live actors and runs in memory, for tests of the runner."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cachekit.caches.base import Conditions
from cachekit.deploy import history
from cachekit.deploy.compile import compile_plan
from cachekit.deploy.runner import run_plan
from cachekit.deploy.work import DeployPlan
from cachekit.events import Event
from cachekit.golive.base import Standing, Turn
from cachekit.model import Node
from cachekit.runs import RunReport
from cachekit.settings import Settings
from cachekit.step_settings import PlanSettings, RollStep, Step, Steps
from cachekit.warming.stop import Stop
from tests import shelves

FACTS = {"release": "r2", "previous": "r1", "environment": "", "tool": "", "rollback": ""}
WEB = tuple(shelves.node(f"web{n}", f"127.0.0.{n}", "web") for n in range(1, 5))


@dataclass(eq=False)
class Switch:
    """An actor that keeps where nodes are, what it was asked, and how many were out at once."""

    out: set[str] = field(default_factory=set)
    stuck: set[str] = field(default_factory=set)
    starts_out: bool = False
    turns: list[str] = field(default_factory=list)
    most_out: int = 0
    lock: Any = field(default_factory=threading.Lock)

    breaks: dict[str, Exception] = field(default_factory=dict)
    when_out: Callable[[], object] = lambda: None

    def refusal(self, nodes: Sequence[Node]) -> str:
        return ""

    def take_out(self, node: Node, conditions: Conditions) -> Turn:
        self._break("take_out")
        with self.lock:
            self.turns.append(f"out {node.name}")
            if node.name not in self.stuck:
                self.out.add(node.name)
            self.most_out = max(self.most_out, len(self.out))
        self.when_out()
        return self.standing(node, conditions)

    def put_in(self, node: Node, conditions: Conditions) -> Turn:
        self._break("put_in")
        with self.lock:
            self.turns.append(f"in {node.name}")
            self.out.discard(node.name)
        return self.standing(node, conditions)

    def standing(self, node: Node, conditions: Conditions) -> Turn:
        self._break("standing")
        found = Standing.OUT if node.name in self.out else Standing.IN
        return Turn(standing=found, evidence=(f"the switch says {found}",))

    def _break(self, what: str) -> None:
        if what in self.breaks:
            raise self.breaks[what]


def stages(*steps: Step | Steps) -> tuple[Steps, ...]:
    return tuple(step if isinstance(step, tuple) else (step,) for step in steps)


def settings(*steps: Step | Steps, **facts: Any) -> Settings:
    """Make settings with the plan `deploy` of these steps; `plan` are its other keys."""
    plan = PlanSettings(steps=stages(*steps), **facts.pop("plan", {}))
    usual: dict[str, Any] = {
        "site": "http://shop.example",
        "release": "r2",
        "previous": "r1",
        "nodes": {node.name: node for node in WEB},
        "caches": {"views": shelves.Shelf(layer=10)},
        "golive": {"lb": Switch()},
        "plans": {"deploy": plan, **facts.pop("plans", {})},
    }
    return Settings(**(usual | facts))


def compiled(*steps: Step | Steps, force: bool = False, **facts: Any) -> DeployPlan:
    return compile_plan(settings(*steps, **facts), "deploy", FACTS, force=force)


def rolling(*steps: Step | Steps, **keys: Any) -> RollStep:
    return RollStep(**{"roll": ("web",), "golive": ("lb",), "steps": stages(*steps), **keys})


def run(
    plan: DeployPlan,
    state_dir: Path,
    *,
    stop: Stop | None = None,
    listener: Any = None,
    force: bool = False,
) -> RunReport:
    listeners = [listener] if listener else []
    return run_plan(plan, state_dir, stop=stop or Stop(None), listeners=listeners, force=force)


def resume(plan: DeployPlan, state_dir: Path) -> RunReport:
    record = history.resumable(state_dir, plan.settings.site, plan.name, "")
    return run_plan(plan, state_dir, stop=Stop(None), resume=record)


def killed(plan: DeployPlan, state_dir: Path, when: Any) -> None:
    """Run a plan up to an event of which `when` is true, and no further, as `kill -9` would."""

    class KilledError(BaseException):
        pass

    def listen(event: Event) -> None:
        if when(event):
            raise KilledError

    try:
        run(plan, state_dir, listener=listen)
    except KilledError:
        return
    raise AssertionError("it went to its end")


def outcomes(report: RunReport) -> dict[str, str]:
    return {step.id: step.outcome.value for step in report.steps}
