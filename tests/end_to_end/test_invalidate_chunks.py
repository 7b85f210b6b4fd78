"""Pages cleared and warmed in chunks, on real Varnishes in front of an origin that counts."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from threading import Timer

import pytest

from cachekit.caches.base import Conditions
from cachekit.caches.varnish import Varnish as VarnishCache
from cachekit.chunks import Course, clear_and_warm
from cachekit.deadline import Deadline
from cachekit.errors import LockedError
from cachekit.lock import locked
from cachekit.model import Expect, Node, Site, parse_address
from cachekit.replay import place_of
from cachekit.runs import RunOutcome
from cachekit.settings import Settings
from cachekit.warming.stop import Stop
from tests.servers.origin import Origin
from tests.servers.varnish import Varnish, Visitor, clearable

pytestmark = [pytest.mark.server, pytest.mark.end_to_end]

SITE = "http://shop.example"
URLS = [f"/p/{number}" for number in range(7)]


@pytest.fixture
def varnish(varnish_node: Callable[..., Varnish]) -> Varnish:
    return varnish_node(vcl=clearable())


@pytest.fixture
def visitor(varnish: Varnish) -> Iterator[Visitor]:
    with Visitor(varnish) as visitor:
        yield visitor


@pytest.fixture
def settings(varnish: Varnish) -> Settings:
    node = Node(name="web1", address=parse_address(varnish.address))
    return Settings(site=SITE, nodes={"web1": node}, caches={"pages": VarnishCache(on=("web1",))})


@pytest.fixture
def course(tmp_path: Path) -> Course:
    conditions = Conditions(deadline=Deadline(60), state_dir=tmp_path, site=SITE)
    return Course(conditions=conditions, stop=Stop(None))


def test_each_chunk_is_warm_again_before_the_next_is_cleared(
    settings: Settings, course: Course, visitor: Visitor, origin: Origin
) -> None:
    for url in [*URLS, "/other"]:
        visitor.visit(url)
    cold: list[int] = []

    def look(_: object) -> None:
        cold.append(sum(not visitor.finds(url) for url in URLS))

    done = clear_and_warm(settings, URLS, replace(course, step_listener=look), size=3)
    assert done.outcome is RunOutcome.DONE
    assert [len(chunk.urls) for chunk in done.chunks] == [3, 3, 1]
    assert cold == [3, 3, 1]
    runs = course.conditions.state_dir / "runs"
    assert not [*runs.iterdir()], "no chunk takes the place of a run that others may ask for"
    assert [origin.count(url) for url in URLS] == [2] * 7
    assert origin.count("/other") == 1
    assert all(visitor.finds(url) for url in URLS)


def test_a_chunk_that_fails_is_the_last(
    settings: Settings, course: Course, visitor: Visitor, origin: Origin
) -> None:
    for url in URLS:
        visitor.visit(url)
    origin.page("/p/3", status=500)
    done = clear_and_warm(settings, URLS, course, size=3)
    assert done.outcome is RunOutcome.FAILED
    assert [chunk.outcome for chunk in done.chunks] == [RunOutcome.DONE, RunOutcome.FAILED]
    assert done.left == 1
    assert origin.count("/p/6") == 1, "what was not reached is as it was"
    assert visitor.finds("/p/6")


def test_nothing_is_cleared_while_another_run_warms_the_node(
    settings: Settings, course: Course, visitor: Visitor
) -> None:
    visitor.visit("/p/1")
    place = place_of(settings.nodes["web1"], Site(SITE))
    with locked(course.conditions.state_dir, SITE, [place]), pytest.raises(LockedError):
        clear_and_warm(settings, ["/p/1"], course)
    assert visitor.finds("/p/1")


def test_a_run_that_came_between_is_waited_for(
    settings: Settings, course: Course, visitor: Visitor
) -> None:
    visitor.visit("/p/1")
    place = place_of(settings.nodes["web1"], Site(SITE))
    other = ExitStack()
    timer = Timer(1.0, other.close)

    def come_between(_: object) -> None:
        other.enter_context(locked(course.conditions.state_dir, SITE, [place]))
        timer.start()

    done = clear_and_warm(settings, ["/p/1"], replace(course, step_listener=come_between))
    timer.join()
    assert done.outcome is RunOutcome.DONE
    assert visitor.finds("/p/1")


def test_a_clear_that_fails_warms_nothing(
    settings: Settings, course: Course, varnish_node: Callable[..., Varnish], origin: Origin
) -> None:
    refusing = varnish_node(vcl=clearable(admitted="10.0.0.0"))
    node = Node(name="web1", address=parse_address(refusing.address))
    done = clear_and_warm(replace(settings, nodes={"web1": node}), ["/p/1"], course)
    assert done.outcome is RunOutcome.FAILED
    assert done.chunks[0].problem == "not cleared, so not warmed"
    assert not origin.requests


def test_where_all_was_cleared_it_is_warmed_though_a_clear_fails_elsewhere(
    settings: Settings,
    course: Course,
    visitor: Visitor,
    varnish_node: Callable[..., Varnish],
    origin: Origin,
) -> None:
    refusing = varnish_node(vcl=clearable(admitted="10.0.0.0"))
    bad = Node(name="web2", address=parse_address(refusing.address))
    nodes = {**settings.nodes, "web2": bad}
    caches = {
        "inner": VarnishCache(on=("web1", "web2")),
        "outer": VarnishCache(on=("web1",)),
    }
    # Two clears: what failed in the first must not keep the second from the good node.
    held_by = {"inner": ["/p/1", "/p/2"], "outer": ["/p/2", "/p/3"]}
    urls = [f"/p/{number}" for number in range(1, 6)]
    with Visitor(refusing) as other:
        for each in (visitor, other):
            for url in urls:
                each.visit(url)
        done = clear_and_warm(
            replace(settings, nodes=nodes, caches=caches), urls, course, size=3, held_by=held_by
        )
        assert done.outcome is RunOutcome.FAILED
        (chunk,) = done.chunks
        assert chunk.not_warmed == {"web2": "inner at web2 was not cleared"}
        assert chunk.warm is not None
        assert [node.name for node in chunk.warm.nodes] == ["web1"]
        assert done.left == 2
        assert all(each.finds(url) for each in (visitor, other) for url in urls)
    assert [origin.count(url) for url in urls] == [3, 3, 3, 2, 2]


def test_without_a_cache_of_pages_it_only_warms(
    settings: Settings, course: Course, origin: Origin
) -> None:
    done = clear_and_warm(replace(settings, caches={}), ["/p/1", "/p/1"], course)
    assert done.outcome is RunOutcome.DONE
    assert done.chunks[0].clears == ()
    assert origin.count("/p/1") == 1


def test_what_the_settings_exclude_is_cleared_and_told(
    settings: Settings, course: Course, visitor: Visitor
) -> None:
    visitor.visit("/account")
    warm = replace(settings.warm, exclude=("/account",), expect=Expect(status=(200,)))
    done = clear_and_warm(replace(settings, warm=warm), ["/account"], course)
    assert done.outcome is RunOutcome.DONE
    assert done.chunks[0].cuts == {"excluded": 1}
    assert not visitor.finds("/account")
