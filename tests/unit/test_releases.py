"""Which release a token is of, what it is to the site, and what is said to reap it."""

import re
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachekit.caches.base import Conditions, Place, Survey
from cachekit.caches.census import Count, start_of_any, told
from cachekit.caches.namespace import prefix_of, release_token
from cachekit.caches.releases import ReleaseEntries, Releases, Role
from cachekit.deadline import Deadline
from cachekit.errors import ConfigError, UnreachableError
from cachekit.execution import Limits, execute
from cachekit.outcomes import ActionReport
from cachekit.plan import Selection, plan_releases
from cachekit.releases import entries_of, named, per_release
from cachekit.reports import actions
from cachekit.scope import Kind, Scope
from cachekit.warming.stop import Stop
from tests.shelves import NODES, GuardedShelf, Shelf, conditions, settings

ALL = Selection()
LIVE: dict[str, object] = {"release": "r42", "previous": "r41"}
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="{}"), max_size=8)


def entries(token: str, items: int | None = 3, **facts: object) -> ReleaseEntries:
    scope = Scope(Kind.PREFIX, (f"shop:{token}:",))
    return ReleaseEntries(token=token, scope=scope, items=items, size=900, newest=5.0, **facts)  # type: ignore[arg-type]


class ReleaseShelf(GuardedShelf):
    """A cache whose releases a test says; it is dead at web2."""

    per_release = True
    held: tuple[ReleaseEntries, ...] = ()
    warnings: tuple[str, ...] = ()

    def survey(self, place: Place, scope: Scope, conditions: Conditions) -> Survey:
        conditions.deadline.remaining()
        if place.name == "web2":
            raise UnreachableError(place.name, "connection refused")
        return Survey(found=7 if scope == Scope(Kind.RELEASE, ("r41",)) else 0)

    def releases(self, place: Place, conditions: Conditions) -> Releases:
        return Releases(aged_since="used", entries=self.held, warnings=self.warnings)


def shelf(*held: ReleaseEntries, **facts: object) -> ReleaseShelf:
    class Held(ReleaseShelf):
        pass

    for name, value in {"held": held, **facts}.items():
        setattr(Held, name, value)
    return Held()


def listed(
    *held: ReleaseEntries,
    ids: Iterable[str] = (),
    releases: dict[str, object] = LIVE,
    **facts: object,
) -> ActionReport:
    given = conditions(**releases)  # type: ignore[arg-type]
    plan = plan_releases(settings({"objects": shelf(*held, **facts)}), Selection(nodes=("web1",)))
    return named(execute(plan, given, limits=Limits(), stop=Stop(None)), given, ids)


def found(report: ActionReport) -> dict[str, ReleaseEntries]:
    (step,) = report.steps
    assert isinstance(step.found, Releases)
    return {each.release or each.token: each for each in step.found.entries}


# Tokens


@given(NAMES, st.lists(NAMES, min_size=1, max_size=2), NAMES, NAMES)
def test_keys_of_any_release_tell_their_token(
    first: str, others: list[str], release: str, name: str
) -> None:
    namespace = first + "{release}" + "{release}".join(others)
    key = (prefix_of(namespace, release) + name).encode()
    match = re.match(start_of_any(namespace), key)
    assert match
    assert match[1].decode() == release_token(release)


@pytest.mark.parametrize(
    "key", ["shop:sessions:1", "shop:3F2A1B0C9D8E:x", "shop:3f2a1b0c9d8e", "xshop:3f2a1b0c9d8e:x"]
)
def test_other_keys_are_of_no_release(key: str) -> None:
    assert not re.match(start_of_any("shop:{release}:"), key.encode())


def test_two_tokens_in_one_key_must_be_the_same() -> None:
    start = start_of_any("{release}:{release}")
    assert re.match(start, b"3f2a1b0c9d8e:3f2a1b0c9d8e")
    assert not re.match(start, b"3f2a1b0c9d8e:3f2a1b0c9d8f")


def test_what_one_part_does_not_tell_is_not_known() -> None:
    count = Count()
    count.add(2, 100, 9.0, 3.0)
    count.add(3, 50, 7.0, 1.0)
    (entry,) = told({"3f2a1b0c9d8e": count}, "shop:{release}:")
    assert (entry.items, entry.size, entry.oldest, entry.newest) == (5, 150, 9.0, 1.0)
    assert entry.scope == Scope(Kind.PREFIX, ("shop:3f2a1b0c9d8e:",))
    count.add(1, None, None, None)
    count.add(1, 10, 1.0, 1.0)
    (entry,) = told({"3f2a1b0c9d8e": count}, "shop:{release}:")
    assert (entry.items, entry.size, entry.oldest, entry.newest) == (7, None, None, None)


# Roles


