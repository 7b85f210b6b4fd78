"""What CI servers are told of a run: annotations, a summary in Markdown, JUnit."""

import html
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachekit.golive.base import Standing
from cachekit.reports import junit
from cachekit.reports.ci import annotations
from cachekit.reports.markdown import LIMIT, summary
from cachekit.results import (
    Check,
    NodeResult,
    Outcome,
    PassResult,
    ReasonCount,
    TargetResult,
    WarmReport,
)
from cachekit.runs import NodeReport, RunOutcome, RunReport, StepReport

ANNOTATION = re.compile(r"::(?P<level>error|warning) title=(?P<title>[^:,]*)::(?P<message>.*)")
BAR = re.compile(r"(?<!\\)\|")


def step(outcome: RunOutcome = RunOutcome.DONE, **facts: Any) -> StepReport:
    usual: dict[str, Any] = {"id": "1", "title": "clear views", "action": "clear"}
    return StepReport(outcome=outcome, **(usual | facts))


def run(*steps: StepReport, **facts: Any) -> RunReport:
    usual: dict[str, Any] = {
        "run": "20261125-100000-77",
        "plan": "deploy",
        "site": "https://shop.example",
        "release": "r42",
        "previous": "r41",
        "facts": {"tool": "kamal", "actor": "ann"},
        "started": 1.8e9,
        "elapsed": 12.0,
        "outcome": max((each.outcome for each in steps), key=lambda o: o.rank, default="done"),
        "exit_code": 0,
        "ended_early": "",
        "warnings": (),
        "nodes": (),
    }
    return RunReport(steps=steps, **(usual | facts))


def node(name: str = "web1") -> NodeResult:
    empty = PassResult()
    return NodeResult(
        name=name, address="10.0.0.11", targets=10, asked=10, ok=9, fill=empty, verify=empty
    )


def warm(outcome: Outcome = Outcome.GO, **facts: Any) -> WarmReport:
    usual: dict[str, Any] = {
        "site": "https://shop.example",
        "exit_code": 0,
        "started": "2026-11-25T10:00:00+00:00",
        "elapsed": 12.0,
        "ended_early": "",
        "run": "20261125-100000-77",
        "skipped": 0,
        "urls": 10,
        "variants": (),
        "targets": 10,
        "cuts": {},
        "warnings": (),
        "nodes": (node(),),
        "total": node(""),
        "verify": Fraction(1),
        "sample": None,
        "checks": (),
        "node_outcomes": {"web1": outcome},
        "reasons": (),
        "failures": (),
        "failures_cut": 0,
        "slowest": (),
    }
    return WarmReport(outcome=outcome, **(usual | facts))


def check(outcome: Outcome, on: str | None = None) -> Check:
    return Check(name="min_hit", node=on, outcome=outcome, found="80%", wanted="at least 95%")


def reason(title: str, *, failure: bool, advice: str = "mend it") -> ReasonCount:
    return ReasonCount(
        code="x", title=title, advice=advice, failure=failure, count=12, examples=("/a", "/b")
    )


def target(**facts: Any) -> TargetResult:
    usual: dict[str, Any] = {
        "url": "https://shop.example/a",
        "node": "web1",
        "variant": "",
        "pass_name": "fill",
        "verdict": "error",
        "status": 500,
        "seconds": 0.1,
        "retries": 0,
        "reasons": ("status 500",),
        "detail": "",
    }
    return TargetResult(**(usual | facts))


def test_a_step_that_failed_is_an_error_with_the_nodes_that_it_lost() -> None:
    failed = step(
        RunOutcome.FAILED,
        id="2b",
        title="warm top: 100% of it",
        reason="1 of 2 nodes below the floor",
        lost={"web1": "min_hit 80%"},
    )
    assert annotations(run(step(), failed)) == [
        "::error title=cachekit run deploy%3A step 2b%2C warm top%3A 100%25 of it::"
        "failed: 1 of 2 nodes below the floor%0Aweb1: min_hit 80%25"
    ]


@pytest.mark.parametrize(
    ("outcome", "level"),
    [
        (RunOutcome.DONE, ""),
        (RunOutcome.SKIPPED, ""),
        (RunOutcome.DEGRADED, "warning"),
        (RunOutcome.UNKNOWN, "warning"),
        (RunOutcome.FAILED, "error"),
    ],
)
def test_what_a_step_came_to_decides_the_level(outcome: RunOutcome, level: str) -> None:
    found = annotations(run(step(outcome)))
    title = "title=cachekit run deploy%3A step 1%2C clear views"
    assert found == ([f"::{level} {title}::{outcome}"] if level else [])


def test_errors_come_first_then_nodes_and_warnings() -> None:
    report = run(
        step(warnings=("2 keys expire soon",)),
        ended_early="stopped by SIGTERM",
        warnings=("TLS is not verified",),
        nodes=(
            NodeReport(name="web1", standing=Standing.OUT, reason="its gate said no"),
            NodeReport(name="web2", standing=Standing.UNKNOWN),
            NodeReport(name="web3", standing=Standing.IN),
            NodeReport(name="old1", standing=Standing.OUT),
        ),
    )
    found = [ANNOTATION.fullmatch(line) for line in annotations(report)]
    assert [(match["level"], match["message"]) for match in found if match] == [
        ("error", "stopped by SIGTERM"),
        ("warning", "2 keys expire soon"),
        ("warning", "out: its gate said no"),
        ("warning", "unknown"),
        ("warning", "TLS is not verified"),
    ]


