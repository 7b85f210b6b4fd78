"""Waiting for what an actor has begun, so that some of the deadline is left for the rest."""

import time
from collections.abc import Callable
from dataclasses import replace

from cachekit.deadline import Deadline
from cachekit.golive.base import Standing, Turn

_SHARE = 0.8
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5


def patience(seconds: float, deadline: Deadline) -> float:
    """Give the time that one wait may take; a fifth of what is left stays for what follows it."""
    return min(seconds, _SHARE * deadline.remaining())


def holds_within(condition: Callable[[], bool], seconds: float) -> bool:
    """Look until the condition holds, ever less often; tell whether it did in time."""
    end, pause = time.monotonic() + seconds, _FIRST_PAUSE
    while not condition():
        left = end - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(pause, left))
        pause = min(2 * pause, _LONGEST_PAUSE)
    return True


def proven(told: str, ask: Callable[[], Turn] | None, wanted: Standing, seconds: float) -> Turn:
    """Ask until the answer is the one that is wanted, or the time is over; give the last one.

    With nobody to ask, the word of who was told to do it is the proof.
    """
    if ask is None:
        return Turn(standing=wanted, evidence=(told,))
    turns: list[Turn] = []

    def is_so() -> bool:
        turns.append(ask())
        return turns[-1].standing is wanted

    holds_within(is_so, seconds)
    return replace(turns[-1], evidence=(told, *turns[-1].evidence))


def not_asked() -> Turn:
    """Tell that there is nobody to ask."""
    return Turn(standing=Standing.UNKNOWN, warnings=("`ask` is not set: nobody can be asked",))
