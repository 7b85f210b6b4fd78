"""Plans read back as they were written, and every text in them is either sound or told of."""

import json
from contextlib import suppress
from dataclasses import MISSING, fields, is_dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cachekit import config
from cachekit.errors import ConfigError
from cachekit.step_settings import (
    ClearStep,
    GoLiveStep,
    PlanSettings,
    PrimeStep,
    RollStep,
    RunStep,
    Steps,
    WaitStep,
    WarmStep,
)

SHOP = """\
site: https://shop.example
nodes:
  a: {address: 10.0.0.1, ssh: a, groups: [all, one]}
  b: {address: 10.0.0.2, ssh: b, groups: [all, two]}
caches:
  code: {type: apc, on: all}
  objects: {type: memcache, servers: "10.0.0.9:11211", namespace: "shop:{release}:"}
golive: {lb: {type: file, path: /run/ready}}
release_check: {on: all, header: X-Release}
warmlists: {top: {urls: [/]}, rest: {urls: [/a]}}
"""

# Without braces, which are checked, and without what YAML or the environment take for their own.
texts = st.text(
    st.characters(exclude_categories=["C", "Z"], exclude_characters="{}$"), min_size=1, max_size=9
) | st.sampled_from(["no", "1.10", "0777", "1:30", "~", "{release}", "x {previous}", "a: b", "# x"])
times = st.integers(1, 10**6).map(lambda milliseconds: milliseconds / 1000)
counts = st.integers(1, 1000)
batches = counts.map(str) | st.integers(1, 99).map("{}%".format)


def few(items: st.SearchStrategy[Any], least: int = 1) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(items, min_size=least, max_size=3, unique=True).map(tuple)


