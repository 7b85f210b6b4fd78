"""Scopes, records and namespaces: what is refused before it can select too much."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachekit.caches.base import Filling
from cachekit.caches.namespace import (
    fixed_part,
    literal_start,
    namespace_refusal,
    prefix_of,
    release_token,
    stored_key,
)
from cachekit.caches.records import Record, parse_records, read_records
from cachekit.deadline import Deadline
from cachekit.errors import SourceError
from cachekit.scope import EVERYTHING, Kind, Scope
from tests.shelves import conditions

NAMESPACE = "shop:{release}:"


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Kind.KEY, ""),
        (Kind.PREFIX, " "),
        (Kind.TAG, ""),
        (Kind.GLOB, "**"),
        (Kind.URL_REGEX, ".*"),
        (Kind.URL_REGEX, ""),
        (Kind.URL_REGEX, "("),
        (Kind.URL, "/a\r\nX: y"),
        (Kind.OLDER_THAN, "soon"),
    ],
)
def test_a_scope_that_selects_everything_or_nothing_by_mistake_is_refused(
    kind: Kind, value: str
) -> None:
    with pytest.raises(ValueError, match=f"--{kind}|duration"):
        Scope(kind, (value,))


def test_an_age_is_read_as_a_duration() -> None:
    assert Scope(Kind.OLDER_THAN, ("2h",)).seconds == 7200


def refused(scope: Scope, *, exclusive: bool = False, **facts: Any) -> str:
    return namespace_refusal(NAMESPACE, scope, conditions(**facts), exclusive=exclusive)


def test_everything_of_a_store_that_may_be_shared_is_refused() -> None:
    assert "exclusive: true" in refused(EVERYTHING)
    assert refused(EVERYTHING, exclusive=True) == ""


@pytest.mark.parametrize("release", ["r42", "r41"])
def test_live_and_rollback_release_are_kept_unless_forced(release: str) -> None:
    for scope in (
        Scope(Kind.RELEASE, (release,)),
        Scope(Kind.PREFIX, (prefix_of(NAMESPACE, release) + "users:",)),
        Scope(Kind.PREFIX, ("shop:",)),
        Scope(Kind.GLOB, ("shop:*",)),
    ):
        assert "--force" in refused(scope, release="r42", previous="r41")
        assert refused(scope, release="r42", previous="r41", force=True) == ""
    assert refused(Scope(Kind.RELEASE, ("r40",)), release="r42", previous="r41") == ""


def test_without_the_live_release_nothing_is_known_not_to_be_it() -> None:
    for scope in (
        Scope(Kind.RELEASE, ("r40",)),
        Scope(Kind.PREFIX, ("shop:",)),
        Scope(Kind.PREFIX, (prefix_of(NAMESPACE, "r40"),)),
        Scope(Kind.GLOB, ("shop:*",)),
    ):
        assert "set `release:`, or give --live" in refused(scope)
        assert refused(scope, force=True) == ""
    assert refused(Scope(Kind.KEY, ("shop:a",))) == ""


@pytest.mark.parametrize("glob", ["?*", "[!~]*", "*a", "*:*"])
def test_a_glob_that_may_select_anything_needs_a_store_of_its_own(glob: str) -> None:
    scope = Scope(Kind.GLOB, (glob,))
    assert "exclusive: true" in namespace_refusal("", scope, conditions(), exclusive=False)
    assert namespace_refusal("", scope, conditions(), exclusive=True) == ""


def test_a_key_with_the_placeholder_in_it_is_no_key() -> None:
    assert "is --release meant?" in refused(Scope(Kind.KEY, ("shop:{release}:a",)), release="r42")


def test_one_age_is_one_age() -> None:
    with pytest.raises(ValueError, match="given twice"):
        Scope(Kind.OLDER_THAN, ("1d", "2d"))


def test_a_release_with_the_token_of_a_kept_one_is_that_one_to_the_cache() -> None:
    assert release_token("r5538728") == release_token("r37701321")
    scope = Scope(Kind.RELEASE, ("r5538728",))
    assert "release r37701321 is live" in refused(scope, release="r37701321")


@pytest.mark.parametrize("kind", [Kind.KEY, Kind.PREFIX, Kind.GLOB])
def test_keys_outside_of_the_namespace_are_refused(kind: Kind) -> None:
    assert "outside of its namespace" in refused(Scope(kind, ("blog:1",)))


def test_a_namespace_of_all_releases_keeps_none() -> None:
    scope = Scope(Kind.PREFIX, ("shop:",))
    assert namespace_refusal("shop:", scope, conditions(release="r42"), exclusive=False) == ""


def test_a_record_s_key_is_stored_under_the_live_release_or_refused() -> None:
    token = release_token("r42")
    assert stored_key("shop:{release}:a", NAMESPACE, "r42") == f"shop:{token}:a"
    assert stored_key("a", "", "") == "a"
    for key, namespace in (("shop:{release}:a", NAMESPACE), ("a:{release}", ""), ("a", NAMESPACE)):
        with pytest.raises(ValueError, match="which release"):
            stored_key(key, namespace, "")
    with pytest.raises(ValueError, match="the key blog:a is outside of the namespace"):
        stored_key("blog:a", NAMESPACE, "r42")


def test_a_token_is_what_php_computes() -> None:
    # php > echo substr(hash('sha256', 'r42'), 0, 12);
    assert release_token("r42") == "8ef7ff52ebd8"
    assert fixed_part(NAMESPACE) == "shop:"


@given(st.text(max_size=20))
def test_the_literal_start_of_a_glob_has_no_pattern_in_it(glob: str) -> None:
    start = literal_start(glob)
    assert glob.startswith(start)
    assert not set(start) & set("*?[")


def parsed(*lines: str) -> list[Record]:
    return list(parse_records([line.encode() for line in lines], "r.jsonl"))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.text(min_size=1), json_values, st.binary())
def test_records_are_read_as_they_were_written(key: str, value: object, raw: bytes) -> None:
    encoded = base64.b64encode(raw).decode()
    records = parsed(
        '{"cachekit": 1}',
        json.dumps({"key": key, "value": value}),
        json.dumps({"key": key, "value_base64": encoded, "expires_at": 7, "flags": 4}),
    )
    assert records == [Record(key, value), Record(key, raw, 7, 4)]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("[]", "expected a JSON object"),
        ('{"key": "a"}', "expected one of `value`"),
        ('{"key": "", "value": 1}', "expected `key`"),
        ('{"key": "a", "value": 1, "tll": 3}', "unknown field 'tll'"),
        ('{"key": "a", "value": 1, "ttl": -3}', "expected `ttl`"),
        ('{"key": "a", "value": 1, "ttl": 3, "expires_at": 4}', "expected one of `ttl`"),
        ('{"key": "a", "value_base64": "%%"}', "r.jsonl:1"),
        ('{"key": "a", "value": 1, "flags": 4294967296}', "expected `flags`"),
        ("{", "r.jsonl:1"),
    ],
)
def test_a_bad_record_is_named_by_its_line(line: str, said: str) -> None:
    with pytest.raises(SourceError, match=said.replace("(", r"\(")):
        parsed(line)


def test_another_version_is_refused() -> None:
    with pytest.raises(SourceError, match="reads version 1"):
        parsed('{"cachekit": 2}')


def loaded(command: str, seconds: float = 10) -> list[Record]:
    return list(read_records(Filling(kind="command", value=command), Deadline(seconds)))


def test_a_loader_prints_records() -> None:
    assert loaded("""printf '{"key": "a", "value": 1}\\n'""") == [Record("a", 1)]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("false", "status 1; its records are incomplete"),
        ("/nonexistent/loader", "cannot be run"),
        ("'", "cannot be run"),
    ],
)
def test_a_loader_that_fails_is_named(command: str, said: str) -> None:
    with pytest.raises(SourceError, match=said):
        loaded(command)


def test_a_loader_that_hangs_is_ended_by_the_deadline() -> None:
    with pytest.raises(SourceError, match=r"not done within 0\.2 s"):
        loaded("sleep 30", 0.2)
