"""Which target starts next.

One lane per node, taken in turn, so that a slow or dead node never holds up the others.
"""

import heapq
import math
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction

from cachekit.events import Asked
from cachekit.model import Expect, Traits
from cachekit.replay import Fault, Manner, Request, Response
from cachekit.warming.pace import Concurrency, Rate

_ERROR_WINDOW = 50
_ENOUGH_TO_JUDGE = 20
_FIRST_BACKOFF_SECONDS = 0.25
_LONGEST_PAUSE_SECONDS = 300.0
GRACE_SECONDS = 5.0
KEPT_BODY_BYTES = 1024**2
OVERLOADED = frozenset({429, 503})
OVERLOADED_OR_BROKEN = OVERLOADED | frozenset(range(500, 600))
RETRIED = frozenset({429, 502, 503, 504})
TIMED_OUT = frozenset({Fault.TIMEOUT, Fault.CONNECT_TIMEOUT, Fault.FIRST_BYTE_TIMEOUT})


class Way(Manner):
    """What all targets of one pass, node, variant and traits share.

    `personal` ones carry credentials: they are no hits to be counted, and must not become any.
    """

    __slots__ = ("asked", "expect", "lane", "needs_body", "personal", "traits")

    def __init__(
        self,
        lane: "Lane",
        manner: Manner,
        asked: Asked,
        *,
        traits: Traits,
        expect: Expect,
        personal: bool,
    ) -> None:
        super().__init__(
            manner.route, manner.headers, method=manner.method, keep_head=manner.keep_head
        )
        self.lane = lane
        self.asked = asked
        self.traits = traits
        self.expect = expect
        self.needs_body = expect.needs_body
        self.personal = personal


class Target(Request):
    """URL x variant x node; `ordinal` numbers URL x variant, alike on every node."""

    __slots__ = ("body", "hops", "ordinal", "public_url", "retries", "way")

    # Made once per target, so without the call of super().__init__.
    def __init__(self, url: bytes, way: Way, ordinal: int) -> None:
        self.url = self.public_url = url
        self.manner = self.way = way
        self.sink = self._keep if way.needs_body else None
        self.ordinal = ordinal
        self.retries = 0
        self.hops = 0
        self.body = b""

    def restart(self, url: bytes) -> None:
        """Make ready to be asked again, perhaps at another URL."""
        self.url = url
        self.body = b""

    def _keep(self, chunk: bytes) -> int:
        if len(self.body) < KEPT_BODY_BYTES:
            self.body += chunk
        return len(chunk)


