"""What a prime and a clear say of what they did."""

from cachekit.caches.tally import Tally, cleared


def test_what_is_there_was_looked_up() -> None:
    change = Tally(found=3, stored=1, present=1, skipped=1).change()
    assert change.left == 0
    assert change.evidence == ("2 looked up after each batch", "nothing was evicted")


def test_nothing_that_is_there_has_no_evidence() -> None:
    tally = Tally(found=2, skipped=1)
    tally.fail(b"shop:\xff", "too large")
    change = tally.change()
    assert (change.left, change.evidence) == (1, ())
    assert change.warnings == ("shop:\\xff: too large",)
    assert Tally().change().evidence == ()


def test_evictions_take_the_proof_away() -> None:
    change = Tally(found=1, stored=1, evicted=1).change()
    assert (change.left, change.evidence) == (None, ())


def test_a_clear_finds_what_it_removes_and_what_is_left() -> None:
    change = cleared(7, 2)
    assert (change.found, change.removed, change.left) == (9, 7, 2)
    assert change.evidence == ("looked for again afterwards: 2 there",)
    assert change.warnings == ("2 are still being written",)
    assert cleared(7, 0).warnings == ()
