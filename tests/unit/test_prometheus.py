"""The metrics of a run, read by the parser of Prometheus' own client."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from cachekit.model import shown
from cachekit.reports import prometheus
from cachekit.results import WarmReport
from cachekit.runs import RunReport
from tests import run_samples


def read(report: RunReport | WarmReport) -> dict[str, dict[tuple[str, ...], float]]:
    """Give the value of each metric by its labels, but for those that all have."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(prometheus.render(report)):
        assert family.type == "gauge"
        assert family.documentation
        for sample in family.samples:
            site, _plan, *labels = sample.labels.values()
            assert site == report.site
            name = sample.name.removeprefix("cachekit_")
            assert tuple(labels) not in found.setdefault(name, {})
            found[name][tuple(labels)] = sample.value
    return found


def test_a_failed_roll() -> None:
    run = run_samples.failed_roll()
    found = read(run)
    assert found["run_info"] == {(run.run, "r42", "r41"): 1}
    assert {key for key, value in found["run_outcome"].items() if value} == {("failed",)}
    assert found["run_exit_code"] == {(): 1}
    assert found["run_start_timestamp_seconds"] == {(): run.started}
    assert found["run_end_timestamp_seconds"] == {(): run.started + 36.9}
    assert found["run_duration_seconds"] == {(): 36.9}
    standings = {key for key, value in found["node_standing"].items() if value}
    assert standings == {("node1", "in"), ("node2", "out")}
    outcomes = {key[0]: key[-1] for key, value in found["step_outcome"].items() if value}
    assert outcomes["3/node2/1"] == "failed"
    assert outcomes["4"] == "skipped"
    assert found["step_duration_seconds"]["2b", "run", "run bin/migrate-caches"] == 6.2
    assert ("4", "run", "purge the edge") not in found["step_duration_seconds"]


def test_a_warm_has_its_figures_per_node_and_pass() -> None:
    report = run_samples.bad_warm()
    found = read(report)
    node = report.nodes[0]
    labels = ("1", node.name)
    assert found["warm_targets"][labels] == 205
    assert found["warm_ok_targets"][labels] == 203
    for name, result in (("fill", node.fill), ("verify", node.verify)):
        for figure in ("asked", "ok", "hits", "counted", "retries"):
            assert found[f"warm_{figure}"][*labels, name] == getattr(result, figure)
        for quantile, seconds in (("0.5", result.latency.p50), ("1", result.latency.longest)):
            assert found["warm_latency_seconds"][*labels, name, quantile] == seconds
    assert len(found["warm_asked"]) == 4


def test_the_end_of_a_resumed_warm_is_not_known() -> None:
    report = replace(run_samples.good_warm(), skipped=5)
    assert "run_end_timestamp_seconds" not in read(report)
    assert "run_start_timestamp_seconds" in read(report)


@pytest.mark.parametrize("report", [run_samples.good_run, run_samples.good_warm])
def test_ends_with_a_newline_and_describes_every_metric(report: Any) -> None:
    text = prometheus.render(report())
    assert text.endswith("\n")
    names = {line.partition("{")[0] for line in text.splitlines() if not line.startswith("#")}
    for kind in ("HELP", "TYPE"):
        told = [line.split()[2] for line in text.splitlines() if line.startswith(f"# {kind} ")]
        assert len(told) == len(set(told))
        assert set(told) == names


@settings(deadline=None, max_examples=60)
@given(
    st.text(st.characters(), max_size=20) | st.sampled_from(['"} 1\n# x', "\\", "\\n", "\udcff"])
)
def test_any_text_is_only_a_label(text: str) -> None:
    plain, named = (prometheus.render(run_samples.named(each)) for each in ("x", text))
    named.encode()
    families = list(text_string_to_metric_families(named))
    assert len(families) == len(list(text_string_to_metric_families(plain)))
    assert named.count("\n") == plain.count("\n")
    assert families[0].samples[0].labels["site"] == shown(text)
