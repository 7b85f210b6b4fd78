"""Results as plain data, and back."""

import json
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachekit.caches.base import Change, Status, Survey
from cachekit.documents import action_document, action_report, warm_document, warm_report
from cachekit.outcomes import ActionReport, StepOutcome, StepResult
from cachekit.results import Sample, WarmReport

SHARES = st.fractions(0, 1)
SAMPLES = st.none() | st.builds(Sample, share=SHARES)


@given(st.builds(WarmReport, verify=SHARES, sample=SAMPLES))
def test_a_warm_report_comes_back_whole(report: WarmReport) -> None:
    written = json.dumps(warm_document(report))
    again = warm_report(json.loads(written))
    assert json.dumps(warm_document(again)) == written
    assert again.outcome is report.outcome
    assert isinstance(again.verify, Fraction)


def step_of(found: Change | Status | Survey | None) -> StepResult:
    return StepResult(
        cache="pages", place="web1", layer=20, outcome=StepOutcome.DONE, found=found, elapsed=0.25
    )


@pytest.mark.parametrize(
    "found",
    [
        Change(found=3, removed=3, left=0, evidence=("asked again: a miss",)),
        Change(),
        Survey(found=3, total=9, examples=("a", "b")),
        Status(version="7.0", items=3, hazards=("no limit is set",)),
        None,
    ],
)
def test_a_report_of_actions_comes_back_whole(found: Change | Status | Survey | None) -> None:
    report = ActionReport(
        action="clear", what="everything", steps=(step_of(found),), elapsed=0.5, notes=("added",)
    )
    written = json.dumps(action_document(report, exit_code=0))
    assert action_report(json.loads(written)) == report


def test_what_a_later_version_adds_is_left_out_and_what_an_earlier_lacks_has_its_default() -> None:
    report = ActionReport(action="clear", what="", steps=(step_of(Change(found=1)),), elapsed=1)
    document = json.loads(json.dumps(action_document(report, exit_code=0)))
    document["colour"] = "blue"
    del document["notes"], document["steps"][0]["found"]["skipped"]
    assert action_report(document) == report


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"command": "warm"},
        {"command": "clear", "what": "", "steps": 3, "elapsed": 1},
        {"command": "clear", "what": "", "steps": ["x"], "elapsed": 1},
        {"command": "clear", "what": "", "steps": [{"outcome": "great"}], "elapsed": 1},
    ],
)
def test_what_is_no_document_is_refused(document: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"not the document|great"):
        action_report(document)
    with pytest.raises(ValueError, match="not the document of a WarmReport"):
        warm_report(document)
