"""Fabric: runs plans of ./cachekit.yaml where `fab` runs; fabfile.py beside it shows how."""

import shlex
from collections.abc import Sequence

from invoke import Exit, run

_MEANS = {
    1: "no-go: a step failed, or the caches are not as they must be",
    2: "the settings or the plan cannot work; nothing was touched",
    3: "degraded or not proven; options=['--soft-fail=3'] accepts that",
    75: "another run holds the lock of this site; deploy again when it is done",
}


def run_plan(
    plan: str,
    *,
    release: str,
    previous: str = "",
    nodes: Sequence[str] = (),
    options: Sequence[str] = (),
) -> None:
    """Run a plan for a release. Ends `fab` with the exit code of cachekit where that is not 0."""
    argv = ["cachekit", "run", plan, *options, "--release", release]
    if previous:
        argv += ["--previous", previous]
    facts = {"CACHEKIT_TOOL": "fabric", "CACHEKIT_NODES": ",".join(nodes)}
    # Not by a connection: it is this machine that knows all nodes.
    done = run(shlex.join(argv), env=facts, warn=True, in_stream=False)
    if done.exited:
        why = _MEANS.get(done.exited, f"ended with {done.exited}")
        raise Exit(f"cachekit {plan}: {why}", code=done.exited)
