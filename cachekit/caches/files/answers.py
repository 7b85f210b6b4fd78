"""What a node answered, as Change, Survey and Status."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cachekit.caches.base import Change, Status, Survey
from cachekit.caches.releases import ReleaseEntries, Releases
from cachekit.model import shown
from cachekit.quantities import format_count
from cachekit.scope import Kind, Scope

_NEARLY_FULL = 0.05
_EXAMPLES = 3
_ASTRAY = 5.0
_GAP = (
    "this file system cannot exchange directories, so for a moment between two renames nothing "
    "was there"
)


def change(answer: Mapping[str, Any]) -> Change:
    """Read the answer to a clear."""
    if "missing" in answer:
        return Change(found=0, removed=0, left=0, evidence=(f"{shown(answer['missing'])}",))
    return Change(
        found=answer.get("found"),
        removed=answer.get("removed"),
        left=answer.get("left"),
        evidence=tuple(_clear_evidence(answer)),
        warnings=tuple(_warnings(answer)),
    )


def _clear_evidence(answer: Mapping[str, Any]) -> Iterator[str]:
    if "how" in answer and answer["left"] is not None:
        yield f"{answer['how']}, empty after {answer['usable'] * 1000:.1f} ms"
    if answer.get("left") == 0:
        yield "counted again: none of them left"


def _warnings(answer: Mapping[str, Any]) -> Iterator[str]:
    if answer.get("how") == "two renames":
        yield _GAP
    if "how" in answer and answer["left"] is None:
        yield "another program has put its own directory there meanwhile; look there, run again"
    for name, reason in answer.get("not_removed", {}).items():
        yield f"{shown(name)} is unused but still there ({shown(reason)}); the next run removes it"
    for name, reason in answer.get("not_collected", {}).items():
        yield f"{shown(name)}, left by a run that crashed, cannot be removed: {shown(reason)}"
    failed = answer.get("failed", {})
    for name, reason in list(failed.items())[:5]:
        yield f"{shown(name)} cannot be removed: {shown(reason)}"
    if looks := answer.get("looks"):
        yield f"nothing matches; what is there looks like {', '.join(map(shown, looks))}"
    if hosts := answer.get("hosts"):
        yield (
            f"no key of this cache has the host {' or '.join(hosts[:_EXAMPLES])}: nginx's key may"
            " hold the upstream's; name that one in the URL, set `key`, or change proxy_cache_key"
        )


def without_hosts(answer: Mapping[str, Any], hosts: Sequence[str]) -> dict[str, Any]:
    """Take the proof away where no key has the host of any URL: keys are made of something else."""
    return {**answer, "left": None, "hosts": hosts}


def total(changes: Sequence[Change]) -> Change:
    """Add up the changes of several directories."""
    if len(changes) == 1:
        return changes[0]
    return Change(
        found=_sum([each.found for each in changes]),
        removed=_sum([each.removed for each in changes]),
        left=_sum([each.left for each in changes]),
        evidence=tuple(line for each in changes for line in each.evidence),
        warnings=tuple(line for each in changes for line in each.warnings),
    )


def _sum(numbers: Sequence[int | None]) -> int | None:
    known = [number for number in numbers if number is not None]
    return sum(known) if len(known) == len(numbers) else None


def survey(answer: Mapping[str, Any]) -> Survey:
    """Read the answer to a survey."""
    if "missing" in answer:
        return Survey(found=0, total=0, size=0, warnings=(shown(answer["missing"]),))
    return Survey(
        found=answer["found"],
        total=answer["total"],
        size=answer["size"],
        examples=tuple(map(shown, answer["examples"])),
        warnings=tuple(_warnings(answer)),
    )


def total_survey(surveys: Sequence[Survey]) -> Survey:
    """Add up the surveys of several directories."""
    return Survey(
        found=_sum([each.found for each in surveys]),
        total=_sum([each.total for each in surveys]),
        size=_sum([each.size for each in surveys]),
        examples=tuple(line for each in surveys for line in each.examples),
        warnings=tuple(line for each in surveys for line in each.warnings),
    )


def status(answer: Mapping[str, Any], *, adopted: bool, has_opcache: bool) -> Status:
    """Read the answer to a question for the status."""
    if "missing" in answer:
        return Status(items=0, size=0, hazards=(shown(answer["missing"]),))
    details: dict[str, str | int | float] = {}
    if answer["ages"]:
        oldest, newest = answer["ages"]
        details = {"oldest_seconds": round(oldest, 1), "newest_seconds": round(newest, 1)}
    if kept := answer["kept"]:
        details["kept_for_rollback"] = ", ".join(map(shown, kept))
    return Status(
        items=answer["items"],
        size=answer["size"],
        details=details,
        hazards=tuple(_hazards(answer, adopted=adopted, has_opcache=has_opcache)),
    )


def _hazards(answer: Mapping[str, Any], *, adopted: bool, has_opcache: bool) -> Iterator[str]:
    if not (answer["marked"] or adopted):
        yield "holds no file .cachekit, so that a clear would be refused; make one, or set `adopt`"
    if orphans := answer["orphans"]:
        yield f"left by crashed runs: {', '.join(map(shown, orphans))}; the next run removes it"
    if answer["php"] and not has_opcache:
        files = format_count(answer["php"], "PHP file")
        yield f"{files}: name the apc cache that holds their bytecode as `opcache`"
    for what in ("disk", "inodes"):
        free, capacity = answer.get(what) or (0, 0)
        if capacity and free < capacity * _NEARLY_FULL:
            yield f"nearly full: {free / capacity:.1%} of the {what} is free"


def releases(answer: Mapping[str, Any]) -> Releases:
    """Read the answer to a question for all releases."""
    if "missing" in answer:
        return Releases(aged_since="written", warnings=(shown(answer["missing"]),))
    return Releases(
        aged_since="written",
        entries=tuple(_of_release(each) for each in answer["found"] if each["release"].strip()),
        warnings=tuple(
            f"{shown(name)} is left out: {shown(reason)}"
            for name, reason in list(answer["left_out"].items())[:_EXAMPLES]
        ),
    )


def _of_release(found: Mapping[str, Any]) -> ReleaseEntries:
    release = found["release"]
    oldest, newest = map(_age, found["ages"] or (None, None))
    return ReleaseEntries(
        token=release,
        scope=Scope(Kind.RELEASE, (release,)),
        release=release,
        items=found["items"],
        size=found["size"],
        oldest=oldest,
        newest=newest,
    )


def _age(seconds: float | None) -> float | None:
    """Take no age for one that lies ahead: some applications date files by their expiry."""
    return None if seconds is None or seconds < -_ASTRAY else max(0.0, seconds)


def primed(answer: Mapping[str, Any]) -> Change:
    """Read the answer to a prime."""
    found, left = answer["found"], answer["left"]
    evidence: tuple[str, ...] = ()
    if left == 0:
        kept = ", ".join(map(shown, answer["kept"])) or "none"
        evidence = (
            f"{answer['how']}; {format_count(found, 'file')}, {answer['size']:,} bytes, verified",
            f"kept for a rollback: {kept}",
        )
    return Change(
        found=found,
        stored=None if left is None else found,
        left=left,
        evidence=evidence,
        warnings=tuple(_warnings(answer)),
    )
