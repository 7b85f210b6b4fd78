"""Metrics of a run for node_exporter's textfile collector, which reads files named `*.prom`.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from cachekit.model import shown
from cachekit.reports.found import found_by
from cachekit.reports.single import as_run
from cachekit.results import NodeResult, PassResult, WarmReport
from cachekit.runs import RunOutcome, RunReport, StepReport

_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
_HELP = {
    "run_info": "1; what the last run was.",
    "run_outcome": "1 for how the last run ended, 0 for the other outcomes.",
    "run_exit_code": "Exit code of the last run.",
    "run_start_timestamp_seconds": "When the last run began.",
    "run_end_timestamp_seconds": "When the last run ended; not told of a warm that was resumed.",
    "run_duration_seconds": "How long the last run took.",
    "step_outcome": "1 for how the step ended, 0 for the other outcomes.",
    "step_duration_seconds": "How long the step took.",
    "node_standing": "1 for where the run left the node, 0 for the other standings.",
    "warm_targets": "Targets of the node: URLs times variants.",
    "warm_ok_targets": "Targets that were ok in every pass.",
    "warm_asked": "Targets asked in the pass.",
    "warm_ok": "Targets that were ok in the pass.",
    "warm_hits": "Hits among the targets that count for the hit rate.",
    "warm_counted": "Targets that count for the hit rate.",
    "warm_retries": "Retries in the pass.",
    "warm_latency_seconds": "Time of good answers in the pass, by quantile; 1 is the longest.",
}


def render(report: RunReport | WarmReport) -> str:
    """Write the metrics of a run of a plan, or of a run of the warmer alone."""
    run = as_run(report) if isinstance(report, WarmReport) else report
    metrics = _Metrics({"site": run.site, "plan": run.plan})
    _add_run(metrics, run)
    for node in run.nodes:
        metrics.add_state("node_standing", "standing", node.standing, node=node.name)
    for step in run.steps:
        _add_step(metrics, step)
    return metrics.text()


@dataclass
class _Metrics:
    """Samples by metric and labels: of two that are labelled alike the collector would take none.

    All have the site and the plan, so that files of other runs may lie beside.
    """

    common: Mapping[str, str]
    samples: dict[str, dict[str, float]] = field(default_factory=dict)

    def add(self, name: str, value: float, **labels: str) -> None:
        every = {**self.common, **labels}
        written = ",".join(f'{key}="{_escaped(text)}"' for key, text in every.items())
        self.samples.setdefault(name, {})[written] = value

    def add_state(self, name: str, label: str, state: StrEnum, **labels: str) -> None:
        """Add one sample for each of the states that are possible."""
        for each in type(state):
            self.add(name, int(each is state), **labels, **{label: each.value})

    def text(self) -> str:
        return "".join(
            f"# HELP cachekit_{name} {_HELP[name]}\n# TYPE cachekit_{name} gauge\n"
            + "".join(
                f"cachekit_{name}{{{labels}}} {value!r}\n" for labels, value in samples.items()
            )
            for name, samples in self.samples.items()
        )


def _add_run(metrics: _Metrics, run: RunReport) -> None:
    metrics.add("run_info", 1, run=run.run, release=run.release, previous=run.previous)
    metrics.add_state("run_outcome", "outcome", run.outcome)
    metrics.add("run_exit_code", int(run.exit_code))
    metrics.add("run_start_timestamp_seconds", run.started)
    metrics.add("run_duration_seconds", run.elapsed)
    # A warm that was resumed tells when its first part began, and how long its last one took.
    if run.plan or not any(step.resumed for step in run.steps):
        metrics.add("run_end_timestamp_seconds", run.started + run.elapsed)


def _add_step(metrics: _Metrics, step: StepReport) -> None:
    labels = {"step": step.id, "action": step.action, "title": step.title}
    metrics.add_state("step_outcome", "outcome", step.outcome, **labels)
    if step.outcome is not RunOutcome.SKIPPED:
        metrics.add("step_duration_seconds", step.elapsed, **labels)
    found = found_by(step)
    for node in found.warm.nodes if found.warm else ():
        _add_node(metrics, node, step.id)


def _add_node(metrics: _Metrics, node: NodeResult, step: str) -> None:
    metrics.add("warm_targets", node.targets, step=step, node=node.name)
    metrics.add("warm_ok_targets", node.ok, step=step, node=node.name)
    for name, result in (("fill", node.fill), ("verify", node.verify)):
        labels = {"step": step, "node": node.name, "pass": name}
        for figure, value in _figures(result):
            metrics.add(f"warm_{figure}", value, **labels)
        for quantile, seconds in _quantiles(result):
            metrics.add("warm_latency_seconds", seconds, **labels, quantile=quantile)


def _figures(result: PassResult) -> Iterator[tuple[str, int]]:
    yield "asked", result.asked
    yield "ok", result.ok
    yield "hits", result.hits
    yield "counted", result.counted
    yield "retries", result.retries


def _quantiles(result: PassResult) -> Iterator[tuple[str, float]]:
    found = result.latency
    told = (("0.5", found.p50), ("0.95", found.p95), ("0.99", found.p99), ("1", found.longest))
    return ((quantile, seconds) for quantile, seconds in told if seconds is not None)


def _escaped(text: str) -> str:
    return shown(text).translate(_ESCAPES)
