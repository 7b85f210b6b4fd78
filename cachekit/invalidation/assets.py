"""Whether browsers hold old bytes of a changed file: what a node says of its URL's lifetime."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import StrEnum

from cachekit.invalidation.causes import Cause
from cachekit.model import PLAIN, Node, Site, Variant, shown
from cachekit.quantities import format_seconds
from cachekit.replay import Batch, Manner, Request, Response, replay, route_to
from cachekit.settings import Settings
from cachekit.warming.headers import header_values
from cachekit.warming.plan import header_lines, terms_of
from cachekit.warming.stop import Stop

_IN_FLIGHT = 16


class Keeping(StrEnum):
    """Whether browsers keep what they got under a URL for long."""

    LONG = "long"
    SHORT = "short"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class AssetFinding:
    """A changed file under an unchanged URL; `found` is what the node said that is worst."""

    url: str
    cause: Cause
    keeping: Keeping
    found: str


def ask_assets(
    assets: Mapping[str, Cause], settings: Settings, nodes: Sequence[Node], stop: Stop
) -> tuple[AssetFinding, ...]:
    """Ask every node for every URL of a changed file, and judge by its answers."""
    site = Site(settings.site, tuple(settings.allow_hosts))
    headers = header_lines(settings, Variant(name=""), PLAIN)
    manners = {Manner(route_to(node, site), headers): node for node in nodes}
    urls = {url.encode(errors="surrogateescape"): url for url in assets}
    requests = [Request(asked, manner) for asked in urls for manner in manners]
    invalidation = settings.invalidation
    long = invalidation.assets.long if invalidation.assets else math.inf
    found: dict[str, list[tuple[Keeping, str]]] = {url: [] for url in assets}
    for answer in replay(
        Batch(requests, stop.cut), terms=terms_of(settings), max_in_flight=_IN_FLIGHT
    ):
        keeping, said = _judged(answer, long)
        node = manners[answer.request.manner]
        found[urls[answer.request.url]].append((keeping, f"{node.name}: {said}"))
    return tuple(_finding(url, assets[url], answers) for url, answers in found.items())


def browser_seconds(head: bytes) -> float:
    """Give how long a browser keeps an answer without asking; immutable is for ever, 0 not at all.

    Shared caches have a lifetime of their own, `s-maxage`, which browsers do not read.
    """
    said = ",".join(header_values(head, "Cache-Control")).lower()
    pairs = (item.strip().partition("=") for item in said.split(","))
    directives = {name.strip(): value.strip('" ') for name, _, value in pairs}
    if directives.keys() & {"no-store", "no-cache"}:
        return 0.0
    if "immutable" in directives:
        return math.inf
    if "max-age" in directives:
        age = directives["max-age"]
        return float(age) if age.isdecimal() else 0.0
    return _until_expiry(head)


def _until_expiry(head: bytes) -> float:
    times = [header_values(head, name) for name in ("Expires", "Date")]
    try:
        expires, date = (parsedate_to_datetime(values[0]) for values in times)
        return max(0.0, (expires - date).total_seconds())
    except (ValueError, IndexError, TypeError):  # not there, no date, or only one with a zone
        return 0.0


def _judged(answer: Response, long: float) -> tuple[Keeping, str]:
    if answer.fault is not None:
        return Keeping.UNKNOWN, f"{answer.fault}: {shown(answer.detail)}"
    if answer.status != 200:
        return Keeping.UNKNOWN, f"status {answer.status}"
    seconds = browser_seconds(answer.head)
    if math.isinf(seconds):
        return Keeping.LONG, "immutable"
    said = f"browsers keep it for {_days(seconds)}" if seconds else "browsers ask again"
    return (Keeping.LONG if seconds >= long else Keeping.SHORT), said


def _days(seconds: float) -> str:
    days = int(seconds // 86400)
    return f"{days:,} days" if days > 1 else format_seconds(seconds)


def _finding(url: str, cause: Cause, answers: Iterable[tuple[Keeping, str]]) -> AssetFinding:
    """Take the worst answer: a browser may have got it of any node."""
    by_keeping = dict(reversed(list(answers)))
    for keeping in (Keeping.LONG, Keeping.UNKNOWN, Keeping.SHORT):
        if keeping in by_keeping:
            return AssetFinding(url=url, cause=cause, keeping=keeping, found=by_keeping[keeping])
    return AssetFinding(url=url, cause=cause, keeping=Keeping.UNKNOWN, found="not asked")
