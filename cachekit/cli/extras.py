"""Reports beside the report: files for people (HTML) and for Prometheus, each all or nothing."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from cachekit.cli.output import report_to
from cachekit.errors import ConfigError
from cachekit.results import WarmReport
from cachekit.runs import RunReport


def refuse_unwritable(options: Mapping[str, Any]) -> None:
    """Refuse files that cannot be written, before anything is done. Raises ConfigError."""
    for option, path, _ in _chosen(options):
        if options.get("dry_run"):
            raise ConfigError(f"{option}: there is nothing to report of a --dry-run")
        # What waits for its writer, such as a pipe, would take this for the report.
        if not (path.is_fifo() or path.is_char_device()):
            with report_to(path, option):
                continue


def write_extras(report: RunReport | WarmReport, options: Mapping[str, Any]) -> None:
    """Write what `report_options` ask for. Raises CachekitError."""
    with ExitStack() as files:
        opened = [
            (files.enter_context(report_to(path, option)), render(report))
            for option, path, render in _chosen(options)
        ]
        for file, text in opened:
            file.finish(text, or_to_stdout=False)


def _chosen(
    options: Mapping[str, Any],
) -> Iterator[tuple[str, Path, Callable[[RunReport | WarmReport], str]]]:
    if path := options["html"]:
        yield "--html", path, _html
    if path := options["prometheus"]:
        yield "--prometheus", path, _prometheus


def _html(report: RunReport | WarmReport) -> str:
    from cachekit.reports import html

    return html.render(report)


def _prometheus(report: RunReport | WarmReport) -> str:
    from cachekit.reports import prometheus

    return prometheus.render(report)
