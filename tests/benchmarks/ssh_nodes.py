"""A plan over 100 nodes, each by one call over ssh; all of them well, and one that hangs."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import ceil
from statistics import median

from cachekit.caches.base import Change, Conditions, Place
from cachekit.execution import MAX_WORKERS, Limits, execute
from cachekit.model import Node, parse_address
from cachekit.outcomes import StepOutcome
from cachekit.plan import Selection, plan_clear
from cachekit.scope import EVERYTHING, Scope
from cachekit.settings import Settings
from cachekit.transports.ssh import close_masters
from cachekit.warming.stop import Stop
from tests.benchmarks.harness import Bar, Bench, Miscounted, at_most, print_table
from tests.servers.sshd import SshClient, Sshd
from tests.shelves import CLEARED, Shelf, conditions

TITLE = f"100 ssh nodes, `php -n` on each, {MAX_WORKERS} at once; all sshd share the two cores"

NODES = 100
DEADLINE_SECONDS = 30.0
LONE_CALLS = 5
HUNG = "hung"


def measure(bench: Bench) -> list[Bar]:
    """Compare with a lone call, times the waves that the nodes come in, and one deadline."""
    with _nodes(bench) as names:
        lone, well, with_hung = [], [], []
        for _ in range(bench.rounds):
            lone += [_seconds(names[:1], hung=0) for _ in range(LONE_CALLS)]
            well.append(_seconds(names, hung=0))
            with_hung.append(_seconds([HUNG, *names[1:]], hung=1))
    call, total = median(lone), median(with_hung)
    bound = ceil(NODES / MAX_WORKERS) * call + DEADLINE_SECONDS
    print_table(
        ("", "seconds", "runs"),
        [
            ("a lone call, login included", f"{call:.2f}", _listed(lone)),
            ("100 nodes, all well", f"{median(well):.1f}", _listed(well)),
            ("100 nodes, one hangs", f"{total:.1f}", _listed(with_hung)),
            (f"{ceil(NODES / MAX_WORKERS)} lone calls + the deadline", f"{bound:.1f}", ""),
        ],
    )
    return [at_most("ssh: 100 nodes, one hangs / waves of calls + one deadline", total / bound, 1)]


@contextmanager
def _nodes(bench: Bench) -> Iterator[list[str]]:
    """Name one sshd a hundred times, for as many connections; one more lets nobody through."""
    folder = bench.new_path("-ssh")
    folder.mkdir()
    client = SshClient(folder)
    os.environ.update([client.setting])
    open_wide = ("MaxStartups 500",)
    stuck = (*open_wide, "ForceCommand exec sleep 600")
    with (
        Sshd(client=client, host="127.0.0.2", directives=open_wide) as server,
        Sshd(client=client, host="127.0.0.3", name=HUNG, directives=stuck),
    ):
        names = [f"node{number}" for number in range(NODES)]
        for name in names:
            client.add(name, server.host, server.port)
        yield names
        close_masters()


def _seconds(names: Sequence[str], *, hung: int) -> float:
    close_masters()
    nodes = {
        name: Node(name=name, address=parse_address("10.0.0.1"), groups=("web",), ssh=name)
        for name in names
    }
    settings = Settings(
        site="https://shop.example", nodes=nodes, caches={"views": Shelf(does=_call)}
    )
    given = conditions()
    plan = plan_clear(settings, Selection(), EVERYTHING, given)
    began = time.perf_counter()
    limits = Limits(step_seconds=DEADLINE_SECONDS)
    report = execute(plan, given, limits=limits, stop=Stop(None))
    seconds = time.perf_counter() - began
    failed = [step.reason for step in report.steps if step.outcome is not StepOutcome.DONE]
    if len(failed) != hung:
        raise Miscounted(f"{len(failed)} steps failed: {failed[:3]}")
    return seconds


def _call(place: Place, _: Scope, given: Conditions) -> Change:
    argv, program = ["php", "-n"], b"<?php echo 6 * 7;"
    done = place.transport.run(argv, stdin=program, deadline=given.deadline)
    assert done.stdout == b"42", done
    return CLEARED


def _listed(seconds: Sequence[float]) -> str:
    return ", ".join(f"{each:.1f}" for each in seconds)
