"""The HTML report: what it says, in which order, what it leaves out; any text is only text."""

import re
from dataclasses import replace
from typing import Any

import lxml.html
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cachekit.golive.base import Standing
from cachekit.reports import html
from cachekit.reports.html.curves import BOTTOM, LEFT, RIGHT, TOP, Axes, axes
from cachekit.reports.html.gather import Warmed
from cachekit.reports.html.timeline import in_order, timeline
from cachekit.results import Outcome, TargetResult, WarmReport
from cachekit.runs import NodeReport, RunOutcome, RunReport, StepReport
from tests import run_samples

MEGABYTE = 1_000_000


def parsed(page: str) -> Any:
    """Read the page, without the places at which URLs may break."""
    return lxml.html.document_fromstring(page.replace("<wbr>", ""))


def words(element: Any) -> str:
    """Give the text of an element, with single spaces."""
    return " ".join(" ".join(element.itertext()).split())


def text_of(page: str) -> str:
    return words(parsed(page).find("body"))


def headings(page: str) -> list[str]:
    return [heading.text_content() for heading in parsed(page).iter("h2")]


def test_a_failed_roll_says_what_is_wrong_before_all_else() -> None:
    page = html.render(run_samples.failed_roll())
    assert headings(page) == [
        "What to do next",
        "Facts",
        "Nodes",
        "Cold against warm",
        "Timeline",
        "Gate",
        "Reasons",
        "Failures",
        "Slowest answers",
        "Steps",
    ]
    text = text_of(page)
    parts = [
        "FAILED",
        "deploy r42 on http://shop.example",
        "no visitor reaches node2: min_ok: 99.02%",
        "who alice",
        "100% 203 of 203",
        "percentile of 203 answers",
        "exchanged in one step",
        "2 sessions were left",
        "an earlier step failed",
    ]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)


def test_the_figures_are_those_of_the_documents() -> None:
    run = run_samples.failed_roll()
    rows = parsed(html.render(run)).xpath("//section[h2='Nodes']//tbody/tr")
    assert [row.find("th").text_content().split()[0] for row in rows] == ["node1", "node2"]
    cells = [[words(cell) for cell in row.iter("td")] for row in rows]
    assert [row[:5] for row in cells] == [
        ["in", "3/node1/1", "go", "100% 203 of 203", "0%"],
        ["out", "3/node2/1", "no-go", "99.02% 203 of 205", "0%"],
    ]
    warm = run_samples.documents().good_node1["nodes"][0]["verify"]
    assert cells[0][5] == f"{warm['hits'] / warm['counted']:.2%}"


@pytest.mark.parametrize(
    ("report", "word", "said"),
    [
        (run_samples.good_warm, "GO", "go live; the nodes meet every threshold"),
        (run_samples.bad_warm, "NO-GO", "keep these nodes out (exit 1); most of all: "),
        (run_samples.good_run, "DONE", "nothing; all of it is proven"),
        (run_samples.unproven_run, "UNKNOWN", "look for yourself whether visitors reach node2"),
    ],
)
def test_the_verdict_is_a_word_and_says_what_to_do(report: Any, word: str, said: str) -> None:
    page = html.render(report())
    badge = parsed(page).xpath("//header//svg[@class='badge']")[0]
    assert badge.text_content().strip() == word
    assert badge.get("aria-label") == word
    assert said in text_of(page)
    assert parsed(page).findtext(".//title").startswith(f"{word}: ")


def test_it_holds_all_it_needs_and_no_script() -> None:
    page = html.render(run_samples.failed_roll())
    tree = parsed(page)
    assert not tree.xpath("//script | //link | //img | //iframe | //@style | //a | //form")
    assert not [name for name in tree.xpath("//@*/..") if any(k[:2] == "on" for k in name.attrib)]
    assert set(tree.xpath("//@href")) <= {f"#{symbol}" for symbol in tree.xpath("//symbol/@id")}
    style = tree.findtext(".//style")
    assert "url(" not in style
    assert "@import" not in style


def test_the_same_run_gives_the_same_page() -> None:
    assert html.render(run_samples.failed_roll()) == html.render(run_samples.failed_roll())


def failing(count: int, url: str) -> WarmReport:
    one = TargetResult(
        url=url, node="node1", variant="mobile", pass_name="verify", verdict="error", status=503,
        seconds=1.25, retries=2, reasons=("status-503",), detail="no backend " * 200,
    )  # fmt: skip
    failures = tuple(replace(one, url=f"{url}?page={number}") for number in range(count))
    return replace(run_samples.bad_warm(), failures=failures, failures_cut=17)


def test_a_thousand_failures_stay_small_and_the_rest_is_counted() -> None:
    page = html.render(failing(1000, "http://shop.example/" + "very/long/" * 200))
    assert len(page.encode()) < MEGABYTE
    text = text_of(page)
    assert "817 more failures are left out here; --format json with --max-listed has them" in text
    assert "more)" in text  # each text that is too long says how much was cut


