"""What the header block of a response says: its values, and how long a page may be kept."""

import re
import time
from collections.abc import Mapping


def header_values(head: bytes, name: str) -> list[str]:
    """Collect the values of one header, in order."""
    pattern = rb"\n(?i:" + re.escape(name.encode()) + rb")[ \t]*:[ \t]*([^\r\n]*)"
    return [value.decode("latin-1").strip() for value in re.findall(pattern, head)]


def directives_of(head: bytes) -> dict[str, str]:
    """Read what Cache-Control, and what some caches have in its place, say."""
    directives: dict[str, str] = {}
    for header in ("Cache-Control", "Surrogate-Control", "X-LiteSpeed-Cache-Control"):
        for value in header_values(head, header):
            for item in value.split(","):
                name, _, argument = item.strip().lower().partition("=")
                directives[name] = argument.strip('"')
    return directives


def lifetime(head: bytes, directives: Mapping[str, str]) -> float | None:
    """Give the seconds a cache may keep the page, None if it is not told."""
    for name in ("s-maxage", "max-age"):
        if directives.get(name, "").isdecimal():
            return float(directives[name])
    expires = _time_of(head, "Expires")
    if expires is None:
        return None
    # RFC 9111 section 5.3: what is no date, such as `0`, lies in the past.
    return expires - (_time_of(head, "Date") or time.time()) if expires else 0.0


def remaining(head: bytes) -> float | None:
    """Give the seconds until a page that came from a cache is no longer fresh; None if not told.

    By RFC 9211 where the cache tells it, else by RFC 9111 section 4.2. Without an Age only a date
    of expiry says anything: nginx tells neither the age of a page nor when it was made. What is
    kept beyond its time is kept by a rule of the cache's own, which no header tells.
    """
    seconds = _remaining(head)
    return None if seconds is None or seconds <= 0 else seconds


def _remaining(head: bytes) -> float | None:
    statuses = ",".join(header_values(head, "Cache-Status")).rpartition(",")[2]
    if told := re.search(r";\s*ttl\s*=\s*(-?\d{1,15})", statuses, re.IGNORECASE):
        return float(told[1])
    ages = header_values(head, "Age")
    if ages and ages[-1].isdecimal():
        seconds = lifetime(head, directives_of(head))
        return None if seconds is None else seconds - float(ages[-1])
    expires = _time_of(head, "Expires")
    return expires and expires - (_time_of(head, "Date") or time.time())


def _time_of(head: bytes, header: str) -> float | None:
    """Read a date header as epoch seconds, 0 for what is no date, None if it is not there."""
    values = header_values(head, header)
    if not values:
        return None
    from email.utils import parsedate_to_datetime

    try:
        return parsedate_to_datetime(values[-1]).timestamp()
    except (ValueError, TypeError, LookupError, OverflowError):
        return 0.0