def test_ids_that_are_known_name_their_tokens() -> None:
    tokens = map(release_token, ("r38", "r39", "r41", "r42"))
    report = listed(*map(entries, tokens), ids=("r39", ""))
    roles = {release: each.role for release, each in found(report).items()}
    assert roles == {
        "r42": Role.LIVE,
        "r41": Role.PREVIOUS,
        "r39": Role.OLD,
        release_token("r38"): Role.OLD,
    }
    assert list(roles) == ["r42", "r41", "r39", release_token("r38")]


def test_a_directory_names_the_token_of_its_release_in_other_caches() -> None:
    held = {
        "views": shelf(entries("r40", release="r40")),
        "objects": shelf(entries(release_token("r40"))),
    }
    given = conditions(release="r42", previous="r41")
    plan = plan_releases(settings(held), Selection(nodes=("web1",)))
    report = named(execute(plan, given, limits=Limits(), stop=Stop(None)), given, ())
    assert actions.render(report).count("  r40 ") == 2
    assert "cachekit clear objects --release r40" in actions.render(report)


def test_what_a_kept_release_has_not_is_told_as_nothing() -> None:
    empty = found(listed(entries(release_token("r42"))))["r41"]
    assert (empty.items, empty.role) == (0, Role.PREVIOUS)


def test_without_the_live_release_nothing_is_old() -> None:
    report = listed(entries(release_token("r40")), releases={}, ids=("r40",))
    assert found(report)["r40"].role is Role.UNKNOWN
    text = actions.render(report)
    assert "which release is live?" in text
    assert "reaped" not in text


def test_without_a_previous_release_it_is_said() -> None:
    report = listed(entries(release_token("r41")), releases={"release": "r42"})
    assert "what is old here may be what a rollback needs" in actions.render(report)


# The report


def test_commands_reap_by_id_or_by_prefix_and_never_what_is_kept() -> None:
    old, unknown = release_token("r40"), release_token("r39")
    held = (entries(each) for each in (release_token("r41"), release_token("r42"), old, unknown))
    text = actions.render(listed(*held, ids=("r40",)))
    commands = [line.strip() for line in text.splitlines() if "cachekit clear" in line]
    assert commands == [
        f"cachekit clear objects --prefix shop:{unknown}:",
        "cachekit clear objects --release r40",
    ]


def test_names_from_outside_are_quoted_and_escaped() -> None:
    text = actions.render(listed(entries("$(x);\u202e", release="$(x);\u202e"), ids=("a\x1b",)))
    assert "cachekit clear objects --release '$(x);\\u202e'" in text
    assert "\u202e" not in text


def test_nothing_reaps_what_has_no_entries() -> None:
    assert "reaped" not in actions.render(listed(entries("r40", 0, release="r40")))


@pytest.mark.parametrize(
    ("newest", "said"),
    [(0.4, "used 0 s ago"), (200.0, "used 3 min 20 s ago"), (9e5, "used 10 d ago"), (None, " ? ")],
)
def test_ages_are_for_people(newest: float | None, said: str) -> None:
    entry = ReleaseEntries(
        token="r40", scope=Scope(Kind.RELEASE, ("r40",)), release="r40", items=1, newest=newest
    )
    assert said in actions.render(listed(entry))


def test_warnings_and_failures_are_told() -> None:
    assert "objects at web1: one is left out" in actions.render(
        listed(warnings=("one is left out",))
    )
    given = conditions(release="r42", previous="r41")

    def releases(*_: object) -> Releases:
        raise UnreachableError("web1", "connection refused")

    plan = plan_releases(settings({"objects": shelf(releases=releases)}), ALL)
    text = actions.render(execute(plan, given, limits=Limits(), stop=Stop(None)))
    assert "objects at web1: connection refused" in text
    assert text.startswith("FAILED  releases")


# Plans


def test_only_what_holds_releases_apart_is_listed_and_the_rest_is_noted() -> None:
    given = settings({"objects": shelf(), "plain": shelf(per_release=False), "pages": Shelf()})
    plan = plan_releases(given, ALL)
    assert [(step.name, step.place) for step in plan.steps] == [
        ("objects", "web1"),
        ("objects", "web2"),
    ]
    assert plan.notes == (
        "plain: holds no release apart: only a namespace or a path with {release} does",
        "pages: cannot list what it holds of a release",
    )
    assert list(per_release(given)) == ["objects"]


@pytest.mark.parametrize("selection", [ALL, Selection(caches=("pages",))])
def test_where_nothing_can_be_listed_it_is_refused(selection: Selection) -> None:
    with pytest.raises(ConfigError, match="pages: cannot list what it holds of a release"):
        plan_releases(settings({"pages": Shelf()}), selection)


# Rollback


def test_entries_are_counted_by_place_and_what_cannot_be_is_none() -> None:
    cache = shelf(max_keys=1)
    places = cache.places(NODES)
    assert entries_of(cache, places, "r41", conditions()) == {"web1": 7, "web2": None}
    assert entries_of(cache, places[:1], "r40", conditions()) == {"web1": 0}
    late = conditions(deadline=Deadline(0))
    assert entries_of(cache, places[:1], "r41", late) == {"web1": None}
