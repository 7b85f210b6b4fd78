"""Which target starts next, under a clock of our own."""

import math
from collections import Counter, deque
from collections.abc import Iterable
from fractions import Fraction

import pytest

from cachekit.replay import Fault, Response
from cachekit.warming.lane import Lane, Target
from cachekit.warming.retries import Retries, worth_retrying
from cachekit.warming.schedule import Schedule
from cachekit.warming.stop import GRACE_SECONDS, Stop
from tests.pieces import Clock, lane_of, response_of, target_of


@pytest.fixture
def clock() -> Clock:
    return Clock()


def schedule_of(clock: Clock, *lanes: Lane, rate: float | None = None) -> Schedule:
    return Schedule(list(lanes), Stop(None, clock), rate=rate, clock=clock)


def names(targets: Iterable[Target]) -> list[str]:
    return [target.way.lane.node for target in targets]


def numbers(targets: Iterable[Target]) -> list[int]:
    return [target.ordinal for target in targets]


# ---- lanes in turn


def test_lanes_take_turns(clock: Clock) -> None:
    schedule = schedule_of(clock, *(lane_of(name, 5) for name in "abc"))
    assert sorted(names(schedule.admit(7))) == list("aaabbcc")
    assert len(set(names(schedule.admit(2)))) == 2
    assert len(schedule.admit(100)) == 3, "their limit is 4"


def test_where_nodes_outnumber_places_each_has_one_for_a_turn(clock: Clock) -> None:
    schedule = schedule_of(clock, *(lane_of(f"web{number}", 100) for number in range(9)))
    flying, asked = deque(schedule.admit(3)), Counter[str]()
    while min(asked[f"web{number}"] for number in range(9)) < 40:
        target = flying.popleft()
        asked[target.way.lane.node] += 1
        assert asked.total() > 3 * 16 or len(asked) <= 3, "the same three nodes for a turn"
        schedule.landed(target.way.lane)
        flying += schedule.admit(3 - len(flying))
        assert len(flying) == 3, "no place is left empty"
        assert len(set(names(flying))) == 3, "each at another node"
        assert max(asked.values()) <= 16 + min(asked[f"web{number}"] for number in range(9))


def test_a_full_room_is_not_exceeded_by_places_that_came_free(clock: Clock) -> None:
    schedule = schedule_of(clock, *(lane_of(f"web{number}", 9) for number in range(9)))
    for target in schedule.admit(4):
        schedule.landed(target.way.lane)
    assert len(schedule.admit(2)) == 2
    assert len(schedule.admit(0)) == 0


def test_each_lane_keeps_to_its_own_limit(clock: Clock) -> None:
    schedule = schedule_of(clock, lane_of("a", 9, concurrency=2), lane_of("b", 9, concurrency=3))
    started = schedule.admit(100)
    assert sorted(names(started)) == list("aabbb")
    assert schedule.wait() == math.inf
    assert schedule.admit(100) == []
    schedule.landed(started[0].way.lane)
    assert schedule.wait() == 0
    assert names(schedule.admit(100)) == ["a"]


def test_a_full_a_paused_and_a_dead_lane_hold_up_nobody(clock: Clock) -> None:
    full, paused, dead = lane_of("full", 9, concurrency=1), lane_of("paused", 9), lane_of("dead", 9)
    busy = lane_of("busy", 50, concurrency=50)
    schedule = schedule_of(clock, full, paused, dead, busy)
    paused.pause(clock.now + 60)
    dead.abandon("it failed")
    assert names(schedule.admit(1)) == ["full"]
    assert set(names(schedule.admit(100))) == {"busy"}
    assert busy.in_flight == 50


def test_nothing_left_is_the_end(clock: Clock) -> None:
    schedule = schedule_of(clock, lane_of("a", 1))
    (target,) = schedule.admit(10)
    assert schedule.admit(10) == []
    assert schedule.wait() == math.inf, "an answer may bring a retry"
    schedule.landed(target.way.lane)
    schedule.admit(10)
    assert schedule.wait() is None