class Stop:
    """When a run ends early: on request, or when its time budget is spent.

    From then on nothing starts; what is in flight may finish within the grace time, or until a
    second request.
    """

    def __init__(self, budget: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._budget = budget
        self._at = math.inf if budget is None else clock() + budget
        self._cut_at = self._at + GRACE_SECONDS
        self._requested = ""

    @property
    def reason(self) -> str:
        """Why the run ended early; empty if it did not."""
        if self._requested:
            return self._requested
        spent = self._budget is not None and self._clock() >= self._at
        return f"the time budget of {self._budget:g} s is spent" if spent else ""

    def request(self, reason: str) -> None:
        """End the run; asked a second time, cut what is in flight at once.

        Safe in a signal handler.
        """
        now = self._clock()
        self._cut_at = now if self._requested else min(self._cut_at, now + GRACE_SECONDS)
        self._at = min(self._at, now)
        self._requested = self._requested or reason

    def reached(self, now: float) -> bool:
        """Whether nothing more may start."""
        return now >= self._at

    def cut(self) -> bool:
        """Whether what is in flight must end."""
        return self._clock() >= self._cut_at


class Lane:
    """The targets of one node, with its own pace, retries and pauses."""

    def __init__(
        self,
        node: str,
        concurrency: Concurrency,
        *,
        rate: float | None = None,
        max_error_rate: Fraction = Fraction(1),
    ) -> None:
        self.node = node
        self.concurrency = concurrency
        self.in_flight = 0
        self.ready = True
        self.abandoned = ""
        self._stages: Iterator[Iterator[Target]] = iter(())
        self._targets: Iterator[Target] = iter(())
        self._exhausted = False
        self._rate = Rate(rate) if rate else None
        self._max_error_rate = max_error_rate
        self._retries: list[tuple[float, int, Target]] = []
        self._sequence = 0
        self._paused_until = 0.0
        self._errors: deque[bool] = deque(maxlen=_ERROR_WINDOW)

    def feed(self, stages: Iterable[Iterator[Target]]) -> None:
        """Set what is to be asked, pulled as places come free; a stage waits for the one before."""
        self._stages = iter(stages)

    def take(self, now: float) -> Target | None:
        """Give the next target that may start now, or None; `wakes` says when to ask again."""
        if self.in_flight >= self.concurrency.limit or now < self._paused_until:
            return None
        if self._rate and self._rate.delay(now):
            return None
        target = self._due_retry(now) if self._retries else None
        if target is None:
            target = next(self._targets, None) or self._next_stage()
            if target is None:
                return None
        self.in_flight += 1
        if self._rate:
            self._rate.started(now)
        return target

    def wakes(self, now: float) -> float:
        """When to ask again if no answer comes before; infinite: only an answer can help."""
        if self.in_flight >= self.concurrency.limit or (self._exhausted and not self._retries):
            return math.inf
        free = max(self._paused_until, now + self._rate.delay(now) if self._rate else now)
        return max(self._retries[0][0], free) if self._exhausted else free

    def retry(self, target: Target, at: float) -> None:
        """Ask the same target again from `at` on."""
        if not self.abandoned:
            self._sequence += 1
            heapq.heappush(self._retries, (at, self._sequence, target))

    def has_left(self) -> bool:
        """Whether something was not asked; to be called when nothing is in flight any more."""
        following = next(self._targets, None) or self._next_stage()
        return bool(self._retries) or following is not None

    def pause(self, until: float) -> None:
        """Start nothing on this node before `until`."""
        self._paused_until = max(self._paused_until, until)

    def note(self, *, error: bool) -> None:
        """Count one outcome towards the error rate, and abandon the node above its limit."""
        self._errors.append(error)
        if error and len(self._errors) >= _ENOUGH_TO_JUDGE:
            bad, seen = sum(self._errors), len(self._errors)
            if bad > self._max_error_rate * seen:
                self.abandon(f"{bad} of the last {seen} requests failed")

    def abandon(self, reason: str) -> None:
        """Give the node up: nothing more starts here."""
        self.abandoned = self.abandoned or reason
        self._targets, self._stages = iter(()), iter(())
        self._exhausted = True  # or a pause of the lane would still be waited for
        self._retries.clear()

    def _next_stage(self) -> Target | None:
        """Go on to the next stage that has targets, once the last one is done."""
        self._exhausted = True
        if self.in_flight or self._retries:
            return None
        for stage in self._stages:
            target = next(stage, None)
            if target is not None:
                self._targets, self._exhausted = stage, False
                return target
        return None

    def _due_retry(self, now: float) -> Target | None:
        if self._retries and self._retries[0][0] <= now:
            return heapq.heappop(self._retries)[2]
        return None


class Schedule:
    """The Admission of a pass: lanes in turn, each within its own limits, all within the run's.

    `before_start` is called before anything starts.
    """

    def __init__(
        self,
        lanes: list[Lane],
        stop: Stop,
        *,
        rate: float | None = None,
        before_start: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lanes = lanes
        self._ready = deque(lanes)
        self._asleep: list[tuple[float, int, Lane]] = []
        self._stop = stop
        self._rate = Rate(rate) if rate else None
        self._before_start = before_start
        self._clock = clock
        self._in_flight = 0
        self._sequence = 0

    def admit(self, room: int) -> list[Target]:
        """Give what may start now, one target of each lane in turn, at most `room`."""
        self._before_start()
        now, ready = self._clock(), self._ready
        started: list[Target] = []
        if self._stop.reached(now):
            return started
        self._wake(now)
        while ready and len(started) < room and not (self._rate and self._rate.delay(now)):
            lane = ready[0]
            target = lane.take(now)
            if target is None:
                ready.popleft()
                self._park(lane, now)
                continue
            started.append(target)
            ready.rotate(-1)
            if self._rate:
                self._rate.started(now)
        self._in_flight += len(started)
        return started

    def wait(self) -> float | None:
        """Seconds until another may start; infinite: after an answer; None: never again."""
        now = self._clock()
        if self._stop.reached(now):
            return None
        held = self._rate.delay(now) if self._rate else 0.0
        if self._ready:
            return held
        # A lane that was done or abandoned after it fell asleep must not be waited for.
        while self._asleep and self._asleep[0][2].wakes(now) == math.inf:
            heapq.heappop(self._asleep)
        if self._asleep:
            return max(0.0, self._asleep[0][0] - now, held)
        return math.inf if self._in_flight else None

    def cut(self) -> bool:
        """Whether what is in flight must end now."""
        return self._stop.cut()

    def has_left(self) -> bool:
        """Whether the pass ended before everything was asked; abandoned nodes have nothing left."""
        return any(lane.has_left() for lane in self._lanes)

    def landed(self, target: Target) -> None:
        """Free the target's place; its lane may start another."""
        lane = target.way.lane
        self._in_flight -= 1
        lane.in_flight -= 1
        self._rouse(lane)

    def _park(self, lane: Lane, now: float) -> None:
        lane.ready = False
        wakes = lane.wakes(now)
        if wakes < math.inf:
            self._sequence += 1
            heapq.heappush(self._asleep, (wakes, self._sequence, lane))

    def _wake(self, now: float) -> None:
        while self._asleep and self._asleep[0][0] <= now:
            self._rouse(heapq.heappop(self._asleep)[2])

    def _rouse(self, lane: Lane) -> None:
        if not lane.ready:
            lane.ready = True
            self._ready.append(lane)


class Retries:
    """Which answers are worth asking again, and after how long.

    Connect errors, 429 and 502-504 are asked again up to `most` times, after 0.25 s, 0.5 s, 1 s ...
    with jitter; an overloaded node is given its Retry-After. Without backoff, a node that sheds
    load loses a tenth of its targets.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._random = random.Random()  # noqa: S311 - jitter, not a secret

    def after(self, response: Response, target: Target, now: float) -> bool:
        """Queue the target again if it is worth it, and say whether it is."""
        lane, overloaded = target.way.lane, response.status in OVERLOADED
        if overloaded or response.fault in TIMED_OUT:
            lane.concurrency.dropped()
        pause = min(response.retry_after, _LONGEST_PAUSE_SECONDS) if overloaded else 0.0
        if pause:
            lane.pause(now + pause)
        if not worth_retrying(response) or target.retries >= self._most or lane.abandoned:
            return False
        delay = _FIRST_BACKOFF_SECONDS * 2**target.retries * self._random.uniform(0.5, 1.5)
        target.retries += 1
        target.restart(target.url)
        lane.retry(target, now + max(pause, delay))
        return True


def worth_retrying(response: Response) -> bool:
    """Whether the answer may be another one in a moment."""
    if response.fault is not None:
        return response.fault in (Fault.CONNECT, Fault.CONNECT_TIMEOUT)
    return response.status in RETRIED
