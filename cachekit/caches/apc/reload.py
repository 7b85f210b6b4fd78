"""A reload of php-fpm in the place of opcache_reset(), seen to have happened."""

import time
from collections.abc import Sequence
from typing import Any

from cachekit.caches.apc import commands
from cachekit.caches.apc.call import Hook, Step, ask_pool
from cachekit.caches.apc.reply import Reply, error_of
from cachekit.caches.base import Change, Place
from cachekit.deadline import Deadline, DeadlineError
from cachekit.errors import CommandError, RefusedError, UnreachableError

_POLL_SECONDS = 0.1
_LOOK_SECONDS = 5.0
_EMPTIED = "the reload emptied APCu as well, of all pools of the master"
_CUT = (
    "{master}: process_control_timeout is 0, so that the reload cut off requests that were running;"
    " set it to some seconds"
)


def reload(hook: Hook, place: Place, argv: Sequence[str], deadline: Deadline) -> Change:
    """Run the command, and wait until every pool has another OPcache. Raises CachekitError."""
    before = hook.ask(place, [ask_pool("opcode.state"), Step("drains")], deadline)
    states, failures = before.read(lambda master: int(master.answers[0]["items"] or 0))
    if not states:
        raise RefusedError(place.name, f"nothing was reloaded: {'; '.join(map(str, failures))}")
    said = commands.run(place, argv, deadline)
    while old := _common(before, _now(hook, place, deadline)):
        try:
            time.sleep(deadline.remaining(_POLL_SECONDS))
        except DeadlineError as error:
            raise RefusedError(
                place.name,
                f"the reload is not seen to have happened: {', '.join(sorted(old))} still has its"
                " old memory, or does not answer; look into the log of php-fpm",
            ) from error
    found = sum(states)
    evidence = (said, f"every pool has new memory: {', '.join(sorted(_generations(before)))}")
    if failures:
        raise error_of(place.name, failures, evidence)
    cut = (
        _CUT.format(master=each)
        for each in before.masters
        if not each.failure and each.answers[1]["drains"] is False
    )
    return Change(found=found, removed=found, evidence=evidence, warnings=(_EMPTIED, *cut))


def _now(hook: Hook, place: Place, deadline: Deadline) -> Reply | None:
    """Look once; while it reloads, pools may not answer, and that is no failure yet."""
    try:
        look = Deadline(deadline.remaining(_LOOK_SECONDS))
        return hook.ask(place, [ask_pool("opcode.state")], look)
    except (UnreachableError, CommandError, DeadlineError):
        return None


def _common(before: Reply, now: Reply | None) -> set[str]:
    """Name the pools that are not known to have changed."""
    old, new = _generations(before), _generations(now) if now else {}
    return {name for name, generation in old.items() if new.get(name, generation) == generation}


def _generations(reply: Reply) -> dict[str, tuple[Any, ...]]:
    return {pool.name: pool.generation for master in reply.masters for pool in master.pools}