def test_no_lanes_is_the_end(clock: Clock) -> None:
    assert schedule_of(clock).wait() is None


def test_something_is_done_before_each_start() -> None:
    seen: list[int] = []
    schedule = Schedule([lane_of("a", 1)], Stop(None), before_start=lambda: seen.append(1))
    schedule.admit(1)
    schedule.admit(1)
    assert len(seen) == 2


# ---- pauses, retries, rates


def test_a_pause_holds_a_lane_until_it_is_over(clock: Clock) -> None:
    lane = lane_of("a", 3)
    schedule = schedule_of(clock, lane)
    lane.pause(clock.now + 7)
    lane.pause(clock.now + 3)
    assert schedule.admit(10) == []
    assert schedule.wait() == pytest.approx(7)
    clock.now += 6.9
    assert schedule.admit(10) == []
    clock.now += 0.2
    assert len(schedule.admit(10)) == 3


def test_a_retry_comes_when_it_is_due_and_before_new_targets(clock: Clock) -> None:
    lane = lane_of("a", 3, concurrency=1)
    schedule = schedule_of(clock, lane)
    (first,) = schedule.admit(10)
    schedule.landed(first.way.lane)
    lane.retry(first, clock.now + 1)
    (second,) = schedule.admit(10)
    assert second.ordinal == 1
    clock.now += 2
    schedule.landed(second.way.lane)
    assert schedule.admit(10) == [first]


def test_the_last_retry_is_waited_for(clock: Clock) -> None:
    lane = lane_of("a", 1)
    schedule = schedule_of(clock, lane)
    (only,) = schedule.admit(10)
    schedule.landed(only.way.lane)
    lane.retry(only, clock.now + 5)
    assert schedule.admit(10) == []
    assert schedule.wait() == pytest.approx(5)
    clock.now += 5
    assert schedule.admit(10) == [only]


def test_retries_come_in_the_order_of_their_times(clock: Clock) -> None:
    lane = lane_of("a", 3)
    schedule = schedule_of(clock, lane)
    targets = schedule.admit(10)
    for target, delay in zip(targets, (3, 1, 2), strict=True):
        schedule.landed(target.way.lane)
        lane.retry(target, clock.now + delay)
    clock.now += 10
    assert numbers(schedule.admit(10)) == [1, 2, 0]


def test_a_rate_spaces_the_starts_of_one_node(clock: Clock) -> None:
    slow, quick = lane_of("slow", 9, rate=2, concurrency=9), lane_of("quick", 9, concurrency=9)
    schedule = schedule_of(clock, slow, quick)
    assert sorted(names(schedule.admit(100))) == ["quick"] * 9 + ["slow"]
    assert schedule.wait() == pytest.approx(0.5)
    clock.now += 0.5
    assert names(schedule.admit(100)) == ["slow"]


def test_a_rate_holds_for_retries_too_without_busy_waiting(clock: Clock) -> None:
    lane = lane_of("a", 2, rate=1)
    schedule = schedule_of(clock, lane)
    (first,) = schedule.admit(10)
    clock.now += 1
    (second,) = schedule.admit(10)
    for target in (first, second):
        schedule.landed(target.way.lane)
        lane.retry(target, clock.now)
    assert schedule.admit(10) == []
    assert schedule.wait() == pytest.approx(1)


def test_the_rate_of_the_run_is_shared(clock: Clock) -> None:
    schedule = schedule_of(clock, lane_of("a", 9), lane_of("b", 9), rate=10)
    started = schedule.admit(100)
    for _ in range(3):
        assert len(started) == 1
        assert schedule.wait() == pytest.approx(0.1)
        assert schedule.admit(100) == []
        clock.now += 0.1
        started = schedule.admit(100)


# ---- giving up


def test_a_node_that_fails_too_often_is_abandoned_with_the_figures(clock: Clock) -> None:
    lane = lane_of("a", 500, concurrency=1, max_error_rate=Fraction(1, 2))
    schedule = schedule_of(clock, lane, lane_of("b", 1))
    for number in range(25):
        lane.note(error=number % 2 == 0)
    assert lane.abandoned == "11 of the last 21 requests failed"
    assert names(schedule.admit(10)) == ["b"]


