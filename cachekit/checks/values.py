"""Checks of single values, wherever in the settings they stand."""

import re
from collections.abc import Iterator, Mapping
from math import inf

from cachekit.checks.faults import Fault, KeyPath
from cachekit.model import Expect
from cachekit.settings import WarmList, WarmSettings

PERSONAL_HEADERS = ("authorization", "cookie", "proxy-authorization")
HEADER_NAME = "the name of a header has no spaces and no colon"
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.6.2
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def of_headers(path: KeyPath, headers: Mapping[str, str], remedy: str | None) -> Iterator[Fault]:
    """Check headers; without a `remedy`, personal ones may be sent."""
    # Header values may be secrets: nothing here repeats one.
    for name, value in headers.items():
        if not TOKEN.fullmatch(name):
            yield (*path, name), HEADER_NAME
        if _CONTROL.search(value) or value != value.strip():
            yield (*path, name), "a header's value must be one line, without space around it"
        if remedy and name.lower() in PERSONAL_HEADERS:
            yield (*path, name), f"may be sent only with 'personal: true'; {remedy}"


def of_expect(path: KeyPath, expect: Expect | None) -> Iterator[Fault]:
    """Check what a response must be."""
    if expect is None:
        return
    for index, status in enumerate(expect.status or ()):
        yield from within((*path, "status", index), status, 100, 599)
    if expect.matches is not None:
        yield from of_regex((*path, "matches"), expect.matches)
    yield from positive((*path, "max_time"), expect.max_time)


def of_patterns(path: KeyPath, chosen: WarmSettings | WarmList) -> Iterator[Fault]:
    """Check what chooses URLs."""
    for key in ("include", "exclude"):
        for index, pattern in enumerate(getattr(chosen, key)):
            if pattern.startswith("re:"):
                # URLs are bytes, and so are the patterns that look into them.
                encoded = pattern.removeprefix("re:").encode(errors="surrogateescape")
                yield from of_regex((*path, key, index), encoded)


def of_regex(path: KeyPath, pattern: str | bytes) -> Iterator[Fault]:
    """Check that a regular expression is one."""
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        yield path, f"expected a regular expression: {error}"


def within(path: KeyPath, number: int | None, least: int, most: float = inf) -> Iterator[Fault]:
    """Check a number against its limits."""
    if number is not None and not least <= number <= most:
        limit = f"from {least} to {most}" if most < inf else f"of at least {least}"
        yield path, f"expected a number {limit}"


def positive(path: KeyPath, number: float | None) -> Iterator[Fault]:
    """Check that a number, if there is one, is above 0."""
    if number is not None and number <= 0:
        yield path, "expected more than 0"
