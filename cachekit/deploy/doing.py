"""What steps are done with, and what they come to."""

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from cachekit.caches.base import Conditions
from cachekit.deadline import Deadline, DeadlineError
from cachekit.deploy.journal import RunJournal
from cachekit.deploy.work import Work
from cachekit.errors import CachekitError
from cachekit.events import Listener
from cachekit.execution import MAX_WORKERS
from cachekit.model import Node
from cachekit.runs import RunOutcome
from cachekit.settings import Settings
from cachekit.warming.stop import Stop

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Doing:
    """What steps are done with; `begun` are those that an earlier part of the run had begun."""

    settings: Settings
    facts: Mapping[str, str]
    state_dir: Path
    stop: Stop
    journal: RunJournal
    listeners: Sequence[Listener] = ()
    begun: frozenset[str] = frozenset()
    force: bool = False

    def conditions(self, seconds: float) -> Conditions:
        """Give what holds for actions on caches and nodes."""
        return Conditions(
            deadline=Deadline(seconds),
            state_dir=self.state_dir,
            site=self.settings.site,
            release=self.settings.release,
            previous=self.settings.previous,
            force=self.force,
        )


@dataclass(frozen=True, kw_only=True)
class Done:
    """What a step came to; `lost` are nodes that it failed for, each with the reason."""

    outcome: RunOutcome = RunOutcome.DONE
    reason: str = ""
    lost: Mapping[str, str] = field(default_factory=dict)
    evidence: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    document: Mapping[str, Any] | None = None


def failed(work: Work, reason: str) -> Done:
    """Give what a step came to that failed as a whole."""
    return Done(
        outcome=RunOutcome.FAILED,
        reason=reason,
        lost={node.name: reason for node in work.nodes},
    )


def on_each(nodes: Sequence[Node], do: Callable[[Node], _T]) -> dict[str, _T | str]:
    """Do something on all nodes side by side; a failure is given as its message."""

    def guarded(node: Node) -> _T | str:
        try:
            return do(node)
        except (CachekitError, DeadlineError) as error:
            return str(error).removeprefix("node ").removeprefix(f"{node.name}: ")
        except Exception as error:  # noqa: BLE001 - a bug at one node must not lose the others
            _log.error("node %s", node.name, exc_info=error)
            return f"a bug: {error!r}; please tell its author"

    with ThreadPoolExecutor(max(1, min(MAX_WORKERS, len(nodes)))) as pool:
        found = pool.map(guarded, nodes)
        return {node.name: each for node, each in zip(nodes, found, strict=True)}


def summed_up(found: Mapping[str, tuple[str, ...] | str]) -> Done:
    """Sum up what was done on each node: its evidence, or the text of its failure."""
    lost = {name: each for name, each in found.items() if isinstance(each, str)}
    evidence = tuple(
        f"{name}: {text}" for name, each in found.items() if name not in lost for text in each
    )
    reason = "; ".join(f"{name}: {why}" for name, why in lost.items())
    outcome = RunOutcome.FAILED if lost else RunOutcome.DONE
    return Done(outcome=outcome, reason=reason, lost=lost, evidence=evidence)
