"""Which target starts next.

One lane per node, taken in turn, so that a slow or dead node never holds up the others.
"""

import heapq
import math
import time
from collections import deque
from collections.abc import Callable

from cachekit.warming.lane import Lane, Target
from cachekit.warming.pace import Rate
from cachekit.warming.stop import Stop

# With another node for each request, connections and code are cold in the caches of the CPU: 250
# nodes cost a tenth more.
_TURN = 16


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
        self._freed: list[Lane] = []
        self._asleep: list[tuple[float, int, Lane]] = []
        self._stop = stop
        self._rate = Rate(rate) if rate else None
        self._before_start = before_start
        self._clock = clock
        self._in_flight = 0
        self._sequence = 0

    def admit(self, room: int) -> list[Target]:
        """Give what may start now, of each lane in turn its share, at most `room`."""
        self._before_start()
        now, ready = self._clock(), self._ready
        if self._stop.reached(now):
            return []
        self._wake(now)
        started = self._go_on(now, room)
        while ready and len(started) < room and not (self._rate and self._rate.delay(now)):
            share = 1 if self._rate else (room - len(started)) // len(ready) or 1
            lane = ready.popleft()
            lane.turn_left = _TURN - 1
            targets = lane.take(now, share)
            started += targets
            if len(targets) < share:
                self._park(lane, now)
            else:
                ready.append(lane)
            if self._rate and targets:
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

    def landed(self, lane: Lane) -> None:
        """Free the place of one of its targets; the lane may start another."""
        self._in_flight -= 1
        lane.in_flight -= 1
        self._freed.append(lane)
        if not lane.ready:
            self._rouse(lane)

    def _go_on(self, now: float, room: int) -> list[Target]:
        """Where nodes outnumber places, leave one that came free to its node until its turn ends.

        The last first, which then meets the handle that it had.
        """
        freed, self._freed = self._freed, []
        started: list[Target] = []
        if self._rate or len(self._ready) <= room + self._in_flight:
            return started
        while freed and len(started) < room:
            lane = freed.pop()
            if lane.turn_left:
                lane.turn_left -= 1
                started += lane.take(now, 1)
        return started

    def _park(self, lane: Lane, now: float) -> None:
        lane.ready = False
        wakes = lane.wakes(now)
        if wakes < math.inf:
            self._sequence += 1
            heapq.heappush(self._asleep, (wakes, self._sequence, lane))

    def _wake(self, now: float) -> None:
        while self._asleep and self._asleep[0][0] <= now:
            lane = heapq.heappop(self._asleep)[2]
            if not lane.ready:
                self._rouse(lane)

    def _rouse(self, lane: Lane) -> None:
        lane.ready = True
        self._ready.append(lane)
