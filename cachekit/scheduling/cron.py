"""Cron expressions of five fields, read as Debian's cron reads them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    low: int
    high: int
    words: tuple[str, ...] = ()

    def number(self, text: str) -> int:
        """Read a number within bounds, or a name. Raises ValueError."""
        if text.lower() in self.words:
            return self.low + self.words.index(text.lower())
        if not (text.isascii() and text.isdecimal()) or not self.low <= int(text) <= self.high:
            names = f", or {self.words[0]} to {self.words[-1]}" if self.words else ""
            raise ValueError(
                f"{self.name}: {text!r} is not a number from {self.low} to {self.high}{names}"
            )
        return int(text)

    def values(self, text: str) -> Iterator[int]:
        """Read a list of numbers, ranges and steps. Raises ValueError."""
        for item in text.split(","):
            span, slash, step = item.partition("/")
            if slash and not (step.isascii() and step.isdecimal() and int(step) > 0):
                raise ValueError(f"{self.name}: the step in {item!r} is not a number above 0")
            yield from self._span(span, item, bool(slash))[:: int(step or 1)]

    def _span(self, span: str, item: str, has_step: bool) -> range:
        if span == "*":
            return range(self.low, self.high + 1)
        first, dash, last = span.partition("-")
        start = self.number(first)
        if not dash and has_step:
            # Some crons step on to the end from here, others refuse it or ignore the step.
            raise ValueError(f"{self.name}: write {item!r} with its range, {first}-{self.high}/…")
        end = self.number(last) if dash else start
        if end < start:
            raise ValueError(f"{self.name}: the range {span!r} runs backwards")
        return range(start, end + 1)


_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of week", 0, 7, _WEEKDAYS),
)


@dataclass(frozen=True, kw_only=True)
class Cron:
    """When something is due: values in rising order, weekdays from 0 for Sunday.

    With `either_day` a day of the month or a day of the week is enough; else it must be both.
    """

    fields: tuple[str, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    months: tuple[int, ...]
    weekdays: tuple[int, ...]
    either_day: bool

    def __str__(self) -> str:
        return " ".join(self.fields)

    @property
    def has_such_days(self) -> bool:
        """Whether any of the months has any of the days of the month."""
        return min(self.days) <= max(_LONGEST[month - 1] for month in self.months)


def parse_cron(text: str) -> Cron:
    """Read `minute hour day-of-month month day-of-week`. Raises ValueError."""
    written = tuple(text.split())
    if len(written) != len(_FIELDS):
        raise ValueError(
            "expected the five fields of cron, minute hour day-of-month month day-of-week, such as"
            " '0 4 * * *'"
        )
    minutes, hours, days, months, weekdays = (
        _rising(field.values(each)) for field, each in zip(_FIELDS, written, strict=True)
    )
    cron = Cron(
        fields=written,
        minutes=minutes,
        hours=hours,
        days=days,
        months=months,
        weekdays=_rising(day % 7 for day in weekdays),
        # crontab(5): "if both fields are restricted (i.e., don't start with *)".
        either_day=not written[2].startswith("*") and not written[4].startswith("*"),
    )
    if not cron.either_day and not cron.has_such_days:
        raise ValueError(f"no month of {written[3]} has a day {written[2]}: it would never be due")
    return cron


def _rising(values: Iterator[int]) -> tuple[int, ...]:
    return tuple(sorted(set(values)))


def spans(values: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Gather rising values into runs of neighbours, as (first, last)."""
    first = last = values[0]
    for value in values[1:]:
        if value > last + 1:
            yield first, last
            first = value
        last = value
    yield first, last
