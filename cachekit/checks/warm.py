"""Checks of how URLs are warmed, and of what the gate wants."""

from collections.abc import Iterator
from fractions import Fraction

from cachekit.checks.faults import Fault, KeyPath
from cachekit.checks.site import site_of
from cachekit.checks.values import (
    HEADER_NAME,
    TOKEN,
    of_expect,
    of_headers,
    of_patterns,
    of_regex,
    positive,
    within,
)
from cachekit.model import Site, UrlRefusedError, Variant
from cachekit.settings import MAX_IN_FLIGHT, Settings, Tls, VerdictRule, WarmSettings
from cachekit.thresholds import Gate, MaxTime, MinShare


def of_warm(warm: WarmSettings) -> Iterator[Fault]:
    """Check how URLs are warmed."""
    path = ("warm",)
    if warm.concurrency != "auto":
        yield from within((*path, "concurrency"), warm.concurrency, 1, MAX_IN_FLIGHT)
    yield from within((*path, "max_in_flight"), warm.max_in_flight, 1, MAX_IN_FLIGHT)
    yield from within((*path, "retries"), warm.retries, 0, 10)
    yield from within((*path, "limit"), warm.limit, 1)
    for name in (
        "rate",
        "max_rate",
        "connect_timeout",
        "first_byte_timeout",
        "timeout",
        "max_body",
        "budget",
    ):
        yield from positive((*path, name), getattr(warm, name))
    if warm.stream and warm.order != "file":
        yield (*path, "order"), "a streamed run keeps the order of its lists, which is 'file'"
    yield from of_headers((*path, "headers"), warm.headers, "put it into a variant that has it")
    for variant in warm.variants.values():
        yield from _of_variant(variant)
    yield from of_expect((*path, "expect"), warm.expect)
    yield from of_patterns(path, warm)
    for index, rule in enumerate(warm.verdicts):
        yield from _of_rule((*path, "verdicts", index), rule)
    yield from _of_tls(warm.tls)


def _of_rule(path: KeyPath, rule: VerdictRule) -> Iterator[Fault]:
    if not TOKEN.fullmatch(rule.header):
        yield (*path, "header"), HEADER_NAME
    yield from of_regex((*path, "matches"), rule.matches)


def _of_tls(tls: Tls) -> Iterator[Fault]:
    if tls.client_key and not tls.client_certificate:
        yield ("warm", "tls", "client_key"), "a key without its client_certificate is of no use"


def _of_variant(variant: Variant) -> Iterator[Fault]:
    yield from of_headers(
        ("warm", "variants", variant.name),
        variant.headers,
        None if variant.personal else "add it to this variant",
    )


def of_gate(settings: Settings, path: KeyPath, gate: Gate, verify: Fraction) -> Iterator[Fault]:
    """Check thresholds, and that required URLs belong to the site."""
    for share in ("min_ok", "min_hit"):
        yield from _of_threshold((*path, share), getattr(gate, share))
    for time in ("max_p50", "max_p95", "max_p99"):
        yield from _of_threshold((*path, time), getattr(gate, time))
    if gate.min_hit is not None and verify == 0:
        yield (*path, "min_hit"), "needs the verify pass, but 'verify' is off"
    yield from _of_required((*path, "required"), gate, site_of(settings))


def _of_threshold(path: KeyPath, threshold: MinShare | MaxTime | None) -> Iterator[Fault]:
    if isinstance(threshold, MinShare) and threshold.floor > threshold.go:
        yield (*path, "floor"), "expected at most the share of 'go'"
    if isinstance(threshold, MaxTime):
        yield from positive((*path, "go"), threshold.go)
        if threshold.floor < threshold.go:
            yield (*path, "floor"), "expected at least the time of 'go'"


def _of_required(path: KeyPath, gate: Gate, site: Site | None) -> Iterator[Fault]:
    for index, url in enumerate(gate.required):
        try:
            if site:
                site.absolute(url.encode(errors="surrogateescape"))
        except UrlRefusedError as refusal:
            yield (*path, index), f"expected a URL of the site: {refusal}"