@pytest.mark.parametrize(("count", "shown", "more"), [(9, 9, 0), (10, 10, 0), (11, 10, 2)])
def test_at_most_ten_of_each_level_and_the_rest_is_counted(
    count: int, shown: int, more: int
) -> None:
    steps = [step(RunOutcome.FAILED, id=str(number), warnings=("w",)) for number in range(count)]
    found = annotations(run(*steps))
    for level in ("error", "warning"):
        lines = [line for line in found if line.startswith(f"::{level} ")]
        assert len(lines) == shown
        assert lines[-1].endswith("::2 more; the report names each") == bool(more)


def test_a_gate_that_says_no_is_an_error_with_its_reasons() -> None:
    report = warm(
        Outcome.NO_GO,
        checks=(check(Outcome.GO), check(Outcome.NO_GO, "web1"), check(Outcome.DEGRADED)),
        reasons=(reason("status 500", failure=True), reason("sets a cookie", failure=False)),
    )
    assert annotations(report) == [
        "::error title=cachekit warm%3A min_hit on web1::80%25; wanted at least 95%25",
        "::error title=cachekit warm%3A status 500::12 x status 500%0Amend it%0A/a%0A/b",
        "::warning title=cachekit warm%3A min_hit::80%25; wanted at least 95%25",
        "::warning title=cachekit warm%3A sets a cookie::12 x sets a cookie%0Amend it%0A/a%0A/b",
    ]


def test_failures_within_the_thresholds_are_no_errors() -> None:
    reasons = (reason("status 500", failure=True), reason("sets a cookie", failure=False))
    (line,) = annotations(warm(reasons=reasons))
    assert line.startswith("::warning title=cachekit warm%3A status 500::")


def test_a_run_without_faults_has_no_annotations() -> None:
    assert annotations(warm(checks=(check(Outcome.GO),))) == []
    assert annotations(run(step())) == []


@given(st.text(), st.text(), st.text(), st.text(), st.text())
def test_an_annotation_is_one_line_whatever_it_tells(
    plan: str, title: str, why: str, name: str, warning: str
) -> None:
    report = run(
        step(RunOutcome.FAILED, title=title, reason=why, lost={name: why}),
        plan=plan,
        ended_early=why,
        warnings=(warning,),
        nodes=(NodeReport(name=name, standing=Standing.UNKNOWN, reason=why),),
    )
    for line in (*annotations(report), *annotations(warm(ended_early=why, warnings=(warning,)))):
        assert ANNOTATION.fullmatch(line)
        assert line.isprintable()


@pytest.mark.parametrize("text", ["x" * 100_000, "%" * 100_000])
def test_what_is_endless_is_cut_and_not_in_an_escape(text: str) -> None:
    (line,) = annotations(run(step(RunOutcome.FAILED, title=text, reason=text)))
    match = ANNOTATION.fullmatch(line)
    assert match
    assert len(match["title"]) <= 3 * 120
    assert len(match["message"]) <= 3 * 4000
    assert not re.sub("%25|%3A|%2C", "", line).count("%")


def test_the_summary_of_a_run_of_a_plan() -> None:
    report = run(
        step(evidence=("looked for again: 0 there",), nodes=("web1", "web2"), elapsed=1.5),
        step(RunOutcome.FAILED, id="2", title="warm top", lost={"web1": "min_hit 80%"}),
        nodes=(NodeReport(name="web1", standing=Standing.OUT, reason="its gate said no"),),
        warnings=("TLS is not verified",),
    )
    assert summary(report) == (
        "## FAILED: cachekit run deploy\n"
        "\n"
        "https://shop.example, release r42, previous r41, in 12.0 s, run 20261125-100000-77,"
        " tool kamal, actor ann\n"
        "\n"
        "| step | what | nodes | outcome | time | why, or what proves it |\n"
        "| --- | --- | --- | --- | --- | --- |\n"
        "| 1 | clear views | web1, web2 | done | 1.5 s | looked for again: 0 there |\n"
        "| 2 | warm top |  | failed |  | web1: min&#95;hit 80% |\n"
        "\n"
        "| node | visitors | why |\n"
        "| --- | --- | --- |\n"
        "| web1 | out | its gate said no |\n"
        "\n"
        "**Warnings**\n"
        "\n"
        "- TLS is not verified\n"
        "\n"
        "**Next**\n"
        "\n"
        "- no visitor reaches web1: its gate said no\n"
        "- mend what failed in step 2 (warm top)\n"
        "- run the same command again with --resume: what is done is not done again\n"
    )


