"""Why a step ended as it did is told once."""

import pytest

from cachekit.reports.reasons import reasons_of
from cachekit.runs import RunOutcome, StepReport


@pytest.mark.parametrize(
    ("action", "reason", "lost", "told"),
    [
        ("warm", "min_ok: 97%", {"web1": "min_ok: 97%"}, ("min_ok: 97%",)),
        ("warm", "min_ok: 97%", {"web1": "min_ok: 9%"}, ("min_ok: 97%", "web1: min_ok: 9%")),
        ("run", "web1: status 1", {"web1": "status 1"}, ("web1: status 1",)),
        ("roll", "web2, web1 not reached", {"web2": "x", "web1": "y"}, ("web1: y", "web2: x")),
        ("roll", "nobody would serve", {}, ("nobody would serve",)),
        ("warm", "", {}, ()),
    ],
)
def test_each_reason_is_told_once(
    action: str, reason: str, lost: dict[str, str], told: tuple[str, ...]
) -> None:
    step = StepReport(
        id="1", title="", action=action, outcome=RunOutcome.FAILED, reason=reason, lost=lost
    )
    assert reasons_of(step) == told
