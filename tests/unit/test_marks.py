"""Which targets a pass asks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachekit.events import FILL, VERIFY
from cachekit.warming.marks import Marks
from tests.pieces import done_of


def verified(marks: Marks, share: float) -> list[int]:
    wanted = marks.wanted(VERIFY, share) or (lambda _: True)
    return [number for number in range(len(marks.ok)) if wanted(number)]


@given(st.binary(max_size=40).map(lambda raw: bytes(byte & 1 for byte in raw)))
def test_a_sample_holds_at_least_one_target_that_is_ok(ok: bytes) -> None:
    marks = Marks(len(ok), "run web1")
    marks.ok[:] = ok
    chosen = verified(marks, 0.001)
    assert all(ok[number] for number in chosen)
    assert bool(chosen) is (1 in ok)
    assert verified(marks, 1) == [number for number, is_ok in enumerate(ok) if is_ok]


@pytest.mark.parametrize("share", [0.001, 0.5, 1])
def test_what_was_verified_before_is_not_verified_again_nor_replaced(share: float) -> None:
    marks = Marks(100, "run web1")
    marks.ok[:] = b"\1" * 100
    first = verified(marks, share)
    for number in range(100):
        marks.add_before(done_of(pass_name=FILL, ordinal=number))
    for number in first:
        marks.add_before(done_of(pass_name=VERIFY, ordinal=number))
    assert verified(marks, share) == []
    assert marks.left_to_verify(1) == 100 - len(first)


def test_nodes_and_runs_verify_other_targets_and_a_resumed_run_the_same() -> None:
    def sample(name: str) -> list[int]:
        marks = Marks(1000, name)
        marks.ok[:] = b"\1" * 1000
        return verified(marks, 0.1)

    assert sample("run web1") == sample("run web1")
    others = [sample("run web1"), sample("run web2"), sample("later web1")]
    assert all(50 < len(numbers) < 150 for numbers in others)
    assert len({number for numbers in others for number in numbers}) > 200
