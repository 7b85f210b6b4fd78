"""The reasons a target failed or is no hit: a code for machines, a title and advice for people."""

import re
from typing import NamedTuple


class Reason(NamedTuple):
    """How a code reads, and what to do about it."""

    title: str
    advice: str


_CACHEABLE = "send a positive max-age or s-maxage, or mark the URL `cacheable: false`"
_REASONS = {
    # No usable answer.
    "connect": Reason(
        "no connection", "check that the node is up and listens at its address and port"
    ),
    "connect-timeout": Reason(
        "no connection in time", "check address, firewall and `connect_timeout`"
    ),
    "first-byte-timeout": Reason(
        "no first byte in time", "the node accepts and is silent; see its log"
    ),
    "timeout": Reason("not complete in time", "raise `timeout`, or find what makes the page slow"),
    "tls": Reason(
        "TLS failed", "the certificate must be valid for the public name; see `tls.ca_file`"
    ),
    "broken": Reason("connection broken or not HTTP", "see the node's error log"),
    "truncated": Reason(
        "body cut short", "the node or its origin closed in mid-body; see its error log"
    ),
    "too-large": Reason("body over the size cap", "raise `max_body`, or take the URL off the list"),
    "url": Reason("URL not sendable", "correct the list"),
    "cut": Reason("ended while in flight", "raise the time budget, or run again with --resume"),
    # An answer that did not meet its expectations.
    "redirect": Reason("redirect", "list the final URL, use --follow, or expect this status"),
    "redirect-off-site": Reason(
        "redirect to another site", "it is never followed; list URLs of the site"
    ),
    "redirect-loop": Reason("redirect loop", "correct the redirect on the site"),
    "login-redirect": Reason(
        "redirect to a login page", "the page is not public; take it off the list"
    ),
    "content": Reason("expected text is missing", "the page is not what it should be; look at it"),
    "marker": Reason(
        "page carries a forbidden marker", "a soft 404 or maintenance page must not be warmed"
    ),
    "not-decodable": Reason(
        "body not decodable", "Content-Encoding does not fit the body; see the origin"
    ),
    "slow": Reason(
        "slower than expected", "see `max_time`; a warm page should not need the origin"
    ),
    "leak": Reason(
        "PERSONAL PAGE SERVED FROM A SHARED CACHE",
        "stop: answers to Cookie or Authorization must not be shared; pass them in the cache",
    ),
    # A good answer that is no hit.
    "no-signal": Reason(
        "no cache header", "let the node send Cache-Status, or add a rule to `warm.verdicts`"
    ),
    "signal-not-understood": Reason("cache header not understood", "add a rule to `warm.verdicts`"),
    "weak-age": Reason(
        "weak evidence of a hit: Age > 0", "let the node send a cache header to prove it"
    ),
    "weak-time": Reason(
        "weak evidence of a hit: much faster than cold",
        "let the node send a cache header to prove it",
    ),
    "set-cookie": Reason(
        "sets a cookie", "do not set cookies on cacheable pages, or mark them `cacheable: false`"
    ),
    "cache-control-private": Reason("Cache-Control: private", _CACHEABLE),
    "cache-control-no-store": Reason("Cache-Control: no-store", _CACHEABLE),
    "cache-control-no-cache": Reason("Cache-Control: no-cache", _CACHEABLE),
    "max-age-0": Reason("lifetime of 0 s", _CACHEABLE),
    "pragma-no-cache": Reason("Pragma: no-cache", _CACHEABLE),
    "short-ttl": Reason(
        "lifetime shorter than the run", "raise max-age, or warm faster or in smaller parts"
    ),
    "vary-star": Reason("Vary: *", "no cache can reuse it; name the headers it depends on"),
    "vary-cookie": Reason(
        "Vary: Cookie", "every visitor gets an entry of their own; drop it for public pages"
    ),
    "vary-user-agent": Reason(
        "Vary: User-Agent", "every browser gets an entry; group devices in the cache"
    ),
    "authorization": Reason("asked with Authorization", "caches pass such requests"),
    "cookie": Reason("asked with a Cookie", "caches pass such requests"),
    "status-not-cacheable": Reason(
        "status is not cacheable by default", "list another URL, or set a lifetime"
    ),
    "bypass": Reason(
        "the cache was bypassed", "see the node's rules for this URL (pass, proxy_cache_bypass)"
    ),
    "uncacheable": Reason(
        "the cache takes it for uncacheable", "see the rules of the cache: which pages it may store"
    ),
    "error": Reason("the cache answered with an error", "see the log of the cache and its origin"),
    "stale": Reason("served stale", "the node could not refresh it in time; see its origin"),
    "gone": Reason(
        "stored nowhere, though nothing forbids it",
        "hit-for-miss, too small a cache, a Vary header, or several caches behind one address",
    ),
    "unexpected-hit": Reason(
        "a hit though marked `cacheable: false`", "check that this page may be shared"
    ),
}
_STATUS = re.compile(r"status-(\d{3})")
_STATUS_ADVICE = {
    "4": "correct the list or the site, or set `expect: {status: ...}`",
    "5": "see the error log of the node and its origin",
}


def explain(code: str) -> Reason:
    """Give title and advice of a code; a site's own code (from `verdicts`) is its own title."""
    if match := _STATUS.fullmatch(code):
        title = f"status {match[1]}" + (
            " (overloaded or in maintenance)" if match[1] == "503" else ""
        )
        return Reason(
            title, _STATUS_ADVICE.get(match[1][0], "set `expect: {status: ...}` if it is right")
        )
    return _REASONS.get(code, Reason(code, ""))