def test_the_summary_of_a_warm() -> None:
    report = warm(
        Outcome.NO_GO,
        exit_code=1,
        checks=(check(Outcome.NO_GO),),
        reasons=(reason("status 500", failure=True),),
        failures=(target(),) * 12,
        failures_cut=3,
    )
    text = summary(report)
    assert text.startswith("## NO-GO: cachekit warm https://shop.example\n\n10 URLs x 1 node = 10")
    assert "| no-go | min&#95;hit | all | 80% | at least 95% |\n" in text
    assert "| 12 | status 500 | mend it | /a, /b |\n" in text
    failure = "- https://shop.example/a on web1, fill pass: status 500 (status 500)\n"
    assert text.count(failure) == 10
    assert f"{failure}- and 5 more\n" in text
    assert text.endswith("most of all: status 500 - mend it\n")


def tables(text: str) -> Iterator[list[str]]:
    for block in text.split("\n\n"):
        if block.startswith("| "):
            yield block.rstrip("\n").split("\n")


MARKUP = st.text(st.sampled_from("|`*_[]()<>\\&#!~-\n\r\t ab\u2028\x1b"), max_size=30)


@given(MARKUP | st.text(max_size=30), MARKUP | st.text(max_size=30))
def test_no_text_breaks_a_table_or_is_read_as_markup(one: str, other: str) -> None:
    lost = step(RunOutcome.FAILED, title=one, reason=other, nodes=(one, other), lost={one: other})
    nodes = (NodeReport(name=one, standing=Standing.OUT, reason=other),)
    report = run(lost, plan=one, ended_early=other, warnings=(one,), nodes=nodes)
    other_report = warm(
        Outcome.NO_GO,
        site=one,
        checks=(check(Outcome.NO_GO, other or "web1"),),
        reasons=(reason(one, failure=True, advice=other),),
        failures=(target(url=one, detail=other),),
        nodes=(node(one),),
    )
    for text, count in ((summary(report), 2), (summary(other_report), 3)):
        found = list(tables(text))
        assert len(found) == count
        for table in found:
            assert len({len(BAR.findall(row)) for row in table}) == 1
            assert not re.search(r"[`*\[\]<>\\]|&(?!#\d+;)", "".join(table))


@given(st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1))
def test_a_text_reads_as_it_is(title: str) -> None:
    (steps,) = tables(summary(run(step(title=title))))
    assert html.unescape(steps[2].split(" | ")[1]) == title


@pytest.mark.parametrize("make", [lambda text: run(step(reason=text)), lambda t: warm(site=t)])
def test_a_summary_is_never_longer_than_it_may_be(
    make: Callable[[str], RunReport | WarmReport],
) -> None:
    assert len(summary(make("é" * LIMIT)).encode()) <= LIMIT
    rows = summary(run(*(step(reason="é" * 200) for _ in range(500))), limit=20_000)
    assert len(rows.encode()) <= 20_000
    assert rows.endswith(" |\n\n\n(cut: the rest is too long for a summary)\n")


def suite_of(report: RunReport) -> ET.Element:
    root = ET.fromstring(junit.render_run(report))
    (suite,) = root
    return suite


def test_each_step_is_a_case_and_only_proof_passes() -> None:
    suite = suite_of(
        run(
            step(evidence=("0 left",), warnings=("2 keys expire soon",), elapsed=1.5),
            step(RunOutcome.DEGRADED, id="2"),
            step(RunOutcome.UNKNOWN, id="3a", reason="nothing proves that it took effect"),
            step(RunOutcome.FAILED, id="3b", reason="refused", lost={"web1": "no answer"}),
            step(RunOutcome.SKIPPED, id="4", reason="step 3b failed"),
            warnings=("TLS is not verified",),
        )
    )
    counts = {name: suite.get(name) for name in ("tests", "failures", "skipped")}
    assert counts == {"tests": "5", "failures": "2", "skipped": "1"}
    told = {case.get("name"): case for case in suite.findall("testcase")}
    assert list(told) == [f"{number} clear views" for number in ("1", "2", "3a", "3b", "4")]
    passed = told["1 clear views"]
    assert passed.get("time") == "1.500"
    assert passed.get("classname") == "deploy"
    assert passed.findtext("system-out") == "done\n0 left\nWARNING: 2 keys expire soon"
    assert told["3a clear views"].find("failure") is not None
    failure = told["3b clear views"].find("failure")
    assert failure is not None
    assert failure.get("message") == "failed: refused"
    assert failure.text == "failed: refused\nweb1: no answer"
    assert told["4 clear views"].findtext("skipped") == "skipped: step 3b failed"
    assert suite.findtext("system-out") == "WARNING: TLS is not verified"


def test_a_run_that_ended_early_fails_although_each_step_passed() -> None:
    suite = suite_of(run(step(), ended_early="stopped by SIGTERM"))
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    assert suite.findtext("testcase[@name='complete']/failure") == "stopped by SIGTERM"


@given(st.text(), st.text(), st.sampled_from(RunOutcome))
def test_any_text_gives_valid_xml(one: str, other: str, outcome: RunOutcome) -> None:
    report = run(
        step(outcome, id=one, title=other, reason=one, lost={other: one}, evidence=(other,)),
        plan=one,
        ended_early=other,
        warnings=(one,),
    )
    suite = suite_of(report)
    assert len(suite.findall("testcase")) == 1 + bool(other)
