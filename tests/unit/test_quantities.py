"""Durations, shares and sizes as people write them, and as they are shown to people."""

from fractions import Fraction

import pytest

from cachekit.quantities import (
    format_bytes,
    format_count,
    format_seconds,
    format_share,
    parse_bytes,
    parse_seconds,
    parse_share,
)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("500ms", 0.5),
        ("30s", 30.0),
        (" 2 m ", 120.0),
        ("1.5h", 5400.0),
        ("1d", 86400.0),
        (12, 12.0),
        (0.25, 0.25),
        ("3", 3.0),
        (0, 0.0),
    ],
)
def test_durations(written: object, seconds: float) -> None:
    assert parse_seconds(written) == seconds


@pytest.mark.parametrize(
    "written", ["", "5 weeks", "-1s", -1, True, None, "nan", "inf", [], "1:30"]
)
def test_what_is_no_duration_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match="expected a duration"):
        parse_seconds(written)


@pytest.mark.parametrize(
    ("written", "share"),
    [
        ("99.9%", Fraction(999, 1000)),
        ("100 %", Fraction(1)),
        ("0%", Fraction(0)),
        (0, Fraction(0)),
        (Fraction(1, 3), Fraction(1, 3)),
    ],
)
def test_shares_are_exact(written: object, share: Fraction) -> None:
    assert parse_share(written) == share


@pytest.mark.parametrize("written", ["99.9", 99.9, 1, True, "101%", "-1%", "", None, Fraction(2)])
def test_what_is_no_share_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match="expected a percentage"):
        parse_share(written)


@pytest.mark.parametrize(
    ("written", "size"),
    [("64k", 65536), ("10M", 10 << 20), ("1 GiB", 1 << 30), ("1.5kB", 1536), ("7B", 7), (9, 9)],
)
def test_sizes(written: object, size: int) -> None:
    assert parse_bytes(written) == size


@pytest.mark.parametrize("written", ["", "1T", "-1k", -1, 1.5, False, None, "inf", "1_000"])
def test_what_is_no_size_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match="expected a size"):
        parse_bytes(written)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.00123, "1.23 ms"),
        (0.012, "12 ms"),
        (3.42, "3.4 s"),
        (302, "5 min 02 s"),
        (0.9996, "1.0 s"),
        (59.96, "1 min 00 s"),
        (3599.9, "1 h 00 min"),
        (3780, "1 h 03 min"),
        (0, "0 ms"),
    ],
)
def test_durations_for_people(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "0.977 kB"), (1536, "1.5 kB"), (5 << 30, "5 GB")],
)
def test_sizes_for_people(size: int, text: str) -> None:
    assert format_bytes(size) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (Fraction(999, 1000), "99.9%"),
        (Fraction(1), "100%"),
        (Fraction(999_999, 1_000_000), "99.99%"),
        (Fraction(0), "0%"),
        (0.5, "50%"),
    ],
)
def test_shares_for_people_are_never_rounded_up_to_all(share: Fraction, text: str) -> None:
    assert format_share(share) == text


def test_a_number_of_things() -> None:
    assert [format_count(n, "URL") for n in (0, 1, 2500)] == ["0 URLs", "1 URL", "2,500 URLs"]
    assert format_count(2, "entry", "entries") == "2 entries"
