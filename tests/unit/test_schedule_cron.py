"""Cron expressions mean what cron takes them for, and as systemd calendars they still do."""

import os
import re
import subprocess
from datetime import UTC, datetime
from itertools import islice

import pytest
from cronsim import CronSim
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cachekit.scheduling.cron import parse_cron
from cachekit.scheduling.systemd import calendars
from tests.servers.process import require_program

BASE = datetime(2026, 1, 31, 22, 17, 3, tzinfo=UTC)
TIMES = 6
_ELAPSE = re.compile(r"(?:Next elapse|Iteration #\d+|Iter\. #\d+): (?:\w+ )?([\d-]+ [\d:]+) UTC")


def next_by_systemd(expressions: list[str]) -> list[datetime]:
    """Ask the real systemd-analyze when a timer with these OnCalendar lines would elapse."""
    done = subprocess.run(
        [
            require_program("systemd-analyze"),
            "calendar",
            f"--iterations={TIMES}",
            f"--base-time={BASE:%Y-%m-%d %H:%M:%S} UTC",
            *expressions,
        ],
        env=os.environ | {"TZ": "UTC", "LC_ALL": "C"},
        check=True,
        capture_output=True,
        text=True,
    )
    found = {
        datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
        for text in _ELAPSE.findall(done.stdout)
    }
    return sorted(found)[:TIMES]


def next_by_cron(expression: str) -> list[datetime]:
    """Ask an implementation of Debian's cron that is not ours."""
    return list(islice(CronSim(expression, BASE), TIMES))


@pytest.mark.parametrize(
    "expression",
    [
        "0 4 * * *",
        "*/15 * * * *",
        "5-50/15 0,12 * * *",
        "0 0 1 jan *",
        "30 6 * * MON-FRI",
        "30 6 * * 7",
        "30 6 * * 0,6",
        "30 6 * * 5-7",
        "0 0 13 * 5",  # the 13th, and every Friday
        "0 0 13,31 2,3 sun",
        "0 0 31 2 1",  # there is no such day, but Mondays
        "0 0 */10 * 1",  # a step counts as no restriction: both must hold
        "0 0 1-7 * */7",
        "0 0 29 2 *",
        "0 0 1-31 * 3",
        "59 23 31 12 *",
        "1,2,3,10 0-23/6 15 mar,jun-aug/2 *",
    ],
)
def test_systemd_elapses_when_cron_would_run(expression: str) -> None:
    assert next_by_systemd(calendars(parse_cron(expression))) == next_by_cron(expression)


def field(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    # Of two numbers: cronsim takes `3-3/2` for `3-59/2`, other than cron itself.
    pair = st.tuples(number, number).filter(lambda pair: pair[0] < pair[1])
    span = pair.map("{0[0]}-{0[1]}".format)
    stepped = st.tuples(span | st.just("*"), st.integers(1, 9)).map("{0[0]}/{0[1]}".format)
    item = number.map(str) | span | stepped
    return st.just("*") | st.lists(item, min_size=1, max_size=3).map(",".join)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.tuples(field(0, 59), field(0, 23), field(1, 28), field(1, 12), field(0, 7)))
def test_any_expression_means_the_same_to_both(fields: tuple[str, ...]) -> None:
    expression = " ".join(fields)
    assert next_by_systemd(calendars(parse_cron(expression))) == next_by_cron(expression)


def test_a_time_zone_stands_in_every_line() -> None:
    lines = calendars(parse_cron("0 4 13 * 5"), "Europe/Berlin")
    assert [line.endswith(":00 Europe/Berlin") for line in lines] == [True, True]
    assert next_by_systemd(lines)[0] == datetime(2026, 2, 6, 3, tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("", "expected the five fields of cron"),
        ("@daily", "expected the five fields of cron"),
        ("0 0 4 * * *", "expected the five fields of cron"),
        ("60 4 * * *", "minute: '60' is not a number from 0 to 59"),
        ("0 24 * * *", "hour: '24' is not"),
        ("0 4 0 * *", "day of month: '0' is not"),
        ("0 4 L * *", "day of month: 'L' is not"),
        ("0 4 * 13 *", "month: '13' is not a number from 1 to 12, or jan to dec"),
        ("0 4 * * 8", "day of week: '8' is not a number from 0 to 7, or sun to sat"),
        ("0 4 * * monday", "day of week: 'monday' is not"),
        ("0 4 * * 5#2", "day of week: '5#2' is not"),
        ("5/15 * * * *", "minute: write '5/15' with its range, 5-59/"),
        ("*/0 * * * *", "minute: the step in '*/0' is not a number above 0"),
        ("*/ * * * *", "minute: the step in '*/' is not"),
        ("30-10 * * * *", "minute: the range '30-10' runs backwards"),
        ("1,,2 * * * *", "minute: '' is not a number"),
        ("٣ * * * *", "minute: '٣' is not a number"),
        ("0 4 30 feb *", "no month of feb has a day 30: it would never be due"),
        ("0 4 31 4,6,9,11 *", "would never be due"),
    ],
)
def test_what_is_no_cron_expression_says_where(expression: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_cron(expression)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        cron = parse_cron(text)
    except ValueError:
        return
    assert len(str(cron).split()) == 5
