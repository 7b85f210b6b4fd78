"""What a CI server is told of a run, beside the report: annotations, and the summary of a step."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from cachekit.reports.ci import annotations
from cachekit.reports.markdown import LIMIT, summary
from cachekit.results import WarmReport
from cachekit.runs import RunReport

_LEAST = 1_000


def publish(
    report: RunReport | WarmReport, options: Mapping[str, Any], environ: Mapping[str, str]
) -> None:
    """Do what `ci_options` say. What cannot be written is told: it is no reason to fail a deploy.

    GitHub reads workflow commands from stderr as well; stdout is the report's.
    """
    if options["annotations"] == "github" or (
        options["annotations"] == "auto" and environ.get("GITHUB_ACTIONS") == "true"
    ):
        for line in annotations(report):
            click.echo(line, err=True)
    path = environ.get("GITHUB_STEP_SUMMARY", "")
    if path and options["step_summary"] == "auto":
        _append(Path(path), report)


def _append(path: Path, report: RunReport | WarmReport) -> None:
    """Add to what the step has written so far, as long as GitHub would take all of it."""
    try:
        with path.open("ab") as file:
            room = LIMIT - file.tell()
            if room < _LEAST:
                click.echo(f"cachekit: {path}: no summary: the step has written enough", err=True)
                return
            file.write(summary(report, room).encode())
    except OSError as error:
        click.echo(f"cachekit: {path}: no summary: {error.strerror}", err=True)
