"""One deadline for all that a step does."""

import time
from collections.abc import Callable

LOOK_SECONDS = 0.5
"""How often whoever waits for long looks whether it was cut short."""


class DeadlineError(TimeoutError):
    """The time of a step is used up, or it was cut short."""


def _never() -> bool:
    return False


class Deadline:
    """Runs from its making; `seconds` in all, unless `cut` says that it is over before."""

    def __init__(
        self,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
        *,
        cut: Callable[[], bool] = _never,
    ) -> None:
        self.seconds = seconds
        self._clock = clock
        self._cut = cut
        self._end = clock() + seconds

    @property
    def has_passed(self) -> bool:
        """Whether no time is left."""
        return self._cut() or self._clock() >= self._end

    def remaining(self, at_most: float | None = None) -> float:
        """Give the seconds that are left, for the timeout of one call. Raises DeadlineError."""
        if self._cut():
            raise DeadlineError("cut short")
        left = self._end - self._clock()
        if left <= 0:
            raise DeadlineError(f"not done within {self.seconds:g} s")
        return left if at_most is None else min(left, at_most)