def test_a_few_errors_prove_nothing() -> None:
    lane = lane_of("a", 5, max_error_rate=Fraction(0))
    for _ in range(19):
        lane.note(error=True)
    assert not lane.abandoned


def test_only_the_last_requests_count() -> None:
    lane = lane_of("a", 5, max_error_rate=Fraction(1, 2))
    for _ in range(1000):
        lane.note(error=False)
    for _ in range(26):
        assert not lane.abandoned
        lane.note(error=True)
    assert lane.abandoned == "26 of the last 50 requests failed"


def test_an_abandoned_lane_is_not_waited_for(clock: Clock) -> None:
    lane = lane_of("a", 50, concurrency=2)
    schedule = schedule_of(clock, lane)
    one, two = schedule.admit(10)
    lane.pause(clock.now + 300)
    schedule.landed(one.way.lane)
    lane.retry(one, clock.now + 300)
    assert schedule.admit(10) == []
    assert schedule.wait() == pytest.approx(300)
    schedule.landed(two.way.lane)
    lane.abandon("it failed")
    lane.retry(two, clock.now + 300)
    assert schedule.admit(10) == []
    assert schedule.wait() is None


# ---- stages


def test_a_stage_waits_for_the_one_before_and_its_retries(clock: Clock) -> None:
    lane, other = lane_of("a"), lane_of("b", 9, concurrency=1)
    way = target_of().way
    way.lane = lane
    stages = [[Target(b"u", way, n + 10 * stage) for n in range(2)] for stage in range(3)]
    lane.feed([iter(stages[0]), iter([]), iter(stages[1]), iter(stages[2])])
    schedule = schedule_of(clock, lane, other)
    first = [target for target in schedule.admit(10) if target.way is way]
    assert numbers(first) == [0, 1]
    schedule.landed(first[0].way.lane)
    assert schedule.admit(10) == [], "one of the first stage is in flight"
    schedule.landed(first[1].way.lane)
    lane.retry(first[1], clock.now + 1)
    assert schedule.admit(10) == [], "one of the first stage waits for its retry"
    assert schedule.wait() == pytest.approx(1)
    clock.now += 1
    assert schedule.admit(10) == [first[1]]
    schedule.landed(first[1].way.lane)
    second = schedule.admit(10)
    assert numbers(second) == [10, 11]
    for target in second:
        schedule.landed(target.way.lane)
    assert schedule.has_left()
    third = schedule.admit(1)
    assert numbers(third) in ([20], [21])


def test_what_is_left_is_known_at_the_end(clock: Clock) -> None:
    lane = lane_of("a", 2, concurrency=1)
    schedule = schedule_of(clock, lane)
    (first,) = schedule.admit(10)
    schedule.landed(first.way.lane)
    assert schedule.has_left()
    lane.abandon("it failed")
    assert not schedule.has_left()


# ---- stopping


def test_a_request_to_stop_lets_what_flies_finish_and_then_cuts(clock: Clock) -> None:
    stop = Stop(None, clock)
    schedule = Schedule([lane_of("a", 9, concurrency=1)], stop, clock=clock)
    schedule.admit(1)
    assert not stop.reached(clock.now)
    stop.request("interrupted")
    assert schedule.admit(10) == []
    assert schedule.wait() is None
    assert not schedule.cut()
    clock.now += GRACE_SECONDS - 0.1
    assert not schedule.cut()
    clock.now += 0.2
    assert schedule.cut()
    assert stop.reason == "interrupted"


def test_a_second_request_cuts_at_once_and_keeps_the_first_reason(clock: Clock) -> None:
    stop = Stop(600, clock)
    stop.request("interrupted")
    clock.now += 1
    assert not stop.cut()
    stop.request("terminated")
    assert stop.cut()
    assert stop.reason == "interrupted"


