"""Which answers are worth asking again."""

import random

from cachekit.replay import Fault, Response
from cachekit.warming.lane import Target

_FIRST_BACKOFF_SECONDS = 0.25
_LONGEST_PAUSE_SECONDS = 300.0
OVERLOADED = frozenset({429, 503})
OVERLOADED_OR_BROKEN = OVERLOADED | frozenset(range(500, 600))
RETRIED = frozenset({429, 502, 503, 504})
TIMED_OUT = frozenset({Fault.TIMEOUT, Fault.CONNECT_TIMEOUT, Fault.FIRST_BYTE_TIMEOUT})


class Retries:
    """Which answers are worth asking again, and after how long.

    Connect errors, 429 and 502-504 are asked again up to `most` times, after 0.25 s, 0.5 s, 1 s ...
    with jitter; an overloaded node is given its Retry-After. Without backoff, a node that sheds
    load loses a tenth of its targets.
    """

    def __init__(self, most: int) -> None:
        self._most = most

    def after(self, response: Response, target: Target, now: float) -> bool:
        """Queue the target again if it is worth it, and say whether it is."""
        lane, overloaded = target.way.lane, response.status in OVERLOADED
        if overloaded or response.fault in TIMED_OUT:
            lane.concurrency.dropped()
        pause = pause_asked_for(response)
        if pause:
            lane.pause(now + pause)
        if not worth_retrying(response) or target.retries >= self._most or lane.abandoned:
            return False
        delay = backoff(target.retries)
        target.retries += 1
        target.restart(target.url)
        lane.retry(target, now + max(pause, delay))
        return True


def worth_retrying(response: Response) -> bool:
    """Whether the answer may be another one in a moment."""
    if response.fault is not None:
        return response.fault in (Fault.CONNECT, Fault.CONNECT_TIMEOUT)
    return response.status in RETRIED


def backoff(retries: int) -> float:
    """Give the seconds to wait before one more retry: 0.25, 0.5, 1 ..., with jitter."""
    jitter: float = random.uniform(0.5, 1.5)  # noqa: S311 - no secret
    return _FIRST_BACKOFF_SECONDS * 2.0**retries * jitter


def pause_asked_for(response: Response) -> float:
    """Give the Retry-After of an overloaded node in seconds, as far as it is borne."""
    overloaded = response.status in OVERLOADED
    return min(response.retry_after, _LONGEST_PAUSE_SECONDS) if overloaded else 0.0
