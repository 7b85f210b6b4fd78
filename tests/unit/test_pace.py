"""Concurrency, fixed and found, and rates."""

import pytest

from cachekit.warming.pace import Auto, Fixed, Rate


def answer_rounds(auto: Auto, rounds: int, seconds: float) -> list[int]:
    """Answer so many whole rounds and give the limits after each."""
    limits = []
    for _ in range(rounds):
        for _ in range(max(auto.limit, 8)):
            auto.answered(seconds)
        limits.append(auto.limit)
    return limits


def test_fixed_stays() -> None:
    fixed = Fixed(5)
    fixed.dropped()
    fixed.answered(1.0)
    assert fixed.limit == 5


def test_auto_doubles_while_latency_stays() -> None:
    assert answer_rounds(Auto(400), 6, 0.03) == [16, 32, 64, 128, 256, 400]


def test_auto_stops_growing_when_requests_only_queue() -> None:
    auto = Auto(400)
    answer_rounds(auto, 2, 0.03)
    assert answer_rounds(auto, 3, 0.1) == [32, 32, 32]
    assert answer_rounds(auto, 2, 0.03) == [33, 34], "one at a time after slow start"


def test_auto_gives_back_when_overloaded_but_not_below_its_floor() -> None:
    auto = Auto(400)
    answer_rounds(auto, 3, 0.03)
    limits = answer_rounds(auto, 30, 1.0)
    assert limits[0] == int(64 * 0.9)
    assert limits[-1] == 16


def test_auto_shrinks_by_a_drop_at_most_every_second_round() -> None:
    auto = Auto(400)
    answer_rounds(auto, 3, 0.03)
    for _ in range(10):
        auto.dropped()
    assert auto.limit == 32, "out of slow start to the last good level"
    answer_rounds(auto, 1, 0.03)
    auto.dropped()
    assert auto.limit == 32, "too soon, and no growth in a round with a drop"
    answer_rounds(auto, 1, 0.03)
    auto.dropped()
    assert auto.limit == 25, "a fifth less"


@pytest.mark.parametrize("most", [1, 2, 3, 7])
def test_auto_below_its_start_stays_within_its_bounds(most: int) -> None:
    auto = Auto(most)
    assert auto.limit == most
    for _ in range(5):
        auto.dropped()
        answer_rounds(auto, 2, 0.01)
        assert 1 <= auto.limit <= most
    answer_rounds(auto, 20, 0.01)
    assert auto.limit == most


def test_auto_learns_a_baseline_of_rounds_not_of_single_answers() -> None:
    auto = Auto(400)
    for number in range(8 + 16 + 32 + 64):
        auto.answered(0.001 if number % 8 == 0 else 0.05)
    assert auto.limit == 128


def test_a_rate_spaces_starts_evenly_and_makes_up_for_nothing() -> None:
    rate = Rate(10)
    assert rate.delay(100.0) == 0
    rate.started(100.0)
    assert rate.delay(100.0) == pytest.approx(0.1)
    assert rate.delay(100.04) == pytest.approx(0.06)
    assert rate.delay(105.0) == 0
    rate.started(105.0)
    assert rate.delay(105.0) == pytest.approx(0.1)
