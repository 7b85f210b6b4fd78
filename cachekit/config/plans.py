"""Plans of the settings file: stages of steps, each decoded by the key that names its kind."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from cachekit.checks import KeyPath
from cachekit.config.pieces import NOTHING, decode, keys_of
from cachekit.near_misses import nearest
from cachekit.step_settings import (
    KINDS,
    GoLiveStep,
    PlanSettings,
    RollStep,
    RunStep,
    Step,
    Steps,
)

Report = Callable[..., None]

_KNOWN = frozenset().union(*map(keys_of, KINDS.values()))
# Stands where a step is faulty, so that the steps beside it keep their places.
_FAULTY = RunStep(run=("faulty",))


def decode_plan(path: KeyPath, data: object, report: Report) -> PlanSettings:
    """Decode a plan: a mapping, or its list of steps alone."""
    if isinstance(data, list):
        return PlanSettings(steps=_stages((*path, "steps"), data, report))
    if data is not None and not isinstance(data, Mapping):
        report(path, "expected a list of steps, or a mapping with `steps`")
        return PlanSettings(steps=((_FAULTY,),))
    written: Mapping[str, object] = data or {}
    parts = {key: _stages((*path, key), written.get(key), report) for key in ("steps", "finally")}
    rest = {key: value for key, value in written.items() if key not in parts}
    plan: PlanSettings = _decoded(PlanSettings, rest, path, report) or PlanSettings()
    return replace(plan, steps=parts["steps"], last=parts["finally"])


def as_written(data: Any, path: KeyPath) -> KeyPath:
    """Leave out of a path what short forms spare.

    They are `steps` of a plan that is a list, and 0 of a stage that is one step.
    """
    written: KeyPath = ()
    for part in path:
        if not _is_spared(data, part):
            written = (*written, part)
            data = _inside(data, part)
    return written


def _is_spared(data: object, part: str | int) -> bool:
    if part == "steps":
        return isinstance(data, list)
    return part == 0 and isinstance(data, Mapping)


def _inside(data: Any, part: str | int) -> Any:
    if isinstance(data, Mapping):
        return data.get(part)
    inside = isinstance(data, list) and isinstance(part, int) and part < len(data)
    return data[part] if inside else None


def _stages(path: KeyPath, data: object, report: Report) -> tuple[Steps, ...]:
    if data is None:
        return ()
    if not isinstance(data, list):
        report(path, "expected a list of steps")
        return ((_FAULTY,),)
    return tuple(_stage((*path, index), item, report) for index, item in enumerate(data))


def _stage(path: KeyPath, data: object, report: Report) -> Steps:
    if not isinstance(data, list):
        return (_step((*path, 0), data, report),)
    if not data:
        report(path, "expected at least one step")
    return tuple(_step((*path, index), item, report) for index, item in enumerate(data))


def _step(path: KeyPath, data: object, report: Report) -> Step:
    kind = _kind(path, data, report)
    if kind is None or not isinstance(data, Mapping):
        return _FAULTY
    given: Mapping[str, object] = NOTHING
    if kind is RollStep and "steps" in data:
        given = {"steps": _stages((*path, "steps"), data["steps"], report)}
    rest = {key: value for key, value in data.items() if key not in given}
    step: Step | None = _decoded(kind, rest, path, report, given)
    return step or _FAULTY


def _decoded(
    kind: Any,
    data: object,
    path: KeyPath,
    report: Report,
    given: Mapping[str, object] = NOTHING,
) -> Any:
    # Who misspells `roll` beside `golive` is not to be left with keys that are merely unknown.
    value, faults = decode(kind, data, given, also_known=["roll"] if kind is GoLiveStep else [])
    for fault in faults:
        report((*path, *fault.path), fault.message, at_key=fault.at_key)
    return value


def _kind(path: KeyPath, data: object, report: Report) -> type[Step] | None:
    """Find the kind of a step; a roll has `golive` as well."""
    if not isinstance(data, Mapping):
        report(path, f"expected a step: a mapping with one of {', '.join(KINDS)}")
        return None
    named = [key for key in data if key in KINDS]
    if "roll" in named and "golive" in named:
        named.remove("golive")
    if len(named) == 1:
        return KINDS[named[0]]
    if named:
        message = f"found {' and '.join(named)}, expected one kind of step for each mapping"
        report((*path, named[1]), message, at_key=True)
    elif misspelt := _misspelt(data):
        key, meant = misspelt
        report((*path, key), f"unknown key; did you mean {meant!r}?", at_key=True)
    else:
        report(path, f"found no kind of step, expected one of {', '.join(KINDS)}")
    return None


def _misspelt(data: Mapping[str, object]) -> tuple[str, str] | None:
    """Find the key that was probably meant to name the kind, and what was meant."""
    near = ((key, nearest(key, _KNOWN)) for key in data if key not in _KNOWN)
    return next(((key, meant) for key, meant in near if meant in KINDS), None)
