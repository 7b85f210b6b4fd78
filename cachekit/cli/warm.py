"""`cachekit warm`: options to settings, one call, report and exit code."""

from typing import Any

import click

from cachekit.cli.options import (
    PATH,
    Written,
    ci_options,
    group_option,
    node_option,
    overlap_options,
    report_options,
    settings_option,
    soft_fail_option,
)

_CONCURRENCY = Written("N|auto", "cachekit.settings:parse_concurrency")
_VERIFY = Written("all|sample:1%|off", "cachekit.thresholds:parse_verify")
_SHARE = Written("percent", "cachekit.quantities:parse_share")
_SECONDS = Written("duration", "cachekit.quantities:parse_seconds")


_EXIT_CODES = (
    "Exit codes: 0 go, 1 no-go, 2 usage or settings, 3 degraded (below target, above the floor),"
    " 75 another run holds the lock or the site is held, 130/143 interrupted."
)


@click.command(epilog=_EXIT_CODES)
@click.argument("lists", nargs=-1)
@click.option("--url", "urls", multiple=True, help="One URL, or a path of the site.")
@click.option("--list", "list_files", multiple=True, type=PATH, help="A file of URLs; - is stdin.")
@click.option(
    "--sitemap", "sitemaps", multiple=True, help="URL or file of a sitemap or robots.txt."
)
@click.option(
    "--access-log", "access_logs", multiple=True, type=PATH, help="A server's access log."
)
@click.option("--top", type=click.IntRange(min=1), help="Only the most asked URLs of access logs.")
@click.option("--site", help="Public base URL; default that of the first URL.")
@click.option("--allow-host", "allow_hosts", multiple=True, help="Warm URLs of this host, too.")
@node_option
@group_option
@click.option("--variant", "variants", multiple=True, help="NAME, or NAME=Header: value.")
@click.option("--header", "headers", multiple=True, help="Header: value, with every request.")
@click.option("--concurrency", type=_CONCURRENCY, help="Requests at once per node.")
@click.option("--max-in-flight", type=click.IntRange(1, 400), help="Requests at once in all [64].")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="Requests/s per node.")
@click.option("--max-rate", type=click.FloatRange(min=0, min_open=True), help="Requests/s in all.")
@click.option("--timeout", type=_SECONDS, help="Deadline of one request [60s].")
@click.option(
    "--retries", type=click.IntRange(0, 10), help="After connect errors, 429, 502-504 [2]."
)
@click.option("--max-error-rate", type=_SHARE, help="Abandon a node above this [50%].")
@click.option("--budget", "--deadline", type=_SECONDS, help="Deadline of the whole run.")
@click.option("--follow/--no-follow", default=None, help="Follow redirects within the site.")
@click.option("--verify", type=_VERIFY, help="Which targets must prove to be hits [all].")
@click.option("--min-ok", type=_SHARE, help="Gate: share of targets that must be ok [100%].")
@click.option("--min-hit", type=_SHARE, help="Gate: share of verified targets that must be hits.")
@click.option("--max-p95", type=_SECONDS, help="Gate: time within which 95% must answer.")
@click.option("--require", "required", multiple=True, help="Gate: this URL must be ok everywhere.")
@click.option(
    "--stream/--no-stream", default=None, help="Keep URLs on disk; list order, no dedupe."
)
@click.option("--resume", is_flag=True, help="Continue the newest unfinished run of the same kind.")
@overlap_options
@click.option(
    "--expiring-within", type=_SECONDS, help="Renew cached pages that expire within this time."
)
@click.option("--state-dir", type=PATH, help="Where runs and locks are kept.")
@click.option("--http2/--no-http2", default=None, help="Speak HTTP/2 over TLS.")
@click.option("--ca-file", type=PATH, help="Certificates to trust instead of the system's.")
@click.option("--insecure", is_flag=True, default=None, help="Do not verify certificates.")
@click.option(
    "--public-sitemap/--no-public-sitemap", default=None, help="Fetch sitemaps by public name."
)
@click.option(
    "--order", type=click.Choice(["file", "priority", "lastmod"]), help="Order of work [file]."
)
@click.option("--include", multiple=True, help="Only URLs like this glob, or re:REGEX.")
@click.option("--exclude", multiple=True, help="No URLs like this glob, or re:REGEX.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many URLs, after sorting.")
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["text", "json", "jsonl", "junit"]),
    default="text",
    show_default=True,
)
@click.option("--output", type=PATH, help="Write the report here, all or nothing.")
@report_options
@click.option("--max-listed", type=click.IntRange(min=0), default=1000, show_default=True)
@click.option("--quiet", "-q", is_flag=True, help="No progress on stderr.")
@click.option("--verbose", "-v", is_flag=True, help="Name each failure as it comes.")
@click.option("--dry-run", is_flag=True, help="Show what would be asked, and ask nothing.")
@ci_options
@soft_fail_option
@settings_option
def warm(**options: Any) -> int:
    """Ask every node for every URL, prove that they are warm, and judge.

    LISTS are names from the settings; all of them by default. --url, --list, --sitemap and
    --access-log replace them.
    """
    from cachekit.cli.run import run

    return run(options)