def test_a_budget_ends_the_run_by_itself(clock: Clock) -> None:
    stop = Stop(90, clock)
    schedule = Schedule([lane_of("a", 9)], stop, clock=clock)
    clock.now += 89
    assert stop.reason == ""
    assert schedule.admit(1)
    clock.now += 1
    assert schedule.admit(1) == []
    assert stop.reason == "the time budget of 90 s is spent"
    assert not stop.cut()
    clock.now += GRACE_SECONDS
    assert stop.cut()


def test_a_request_within_the_grace_time_of_a_budget_does_not_lengthen_it(clock: Clock) -> None:
    stop = Stop(10, clock)
    clock.now += 12
    stop.request("interrupted")
    clock.now += 3
    assert stop.cut()


# ---- what is worth a retry


def answered(target: Target, status: int = 200, **facts: object) -> Response:
    return response_of(target, status, **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "fault", "worth"),
    [
        (0, Fault.CONNECT, True),
        (0, Fault.CONNECT_TIMEOUT, True),
        (0, Fault.FIRST_BYTE_TIMEOUT, False),
        (0, Fault.TIMEOUT, False),
        (0, Fault.TLS, False),
        (503, Fault.TRUNCATED, False),
        (0, Fault.BROKEN, False),
        *((status, None, True) for status in (429, 502, 503, 504)),
        *((status, None, False) for status in (200, 301, 404, 500, 501)),
    ],
)
def test_what_may_be_different_in_a_moment(status: int, fault: Fault | None, worth: bool) -> None:
    assert worth_retrying(answered(target_of(), status, fault=fault)) is worth


def test_backoff_doubles_with_jitter_and_ends() -> None:
    retries = Retries(3)
    for _ in range(200):
        target = target_of()
        lane = target.way.lane
        assert lane.take(0.0, 1) == [], "nothing but retries from now on"
        for attempt in range(3):
            assert retries.after(answered(target, 502), target, 100.0)
            wakes = lane.wakes(100.0) - 100.0
            assert 0.125 * 2**attempt <= wakes <= 0.375 * 2**attempt
            assert lane.take(1e6, 1) == [target]
            lane.in_flight -= 1
        assert not retries.after(answered(target, 502), target, 100.0)
        assert target.retries == 3


def test_retry_after_pauses_the_whole_node_within_reason() -> None:
    retries, target = Retries(2), target_of()
    lane = target.way.lane
    assert retries.after(answered(target, 503, retry_after=20.0), target, 100.0)
    assert lane.wakes(100.0) >= 120.0
    assert lane.take(119.0, 1) == []
    assert retries.after(answered(target, 429, retry_after=21600.0), target, 100.0)
    assert lane.wakes(100.0) == pytest.approx(400.0)


def test_retry_after_of_a_status_that_is_no_overload_is_ignored() -> None:
    target = target_of()
    assert not Retries(2).after(answered(target, 301, retry_after=20.0), target, 100.0)
    assert target.way.lane.wakes(100.0) == 100.0


class Recorder:
    """A concurrency that counts."""

    limit = 5
    drops = 0

    def answered(self, seconds: float) -> None: ...

    def dropped(self) -> None:
        self.drops += 1


def test_overload_and_timeouts_slow_a_node_down() -> None:
    recorder = Recorder()
    target = target_of()
    target.way.lane.concurrency = recorder
    for response in (
        answered(target, 429),
        answered(target, 503),
        answered(target, 0, fault=Fault.TIMEOUT),
        answered(target, 0, fault=Fault.FIRST_BYTE_TIMEOUT),
        answered(target, 0, fault=Fault.CONNECT_TIMEOUT),
        answered(target, 502),
        answered(target, 0, fault=Fault.CONNECT),
    ):
        Retries(0).after(response, target, 100.0)
    assert recorder.drops == 5


def test_a_retried_target_forgets_what_it_kept() -> None:
    target = target_of()
    target.body = b"half a page"
    Retries(1).after(answered(target, 503), target, 100.0)
    assert target.body == b""


def test_nothing_is_retried_on_an_abandoned_node() -> None:
    target = target_of()
    target.way.lane.abandon("it failed")
    assert not Retries(5).after(answered(target, 503), target, 100.0)
    assert target.retries == 0
