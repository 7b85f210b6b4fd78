"""When a run ends before everything is done."""

import math
import time
from collections.abc import Callable

GRACE_SECONDS = 5.0


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
        self._urgent = False
        self._next: Stop | None = None

    @property
    def reason(self) -> str:
        """Why the run ended early; empty if it did not."""
        if self._requested:
            return self._requested
        spent = self._budget is not None and self._clock() >= self._at
        return f"the time budget of {self._budget:g} s is spent" if spent else ""

    @property
    def is_requested(self) -> bool:
        """Whether somebody wanted it to end, and not its time budget."""
        return bool(self._requested)

    def request(self, reason: str) -> None:
        """End the run; asked a second time, cut what is in flight at once.

        Safe in a signal handler.
        """
        now = self._clock()
        self._urgent = bool(self._requested)
        self._cut_at = now if self._requested else min(self._cut_at, now + GRACE_SECONDS)
        self._at = min(self._at, now)
        self._requested = self._requested or reason
        if self._next is not None:
            self._next.request(reason)

    def is_urgent(self) -> bool:
        """Whether somebody asked a second time: then not even a command is waited for."""
        return self._urgent

    def reached(self, now: float) -> bool:
        """Whether nothing more may start."""
        return now >= self._at

    def cut(self) -> bool:
        """Whether what is in flight must end."""
        return self._clock() >= self._cut_at

    def afterwards(self, budget: float | None) -> "Stop":
        """Give one for what is done even so: its own budget, or a request from now on, ends it."""
        self._next = Stop(budget, self._clock)
        return self._next

    def within(self, budget: float | None) -> "Stop":
        """Give a narrower one: it ends with this one, or before, once its own budget is spent."""
        return _Within(self, budget, self._clock)


class _Within(Stop):
    def __init__(
        self, wider: Stop, budget: float | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(budget, clock)
        self._wider = wider

    @property
    def reason(self) -> str:
        return self._wider.reason or super().reason

    def reached(self, now: float) -> bool:
        return self._wider.reached(now) or super().reached(now)

    def is_urgent(self) -> bool:
        return self._wider.is_urgent() or super().is_urgent()

    def cut(self) -> bool:
        return self._wider.cut() or super().cut()
