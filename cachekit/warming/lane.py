"""The targets of one node: the unit of warming, what thousands of them share, and their pace."""

import heapq
import math
from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import islice

from cachekit.events import Asked
from cachekit.model import Expect, Traits
from cachekit.replay import Manner, Request
from cachekit.warming.pace import Concurrency, Rate

_ERROR_WINDOW = 50
_ENOUGH_TO_JUDGE = 20
KEPT_BODY_BYTES = 1024**2
NOTHING_SPECIAL = Expect()


class Way(Manner):
    """What all targets of one pass, node, variant and traits share.

    `personal` ones carry credentials: they are no hits to be counted, and must not become any.
    """

    __slots__ = ("asked", "expect", "is_plain", "lane", "needs_body", "personal", "traits")

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
        # Any good answer will do, as for nearly all.
        self.is_plain = expect == NOTHING_SPECIAL and not personal


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
        self.turn_left = 0
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

    def take(self, now: float, most: int) -> list[Target]:
        """Give what may start now; if that is less than `most`, `wakes` says when to ask again."""
        room = min(most, self.concurrency.limit - self.in_flight)
        if room <= 0 or now < self._paused_until or (self._rate and self._rate.delay(now)):
            return []
        if self._rate:
            room = 1
        targets = self._due_retries(now, room) if self._retries else []
        if len(targets) < room:
            targets += islice(self._targets, room - len(targets))
            self._exhausted = len(targets) < room
        if not targets:
            targets = self._next_stage(room)
        self.in_flight += len(targets)
        if self._rate and targets:
            self._rate.started(now)
        return targets

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
        return bool(self._retries or next(self._targets, None) or self._next_stage(1))

    def pause(self, until: float) -> None:
        """Start nothing on this node before `until`."""
        self._paused_until = max(self._paused_until, until)

    def answered(self, seconds: float) -> None:
        """Take note of one good answer, and of how long it held its place."""
        self.concurrency.answered(seconds)
        self._errors.append(False)

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

    def _next_stage(self, room: int) -> list[Target]:
        """Go on to the next stage that has targets, once the last one is done."""
        if self.in_flight or self._retries:
            return []
        for stage in self._stages:
            targets = list(islice(stage, room))
            if targets:
                self._targets, self._exhausted = stage, len(targets) < room
                return targets
        return []

    def _due_retries(self, now: float, most: int) -> list[Target]:
        due: list[Target] = []
        while self._retries and self._retries[0][0] <= now and len(due) < most:
            due.append(heapq.heappop(self._retries)[2])
        return due
