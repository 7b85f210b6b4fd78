"""What masters answered, as Change and Survey."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from cachekit.caches.apc.reply import Answer, Master, Reply, UnprovenError, error_of
from cachekit.caches.base import Change, Survey
from cachekit.model import shown

_SHOWN_FILES = 5
_PRELOAD = (
    "OPcache was restarted, but what opcache.preload loaded ({file}) stays until php-fpm is"
    " reloaded; set `reload_command`"
)
_FILES_LEFT = (
    "{left} compiled files in opcache.file_cache {root} cannot be removed by the pool's user, and"
    " would bring the old code back; give them to that user, or remove them"
)


def changed(reply: Reply, read: Callable[[Master], Change]) -> Change:
    """Add up what all masters did. Raises the error of those that failed, after the others."""
    changes, failures = reply.read(read)
    change = total(changes)
    if failures:
        raise error_of(reply.place, failures, change.evidence)
    return replace(change, warnings=(*change.warnings, *reply.notes))


def total(changes: Sequence[Change]) -> Change:
    """Add up changes; a number that one of them does not know is not known."""

    def added(numbers: Iterable[int | None]) -> int | None:
        known = list(numbers)
        return sum(each or 0 for each in known) if known and None not in known else None

    return Change(
        found=added(each.found for each in changes),
        removed=added(each.removed for each in changes),
        stored=added(each.stored for each in changes),
        present=added(each.present for each in changes),
        skipped=added(each.skipped for each in changes),
        left=added(each.left for each in changes),
        evidence=tuple(line for each in changes for line in each.evidence),
        warnings=tuple(line for each in changes for line in each.warnings),
    )


def restarted(master: Master) -> Change:
    """Read a verified restart of OPcache. Raises UnprovenError where old code outlives it."""
    before, now = master.answer["before"], master.answer["now"]
    if now["preload"]:
        raise UnprovenError(_PRELOAD.format(file=now["preload"]))
    files = _files(before, now)
    evidence = f"{master}: OPcache restarted ({now['restarts']} times since its start)"
    if now["file_cache_only"]:
        evidence = f"{master}: it has no memory of its own (opcache.file_cache_only)"
    found = int(before["found"]) + (files if now["file_cache_only"] else 0)
    return Change(
        found=found,
        removed=found,
        evidence=(evidence, *_about_files(files)),
    )


def invalidated(master: Master) -> Change:
    """Read which scripts were invalidated."""
    answer = master.answer
    state = answer["state"]
    files = _files(answer, state)
    found, left = int(answer["found"]), int(answer["left"])
    if left:
        kept = ", ".join(answer["examples"])
        advice = "preloaded ones need a reload" if state["preload"] else "clear --everything"
        raise UnprovenError(shown(f"{left} scripts stay cached ({kept}); {advice}"))
    evidence = f"{master}: looked again, none of {found} scripts is cached any more"
    return Change(
        found=found,
        removed=found,
        left=0,
        evidence=(evidence, *_about_files(files)),
        warnings=tuple(f"{master}: {line}" for line in waste(state)),
    )


def waste(state: Answer) -> Iterator[str]:
    """Warn of memory that only a restart of OPcache frees."""
    wasted, capacity = state["wasted"], state["capacity"]
    if wasted and capacity and wasted / capacity * 100 >= state["max_wasted"]:
        yield (
            f"{wasted / capacity:.0%} of OPcache's memory is wasted by invalidated scripts"
            f" (opcache.max_wasted_percentage is {state['max_wasted']:g}); only a clear of"
            " everything frees it"
        )


def _files(answer: Answer, state: Answer) -> int:
    files = answer["files"]
    if files["left"]:
        raise UnprovenError(_FILES_LEFT.format(left=files["left"], root=state["file_cache"]))
    return int(files["removed"])


def _about_files(removed: int) -> tuple[str, ...]:
    return (f"{removed} compiled files removed from opcache.file_cache",) if removed else ()


def cleared(master: Master) -> Change:
    """Read a clear of all that APCu has."""
    answer = master.answer
    found, left = int(answer["found"]), int(answer["left"])
    since = f", {answer['since']} stored since" if answer["since"] else ""
    evidence = f"{master}: APCu cleared, {left} of {found} entries left{since}"
    return Change(found=found, removed=found - left, left=left, evidence=(evidence,))


def deleted(master: Master) -> Change:
    """Read a deletion of some of APCu's entries."""
    answer = master.answer
    left = int(answer["left"])
    return Change(
        found=int(answer["found"]),
        removed=int(answer["removed"]),
        left=left,
        evidence=(f"{master}: looked again, {left} there",),
    )


def compiled(master: Master) -> Change:
    """Read the verdict on each file."""
    verdicts = dict(master.answer["files"])
    kinds = [kind for kind, _ in verdicts.values()]
    failed = {file: why for file, (kind, why) in verdicts.items() if kind in ("failed", "fresh")}
    shown_files = list(failed.items())[:_SHOWN_FILES]
    warnings = [f"{file}: {_fresh(why)}" for file, why in shown_files]
    if more := len(failed) - len(warnings):
        warnings.append(f"and {more} more files")
    return Change(
        found=len(kinds),
        stored=kinds.count("compiled"),
        present=kinds.count("present"),
        left=len(failed),
        evidence=(f"{master}: {len(kinds) - len(failed)} of {len(kinds)} files are cached",),
        warnings=tuple(map(shown, warnings)),
    )


def _fresh(why: str | int) -> str:
    if isinstance(why, int):
        return f"changed too lately for OPcache (opcache.file_update_protection); in {why} s it may"
    return why


def surveyed(reply: Reply) -> Survey:
    """Add up what a clear would touch; what cannot be asked is a warning, unless it is all."""
    answers, failures = reply.read(
        lambda master: [
            Survey(
                found=int(each["found"]),
                total=int(each["total"]),
                size=int(each["size"]),
                examples=tuple(map(shown, each["examples"])),
                warnings=(f"{master} share this memory: all their sites lose it",)
                if len(master.pools) > 1 and each["found"] == each["total"]
                else (),
            )
            for each in master.answers
        ]
    )
    if not answers:
        raise error_of(reply.place, failures, ())
    surveys = [survey for several in answers for survey in several]
    known = not failures
    return Survey(
        found=sum(each.found or 0 for each in surveys) if known else None,
        total=sum(each.total or 0 for each in surveys) if known else None,
        size=sum(each.size or 0 for each in surveys) if known else None,
        examples=tuple(name for each in surveys for name in each.examples)[:_SHOWN_FILES],
        warnings=(
            *(line for each in surveys for line in each.warnings),
            *reply.notes,
            *map(str, failures),
        ),
    )