def maybe(items: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | items


on = st.sampled_from(["a", "b", "all", "one"])
COMMON: dict[str, Any] = {
    "title": st.just("") | texts,
    "on": few(on, 0),
    "when": st.sampled_from(["", "{previous}", "{environment} == production", "a != b"]),
    "deadline": maybe(times),
    "on_failure": st.sampled_from([None, "stop", "continue"]),
}
scopes = st.one_of(
    st.just({}),
    st.just({"everything": True}),
    st.sampled_from(["release", "key", "prefix", "tag", "url", "path"]).flatmap(
        lambda kind: st.fixed_dictionaries({kind: few(texts)})
    ),
    st.just({"older_than": ("1h",)}),
)
clears = st.builds(
    lambda common, scope, names: ClearStep(**common, **scope, clear=names),
    st.fixed_dictionaries(COMMON),
    scopes,
    few(st.sampled_from(["code", "objects", "code/opcode", "code/user", "all"])),
)
primes = st.builds(
    PrimeStep,
    **COMMON,
    prime=few(st.sampled_from(["code", "objects"])),
    source=st.sampled_from(["file:x", "donor:{previous}", "command:a b", "path:/x"]),
)
warms = st.builds(
    WarmStep,
    **COMMON,
    warm=few(st.sampled_from(["top", "rest", "all"])),
    verify=maybe(st.sampled_from([Fraction(0), Fraction(1)])),
    limit=maybe(counts),
)
runs = st.builds(RunStep, **COMMON, run=few(texts.filter(str.isalnum)))
waits = st.builds(WaitStep, **COMMON, wait=st.sampled_from(["release", "30s", "500ms", "1.5"]))
golives = st.builds(
    GoLiveStep,
    **(COMMON | {"on": st.just(("one",))}),
    golive=st.just(("lb",)),
    instead_of=few(st.sampled_from(["b", "two"]), 0),
)
plain = st.one_of(clears, primes, warms, runs, waits)


def stages(steps: st.SearchStrategy[Any], least: int = 1) -> st.SearchStrategy[tuple[Steps, ...]]:
    stage = st.lists(steps, min_size=1, max_size=2).map(tuple)
    return st.lists(stage, min_size=least, max_size=2).map(tuple)


rolls = st.builds(
    RollStep,
    **COMMON,
    roll=few(on),
    golive=st.just(("lb",)),
    steps=stages(plain),
    batch=batches,
    max_out=maybe(batches),
    max_failed=st.integers(0, 9),
    settle=times,
)
plans = st.builds(
    PlanSettings,
    steps=stages(plain | golives | rolls),
    last=stages(plain, least=0),
    on_failure=st.sampled_from(["stop", "continue"]),
    schedule=st.sampled_from(["", "0 4 * * *", "*/5 1-3 * jan mon,tue"]),
    deadline=maybe(times),
)
names = st.from_regex(r"\A[a-z0-9_é][a-z0-9_.é-]{0,7}\Z")


def written(value: Any, short: bool) -> Any:
    """Put a plan back into the words of the file, in short forms or in full."""
    if isinstance(value, Fraction):
        return "all" if value else "off"
    if isinstance(value, tuple):
        items = [written(item, short) for item in value]
        has_short_form = len(items) == 1 and not isinstance(value[0], tuple)
        return items[0] if short and has_short_form else items
    if not is_dataclass(value):
        return value
    keys = {
        field.metadata.get("alias", field.name): written(getattr(value, field.name), short)
        for field in fields(value)
        if field.default is MISSING or getattr(value, field.name) != field.default
    }
    alone = short and isinstance(value, PlanSettings) and keys.keys() == {"steps"}
    return keys["steps"] if alone else keys


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "cachekit.yaml"


def examples(number: int) -> settings:
    # The fixture may be shared: each example writes the file anew.
    shared = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    return settings(max_examples=number, deadline=None, suppress_health_check=shared)


@given(
    chosen=st.dictionaries(names, plans, max_size=2),
    short=st.booleans(),
    flow=st.sampled_from([False, None]),
)
@examples(100)
def test_what_is_written_reads_back(
    file: Path, chosen: dict[str, PlanSettings], short: bool, flow: bool | None
) -> None:
    section = {"plans": {name: written(plan, short) for name, plan in chosen.items()}}
    text = SHOP + yaml.safe_dump(section, default_flow_style=flow, allow_unicode=True)
    file.write_text(text, encoding="utf-8")
    assert config.load(file, {}).plans == chosen


odd = st.text("{}=!&|'\"\\ ab:/%$*<0\n", max_size=12) | st.sampled_from(
    ["{node}", "{relase}", "${X}", "a == b", "donor:", "all", "code/", "/opcode", "release"]
)
kinds = st.sampled_from(["clear", "prime", "warm", "run", "wait", "golive", "roll"])
others = st.sampled_from(["steps", "on", "when", "from", "batch", "url_regex", "glob", "title"])
odd_steps = st.dictionaries(
    kinds | others,
    odd | st.lists(odd, max_size=2),
    max_size=4,
)


@given(steps=st.recursive(odd_steps | odd, lambda inner: st.lists(inner, max_size=3), max_leaves=6))
@examples(300)
def test_no_plan_makes_the_reader_stumble(file: Path, steps: Any) -> None:
    text = SHOP + yaml.safe_dump({"plans": {"a": steps, "b": {"steps": steps}}})
    file.write_text(text, encoding="utf-8")
    with suppress(ConfigError):
        config.load(file, {})


@given(data=st.data())
@examples(50)
def test_a_fault_is_told_at_the_step_that_has_it(file: Path, data: st.DataObject) -> None:
    """Each step is written on a line of its own; the faulty one is told by that line."""
    ahead = data.draw(stages(warms | waits))
    behind = data.draw(stages(warms | waits))
    lines = [[written(step, short=True) for step in stage] for stage in (*ahead, *behind)]
    lines.insert(len(ahead), [{"clear": "nowhere"}])
    text = "plans:\n  a:\n" + "".join(
        f"    - {json.dumps(line, ensure_ascii=False)}\n" for line in lines
    )
    file.write_text(text + SHOP, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        config.load(file, {})
    (problem,) = caught.value.problems
    assert problem.where.startswith(f"{file}:{len(ahead) + 3}:")
    assert problem.message.startswith(f"plans.a[{len(ahead)}][0].clear: ")
