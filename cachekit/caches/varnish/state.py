"""What a Varnish tells of itself, and what of it somebody should look at."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cachekit.caches.base import Place, Status
from cachekit.caches.varnish.cli import OK, TRUNCATED, Cli
from cachekit.deadline import Deadline
from cachekit.errors import CommandError, UnexpectedReplyError

# As many as a reply of the usual length still shows.
MANY_BANS = 500

_ROW = re.compile(r"(?m)^\s*\d+\.\d+\s+\d+\s+(?P<done>\S+)[ \t]*(?P<ban>.*)$")

_DETAILS = {
    "uptime_seconds": "MAIN.uptime",
    "bans": "MAIN.bans",
    "grace_hits": "MAIN.cache_hit_grace",
    "threads": "MAIN.threads",
}

Counters = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class BanList:
    """How many bans there are that objects are still tested against; `at_least`, if cut off."""

    waiting: int
    of_requests: int
    is_cut: bool

    def __str__(self) -> str:
        return f"{'at least ' if self.is_cut else ''}{self.waiting:,}"

    @property
    def warnings(self) -> Iterator[str]:
        """Say what is wrong with the list."""
        if self.waiting >= MANY_BANS:
            yield (
                f"{self} bans wait, and each lookup of an older object tests them all; clear less"
                " often, or by prefix or everything"
            )
        if self.of_requests:
            yield (
                f"{self.of_requests:,} bans look at req.*, which Varnish cannot work off by itself;"
                " let the VCL mark objects with x-url and x-host"
            )


def ban_list(cli: Cli) -> BanList:
    """Read the list of bans; in its text form, since its JSON is broken by bytes beyond ASCII.

    Replies end at `cli_limit`, 48 kB by default; it is not changed for this.
    """
    reply = cli.ask("ban.list")
    if reply.status not in (OK, TRUNCATED):
        raise UnexpectedReplyError(cli.place, f"`ban.list` says {reply}")
    waiting = [row["ban"] for row in _ROW.finditer(reply.text) if row["done"] not in ("C", "G")]
    of_requests = sum("req." in ban for ban in waiting)
    # Of all, the oldest one is no ban: it marks the start.
    return BanList(sum(map(bool, waiting)), of_requests, reply.status == TRUNCATED)


def cli_status(cli: Cli, counters: Counters) -> Status:
    """Put together what the management port and the counters tell."""
    child = cli.ask("status").text.strip().removeprefix("Child in state ")
    details: dict[str, str | int | float] = {"child": child}
    if child != "running":
        hazard = f"its child process is {child}: it serves and keeps nothing; `varnishadm start`"
        return Status(version=cli.version, items=0, details=details, hazards=(hazard,))
    bans = counted_bans(counters) or ban_list(cli)
    details["bans_waiting"] = str(bans)
    return status_of(counters, version=cli.version, details=details, hazards=tuple(bans.warnings))


def counted_bans(counters: Counters) -> BanList | None:
    """Tell from the counters how many bans there are, however long their list is."""
    try:
        waiting = counters["MAIN.bans"] - counters["MAIN.bans_completed"]
        return BanList(waiting, counters["MAIN.bans_req"], is_cut=False)
    except KeyError:
        return None


def status_of(
    counters: Counters,
    *,
    version: str | None = None,
    details: Mapping[str, str | int | float],
    hazards: tuple[str, ...],
) -> Status:
    """Add the counters of varnishstat to what is known; None is what they do not tell."""
    return Status(
        version=version,
        items=counters.get("MAIN.n_object"),
        size=_of_stores(counters, "g_bytes"),
        capacity=_of_stores(counters, "g_bytes", "g_space"),
        hits=counters.get("MAIN.cache_hit"),
        misses=counters.get("MAIN.cache_miss"),
        evictions=counters.get("MAIN.n_lru_nuked"),
        details={
            **details,
            **{
                name: counters[counter] for name, counter in _DETAILS.items() if counter in counters
            },
        },
        hazards=hazards,
    )


def counters_of(place: Place, instance: str | None, deadline: Deadline) -> Counters:
    """Run varnishstat on the node; give nothing where it is missing or may not read."""
    argv = ["varnishstat", "-1", "-j", "-t", "1", *(["-n", instance] if instance else [])]
    try:
        completed = place.transport.run(argv, deadline=deadline)
        found = json.loads(completed.stdout) if completed.status == 0 else {}
    except (CommandError, ValueError):
        return {}
    # Before 6.5 the counters were not in an object of their own.
    counters = found.get("counters", found)
    return {
        name: fact["value"]
        for name, fact in counters.items()
        if isinstance(fact, dict) and isinstance(fact.get("value"), int)
    }


def _of_stores(counters: Counters, *names: str) -> int | None:
    """Add up a number of all stores but the transient one."""
    found = [
        value
        for counter, value in counters.items()
        if counter.partition(".")[0] in ("SMA", "SMF", "MSE")
        and ".Transient." not in counter
        and counter.rpartition(".")[2] in names
    ]
    return sum(found) if found else None
