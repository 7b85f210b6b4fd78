"""A warm in a plan says what has to be mended."""

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from cachekit.settings import WarmList
from cachekit.sources.url_list import Urls
from cachekit.step_settings import WarmStep
from cachekit.thresholds import Gate, MaxTime, MinShare
from tests import shelves
from tests.plans import compiled, run
from tests.servers.origin import Origin

LISTS = {"top": WarmList(source=Urls(urls=("/", "/broken")))}
HALF = MinShare(go=Fraction(1, 2), floor=Fraction(1, 2))


def warmed(origin: Origin, tmp_path: Path, **facts: Any) -> tuple[str, Mapping[str, str]]:
    nodes = {"web1": shelves.node("web1", origin.address, "web")}
    plan = compiled(WarmStep(warm=("top",), **facts), nodes=nodes, warmlists=LISTS)
    (step,) = run(plan, tmp_path).steps
    return step.reason, step.lost


def test_a_no_go_names_what_failed_most_with_a_page(origin: Origin, tmp_path: Path) -> None:
    origin.page("/broken", status=404)
    reason, lost = warmed(origin, tmp_path)
    assert reason == (
        "min_ok: 50% (1 of 2 targets), wanted at least 100%;"
        " most of all: status 404, such as http://shop.example/broken"
    )
    assert lost == {"web1": reason}


def test_what_the_gate_allows_is_not_named(origin: Origin, tmp_path: Path) -> None:
    origin.page("/broken", status=404)
    slow = Gate(min_ok=HALF, max_p50=MaxTime(go=1e-9, floor=1e-9))
    reason, _ = warmed(origin, tmp_path, gate=slow)
    assert reason.startswith("max_p50: ")
    assert "most of all" not in reason
