"""The report for CI servers: JUnit XML.

A run of the warmer has one suite for the gate and one per node, a run of a plan one for its steps.
"""

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator

from cachekit.reports.reasons import reasons_of
from cachekit.results import NodeResult, Outcome, TargetResult, WarmReport
from cachekit.runs import RunOutcome, RunReport, StepReport

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(report: WarmReport) -> str:
    """Write one JUnit document.

    A threshold or target that failed is a failure, all ok targets are one case.
    """
    root = ET.Element("testsuites", name="cachekit warm", time=f"{report.elapsed:.3f}")
    root.append(_gate_suite(report))
    for node in report.nodes:
        failures = [failure for failure in report.failures if failure.node == node.name]
        root.append(_node_suite(node, failures))
    return _document(root)


def render_run(report: RunReport) -> str:
    """Write one JUnit document: a step that failed, or that nothing proves, is a failure."""
    title = f"cachekit run {report.plan}"
    root = ET.Element("testsuites", name=_clean(title), time=f"{report.elapsed:.3f}")
    suite = ET.SubElement(root, "testsuite", name=_clean(title))
    for step in report.steps:
        _step_case(suite, step, report.plan)
    if report.ended_early:
        case = ET.SubElement(suite, "testcase", classname=_clean(report.plan), name="complete")
        _fail(case, report.ended_early)
    for count, tag in (("failures", "failure"), ("skipped", "skipped")):
        suite.set(count, str(len(suite.findall(f"testcase/{tag}"))))
    suite.set("tests", str(len(suite)))
    if report.warnings:
        notes = "\n".join(f"WARNING: {warning}" for warning in report.warnings)
        ET.SubElement(suite, "system-out").text = _clean(notes)
    return _document(root)


def _document(root: ET.Element) -> str:
    ET.indent(root)
    # In ASCII, with what is beyond it as references: right in whatever encoding it is written.
    document: bytes = ET.tostring(root, encoding="us-ascii", xml_declaration=True)
    return document.decode("ascii") + "\n"


def _step_case(suite: ET.Element, step: StepReport, plan: str) -> None:
    case = ET.SubElement(
        suite,
        "testcase",
        classname=_clean(plan),
        name=_clean(f"{step.id} {step.title}"),
        time=f"{step.elapsed:.3f}",
    )
    first, *others = reasons_of(step) or ("",)
    message = f"{step.outcome}: {first}" if first else str(step.outcome)
    warnings = (f"WARNING: {warning}" for warning in step.warnings)
    told = "\n".join((message, *others, *step.evidence, *warnings))
    if step.outcome in (RunOutcome.FAILED, RunOutcome.UNKNOWN):
        _fail(case, message, told)
    elif step.outcome is RunOutcome.SKIPPED:
        ET.SubElement(case, "skipped", message=_clean(message)).text = _clean(told)
    else:
        ET.SubElement(case, "system-out").text = _clean(told)


def _fail(case: ET.Element, message: str, detail: str = "") -> None:
    """Add a failure, its message as text as well: GitLab shows nothing else."""
    failure = ET.SubElement(case, "failure", message=_clean(message))
    failure.text = _clean(detail or message)


def _gate_suite(report: WarmReport) -> ET.Element:
    bad = [check for check in report.checks if check.outcome is Outcome.NO_GO]
    cases = len(report.checks) + bool(report.ended_early)
    failures = len(bad) + bool(report.ended_early)
    suite = ET.Element("testsuite", name="gate", tests=str(cases), failures=str(failures))
    for check in report.checks:
        name = check.name + (f" on {check.node}" if check.node else "")
        case = ET.SubElement(suite, "testcase", classname="gate", name=_clean(name))
        message = _clean(f"{check.outcome}: {check.found}; wanted {check.wanted}")
        if check.outcome is Outcome.NO_GO:
            _fail(case, message)
        else:
            ET.SubElement(case, "system-out").text = message
    if report.ended_early:
        case = ET.SubElement(suite, "testcase", classname="gate", name="complete")
        _fail(case, report.ended_early)
    if notes := list(_notes(report)):
        ET.SubElement(suite, "system-out").text = _clean("\n".join(notes))
    return suite


def _notes(report: WarmReport) -> Iterator[str]:
    yield from (f"WARNING: {warning}" for warning in report.warnings)
    yield from (f"left out: {count} x {reason}" for reason, count in report.cuts.items())
    if report.failures_cut:
        yield f"failures not listed: {report.failures_cut}; --max-listed lists more"


def _node_suite(node: NodeResult, failures: list[TargetResult]) -> ET.Element:
    suite = ET.Element(
        "testsuite",
        name=_clean(f"node {node.name}"),
        tests=str(len(failures) + 1),
        failures=str(len(failures) + (node.ok < node.targets)),
    )
    case = ET.SubElement(suite, "testcase", classname=_clean(node.name), name="targets that are ok")
    message = f"{node.ok} of {node.targets}" + (f"; {node.abandoned}" if node.abandoned else "")
    # The failures that follow do not say it all: they may be cut, and not all were asked.
    if node.ok < node.targets:
        _fail(case, message)
    else:
        ET.SubElement(case, "system-out").text = _clean(message)
    for failure in failures:
        name = f"{failure.url} {failure.variant} {failure.pass_name}".replace("  ", " ")
        case = ET.SubElement(
            suite,
            "testcase",
            classname=_clean(node.name),
            name=_clean(name),
            time=f"{failure.seconds:.3f}",
        )
        message = ", ".join(failure.reasons) + f" (status {failure.status})"
        _fail(case, message, f"{message}\n{failure.detail}" if failure.detail else "")
    return suite


def _clean(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
