"""Faults that only show when settings are seen together: limits, names that must exist, secrets.

The settings file and the options of the command line pass through the same checks.
"""

import re
from collections.abc import Iterator, Mapping
from math import inf, isfinite

from cachekit.caches.base import Coupled
from cachekit.caches.namespace import PLACEHOLDER, release_token
from cachekit.errors import ConfigError
from cachekit.model import Address, Expect, Node, Site, UrlRefusedError, Variant
from cachekit.near_misses import did_you_mean, nearest
from cachekit.scope import EVERYTHING
from cachekit.settings import (
    MAX_IN_FLIGHT,
    Settings,
    Tls,
    VerdictRule,
    WarmList,
    WarmSettings,
)
from cachekit.sources.url_list import ListedUrl, Urls
from cachekit.thresholds import Gate, MaxTime, MinShare

KeyPath = tuple[str | int, ...]
Fault = tuple[KeyPath, str]
"""A key path as it stands in the settings file, and what was expected there; no value is quoted."""

PERSONAL_HEADERS = ("authorization", "cookie", "proxy-authorization")
_HEADER_NAME = "the name of a header has no spaces and no colon"
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.6.2
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/?#@\[\]]+)(:\d{1,5})?")


def show_path(path: KeyPath) -> str:
    """Write a key path for people: `nodes.web1.groups[0]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            plain = re.fullmatch(r"[\w-]+", part)
            text += ("." if text else "") + (part if plain else repr(part))
    return text


def problems(settings: Settings) -> list[Fault]:
    """Find everything that cannot work although each value is well formed."""
    return [
        *_of_site(settings),
        *_of_releases(settings),
        *(fault for node in settings.nodes.values() for fault in _of_node(node)),
        *(fault for name in settings.caches for fault in _of_cache(settings, name)),
        *_of_warm(settings.warm),
        *_of_gate(settings.warm.gate, settings.warm),
        *_of_required(settings),
        *(fault for name in settings.warmlists for fault in _of_list(settings, name)),
    ]


def _of_site(settings: Settings) -> Iterator[Fault]:
    site = _site(settings)
    if site is None:
        yield ("site",), "expected a base URL such as https://shop.example"
    elif settings.site.rstrip("/").lower() != site.base:
        yield ("site",), f"expected a base URL without a path, such as {site.base}"
    for index, host in enumerate(settings.allow_hosts):
        if not _HOST.fullmatch(host):
            yield ("allow_hosts", index), "expected a host name such as www.shop.example"


def _site(settings: Settings) -> Site | None:
    try:
        return Site(settings.site, settings.allow_hosts)
    except ValueError:
        return None


def _of_releases(settings: Settings) -> Iterator[Fault]:
    live, previous = settings.release, settings.previous
    if live != previous and release_token(live) == release_token(previous):
        yield ("release",), f"has the same token as {previous}: choose another id"


def _of_node(node: Node) -> Iterator[Fault]:
    if node.ssh is not None and (node.local or not node.ssh.strip() or node.ssh.startswith("-")):
        yield ("nodes", node.name, "ssh"), "expected user@host or a host of ssh's own settings"
    path: KeyPath = ("nodes", node.name, "ports")
    for scheme, port in node.ports.items():
        if scheme not in ("http", "https"):
            yield (*path, scheme), "unknown scheme, expected http or https"
        yield from _within((*path, scheme), port, 1, 65535)
    if node.ports and node.address.unix_path:
        yield path, "a unix socket has no ports; remove one of the two"
    elif node.ports and node.address.port is not None:
        yield path, "the address has a port already; write it in one place"


def _of_cache(settings: Settings, name: str) -> Iterator[Fault]:
    cache = settings.caches[name]
    try:
        places = cache.places(settings.nodes)
    except ConfigError as error:
        key, separator, message = str(error).partition(": ")
        known = separator and hasattr(cache, key)
        yield (("caches", name, key), message) if known else (("caches", name), str(error))
        return
    yield from _of_namespace(settings, name)
    if not places:
        yield ("caches", name), "is nowhere: name its nodes in `on`, or its `servers`"
    if isinstance(cache, Coupled):
        for other in cache.implied(EVERYTHING).keys() - settings.caches.keys():
            hint = did_you_mean(other, settings.caches)
            yield ("caches", name), f"names the cache {other}, which does not exist{hint}"


def _of_namespace(settings: Settings, name: str) -> Iterator[Fault]:
    """Check a namespace against slips, and against those beside it on the same servers."""
    cache = settings.caches[name]
    namespace: str = getattr(cache, "namespace", "")
    path: KeyPath = ("caches", name, "namespace")
    for word in re.findall(r"\{(\w+)\}", namespace):
        if word != "release" and nearest(word, ["release"]):
            yield path, f"unknown placeholder {{{word}}}; did you mean {PLACEHOLDER}?"
    for other, beside in settings.caches.items():
        wider: str = getattr(beside, "namespace", "")
        within = wider and namespace != wider and namespace.startswith(wider)
        if within and not _stores(settings, name).isdisjoint(_stores(settings, other)):
            yield path, f"lies within that of {other}, whose clears would reach it"


def _stores(settings: Settings, name: str) -> set[tuple[str | None, Address]]:
    """Name the servers of a cache, each with the node that it is dialled from."""
    return {
        (place.node.name if place.node else None, address)
        for place in settings.caches[name].places(settings.nodes)
        for address in place.addresses
    }


def _of_warm(warm: WarmSettings) -> Iterator[Fault]:
    path = ("warm",)
    if warm.concurrency != "auto":
        yield from _within((*path, "concurrency"), warm.concurrency, 1, MAX_IN_FLIGHT)
    yield from _within((*path, "max_in_flight"), warm.max_in_flight, 1, MAX_IN_FLIGHT)
    yield from _within((*path, "retries"), warm.retries, 0, 10)
    yield from _within((*path, "limit"), warm.limit, 1)
    for name in (
        "rate",
        "max_rate",
        "connect_timeout",
        "first_byte_timeout",
        "timeout",
        "max_body",
        "budget",
    ):
        yield from _positive((*path, name), getattr(warm, name))
    if warm.stream and warm.order != "file":
        yield (*path, "order"), "a streamed run keeps the order of its lists, which is 'file'"
    yield from _of_headers((*path, "headers"), warm.headers, "put it into a variant that has it")
    for variant in warm.variants.values():
        yield from _of_variant(variant)
    yield from _of_expect((*path, "expect"), warm.expect)
    yield from _of_patterns(path, warm)
    for index, rule in enumerate(warm.verdicts):
        yield from _of_rule((*path, "verdicts", index), rule)
    yield from _of_tls(warm.tls)


def _of_rule(path: KeyPath, rule: VerdictRule) -> Iterator[Fault]:
    if not _TOKEN.fullmatch(rule.header):
        yield (*path, "header"), _HEADER_NAME
    yield from _of_regex((*path, "matches"), rule.matches)


def _of_tls(tls: Tls) -> Iterator[Fault]:
    if tls.client_key and not tls.client_certificate:
        yield ("warm", "tls", "client_key"), "a key without its client_certificate is of no use"


def _of_variant(variant: Variant) -> Iterator[Fault]:
    yield from _of_headers(
        ("warm", "variants", variant.name),
        variant.headers,
        None if variant.personal else "add it to this variant",
    )


def _of_headers(path: KeyPath, headers: Mapping[str, str], remedy: str | None) -> Iterator[Fault]:
    # Header values may be secrets: nothing here repeats one.
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name):
            yield (*path, name), _HEADER_NAME
        if _CONTROL.search(value) or value != value.strip():
            yield (*path, name), "a header's value must be one line, without space around it"
        if remedy and name.lower() in PERSONAL_HEADERS:
            yield (*path, name), f"may be sent only with 'personal: true'; {remedy}"


def _of_expect(path: KeyPath, expect: Expect | None) -> Iterator[Fault]:
    if expect is None:
        return
    for index, status in enumerate(expect.status or ()):
        yield from _within((*path, "status", index), status, 100, 599)
    if expect.matches is not None:
        yield from _of_regex((*path, "matches"), expect.matches)
    yield from _positive((*path, "max_time"), expect.max_time)


def _of_patterns(path: KeyPath, chosen: WarmSettings | WarmList) -> Iterator[Fault]:
    for key in ("include", "exclude"):
        for index, pattern in enumerate(getattr(chosen, key)):
            if pattern.startswith("re:"):
                # URLs are bytes, and so are the patterns that look into them.
                encoded = pattern.removeprefix("re:").encode(errors="surrogateescape")
                yield from _of_regex((*path, key, index), encoded)


def _of_regex(path: KeyPath, pattern: str | bytes) -> Iterator[Fault]:
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        yield path, f"expected a regular expression: {error}"


def _of_gate(gate: Gate, warm: WarmSettings) -> Iterator[Fault]:
    path = ("warm", "gate")
    for share in ("min_ok", "min_hit"):
        yield from _of_threshold((*path, share), getattr(gate, share))
    for time in ("max_p50", "max_p95", "max_p99"):
        yield from _of_threshold((*path, time), getattr(gate, time))
    if gate.min_hit is not None and warm.verify == 0:
        yield (*path, "min_hit"), "needs the verify pass, but 'verify' is off"


def _of_threshold(path: KeyPath, threshold: MinShare | MaxTime | None) -> Iterator[Fault]:
    if isinstance(threshold, MinShare) and threshold.floor > threshold.go:
        yield (*path, "floor"), "expected at most the share of 'go'"
    if isinstance(threshold, MaxTime):
        yield from _positive((*path, "go"), threshold.go)
        if threshold.floor < threshold.go:
            yield (*path, "floor"), "expected at least the time of 'go'"


def _of_required(settings: Settings) -> Iterator[Fault]:
    site = _site(settings)
    for index, url in enumerate(settings.warm.gate.required):
        try:
            if site:
                site.absolute(url.encode(errors="surrogateescape"))
        except UrlRefusedError as refusal:
            yield ("warm", "gate", "required", index), f"expected a URL of the site: {refusal}"


def _of_list(settings: Settings, name: str) -> Iterator[Fault]:
    path, warm_list = ("warmlists", name), settings.warmlists[name]
    known = settings.warm.variants
    yield from _within((*path, "limit"), warm_list.limit, 1)
    yield from _of_patterns(path, warm_list)
    yield from _of_expect((*path, "expect"), warm_list.expect)
    remedy = None if warm_list.personal else "add it to this list"
    yield from _of_headers((*path, "headers"), warm_list.headers, remedy)
    yield from _of_names((*path, "variants"), warm_list.variants, known)
    if isinstance(warm_list.source, Urls):
        for inside, message in problems_of_urls(warm_list.source, known):
            yield (*path, "urls", *inside), message


def problems_of_urls(urls: Urls, variants: Mapping[str, Variant] | None) -> Iterator[Fault]:
    """Find what cannot work in a list of URLs; without `variants`, any name of one will do."""
    for index, url in enumerate(urls.urls):
        if isinstance(url, ListedUrl):
            if url.priority is not None and not isfinite(url.priority):
                yield (index, "priority"), "expected a number"
            yield from _of_expect((index, "expect"), url.expect)
            if variants is not None:
                yield from _of_names((index, "variants"), url.variants, variants)


def _of_names(
    path: KeyPath, names: tuple[str, ...] | None, known: Mapping[str, Variant]
) -> Iterator[Fault]:
    for index, name in enumerate(names or ()):
        if name not in known:
            yield (*path, index), f"expected a variant of warm.variants{_choice(name, known)}"


def _choice(name: str, known: Mapping[str, Variant]) -> str:
    if not known:
        return ", but it has none"
    return did_you_mean(name, known) or f": {', '.join(known)}"


def _within(path: KeyPath, number: int | None, least: int, most: float = inf) -> Iterator[Fault]:
    if number is not None and not least <= number <= most:
        limit = f"from {least} to {most}" if most < inf else f"of at least {least}"
        yield path, f"expected a number {limit}"


def _positive(path: KeyPath, number: float | None) -> Iterator[Fault]:
    if number is not None and number <= 0:
        yield path, "expected more than 0"