def test_a_large_cluster_stays_small_and_the_rest_is_counted() -> None:
    good = run_samples.good_warm()
    one = good.nodes[0]
    nodes = tuple(replace(one, name=f"web{number}") for number in range(400))
    page = html.render(replace(good, nodes=nodes, outcome=Outcome.DEGRADED))
    assert len(page.encode()) < MEGABYTE
    assert "100 more nodes are left out here" in text_of(page)
    assert "377 more plots are left out here" in text_of(page)


def test_many_steps_are_cut_in_the_timeline_as_well() -> None:
    steps = tuple(run_samples.step(f"{n}", "wait", "wait", n, 1) for n in range(1, 402))
    page = html.render(replace(run_samples.good_run(), steps=steps))
    assert text_of(page).count("101 more steps are left out here") == 2
    assert len(parsed(page).xpath("//table[@class='timeline']/tbody/tr")) == 300


def test_a_document_that_cannot_be_read_is_no_reason_to_fail() -> None:
    run = run_samples.good_run()
    steps = tuple(replace(step, document={"command": "warm"}) for step in run.steps)
    text = text_of(html.render(replace(run, steps=steps)))
    assert "what it found cannot be read: not the document of a WarmReport" in text


TEXTS = st.text(st.characters(), min_size=1, max_size=30) | st.sampled_from(
    [
        "<script>alert(1)</script>",
        "</style></title>",
        "\"'&amp;<!--",
        "]]>",
        "{{ 7 * 7 }}",
        "\udcff",
    ]
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=60)
@given(TEXTS)
def test_any_text_is_only_text(text: str) -> None:
    plain, named = (html.render(run_samples.named(each)) for each in ("x", text))
    named.encode()
    assert [each.tag for each in parsed(plain).iter()] == [
        each.tag for each in parsed(named).iter()
    ]
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u202e\ufeff]", named)


def spans_of(*spans: tuple[float, float]) -> list[StepReport]:
    return [
        run_samples.step(f"{number}", "wait", "wait", at, elapsed)
        for number, (at, elapsed) in enumerate(spans, start=1)
    ]


def test_a_timeline_keeps_proportions() -> None:
    found = timeline(spans_of((0, 10), (10, 20), (30, 10)))
    assert [(bar.left, bar.width) for bar in found.bars] == [(0, 25), (25, 50), (75, 25)]
    assert [(mark.at, mark.label) for mark in found.marks] == [
        (0, "0"), (25, "10 s"), (50, "20 s"), (75, "30 s"), (100, "40 s"),
    ]  # fmt: skip


def test_a_night_between_two_parts_of_a_run_is_cut_short() -> None:
    found = timeline(spans_of((0, 10), (40_000, 10)))
    (first, second), pause = found.bars, found.marks[-1]
    assert first.left is not None
    assert second.left is not None
    assert first.width == pytest.approx(second.width) == pytest.approx(100 / 2.12, abs=1)
    assert first.left + first.width < pause.at < second.left
    assert (pause.label, pause.is_pause) == ("+ 11 h 06 min", True)


@given(
    st.lists(
        st.tuples(st.floats(0, 1e6), st.just(0.0) | st.floats(0, 1e5)), min_size=1, max_size=12
    )
)
def test_no_bar_leaves_the_timeline(spans: list[tuple[float, float]]) -> None:
    found = timeline(in_order(spans_of(*spans)))
    assert all(bar.left is not None and bar.left >= 0 and bar.width > 0 for bar in found.bars)
    assert all((bar.left or 0) + bar.width <= 100.001 for bar in found.bars)
    assert all(-0.001 <= mark.at <= 100.001 for mark in found.marks)


def test_what_was_skipped_has_no_bar() -> None:
    skipped = replace(spans_of((5, 0))[0], outcome=RunOutcome.SKIPPED)
    assert timeline([skipped]).bars[0].left is None


def test_a_roll_comes_before_what_is_within_it() -> None:
    order = [step.id for step in in_order(run_samples.failed_roll().steps)]
    assert order[:5] == ["1", "2a", "2b", "3", "3/node1/out"]
    assert order[-1] == "4"


def test_axes_open_the_tail_and_hold_all_curves() -> None:
    report = run_samples.good_warm()
    shared = axes([Warmed("1", node, report) for node in report.nodes])
    assert isinstance(shared, Axes)
    assert [shared.x(percent) for percent in (0, 100)] == [LEFT, RIGHT]
    assert shared.x(90) - shared.x(0) == pytest.approx(shared.x(99) - shared.x(90))
    assert [tick.label for tick in shared.percentiles()] == ["0", "50%", "90%", "99%", "max"]
    for node in report.nodes:
        for percent, seconds in (*node.fill.latency.curve, *node.verify.latency.curve):
            assert LEFT <= shared.x(percent) <= RIGHT
            assert TOP < shared.y(seconds) < BOTTOM


def test_nodes_that_were_not_warmed_are_named_with_their_standing() -> None:
    run: RunReport = replace(
        run_samples.good_run(),
        nodes=(NodeReport(name="web9", standing=Standing.OUT, reason="by hand"),),
        steps=(),
    )
    assert "web9 by hand out" in text_of(html.render(run))
