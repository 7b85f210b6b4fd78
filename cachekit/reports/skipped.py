"""The report of a run that did not take place, and need not have."""

import json

from cachekit.documents import VERSION


def render(command: str, site: str, reason: str, output_format: str) -> str:
    """Write why it was skipped, in a format of `cachekit warm` or `run`."""
    if output_format == "junit":
        return _junit(command, reason)
    if output_format not in ("json", "jsonl"):
        return f"SKIPPED  {site}\n{reason}\n"
    document = {
        "version": VERSION,
        "command": command,
        "site": site,
        "outcome": "skipped",
        "exit_code": 0,
        "reason": reason,
    }
    if output_format == "jsonl":
        return json.dumps({"event": "report", **document}) + "\n"
    return json.dumps(document, indent=2) + "\n"


def _junit(command: str, reason: str) -> str:
    import xml.etree.ElementTree as ET

    root = ET.Element("testsuites", name=f"cachekit {command}")
    suite = ET.SubElement(root, "testsuite", name="gate", tests="1", failures="0", skipped="1")
    case = ET.SubElement(suite, "testcase", classname="gate", name="run")
    ET.SubElement(case, "skipped", message=reason)
    return ET.tostring(root, encoding="unicode", xml_declaration=False) + "\n"
