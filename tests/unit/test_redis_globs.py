"""What redis is asked to look for, and what of it is taken: never more than the scope says."""

from fnmatch import translate
from re import fullmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachekit.caches.redis.keyspace import escaped, prefixed, selection_of, text, wire
from cachekit.scope import EVERYTHING, Kind, Scope

KEYS = st.binary(max_size=12) | st.text("ab[]*?\\^-!é", max_size=8).map(str.encode)
STARTS = st.text("ab[]*?\\^-é:", min_size=1, max_size=6)


def redis_matches(pattern: bytes, key: bytes) -> bool:
    """Match as redis does (stringmatchlen of util.c), without its character classes.

    No pattern of ours has one: a bracket that is not escaped fails here.
    """
    if not pattern:
        return not key
    if pattern[:1] == b"*":
        return any(redis_matches(pattern[1:], key[at:]) for at in range(len(key) + 1))
    assert pattern[:1] not in b"[?"
    if pattern[:1] == b"\\" and len(pattern) > 1:
        pattern = pattern[1:]
    return key[:1] == pattern[:1] and redis_matches(pattern[1:], key[1:])


@given(KEYS, KEYS)
def test_an_escaped_key_matches_itself_alone(literal: bytes, other: bytes) -> None:
    assert redis_matches(escaped(literal), literal)
    assert redis_matches(escaped(literal), other) == (literal == other)


@given(st.lists(STARTS, min_size=1, max_size=3), KEYS)
def test_prefixes_select_what_starts_with_one_of_them(starts: list[str], key: bytes) -> None:
    selection = selection_of(Scope(Kind.PREFIX, tuple(starts)), "")
    wanted = any(key.startswith(wire(start)) for start in starts)
    assert selection.matches(key) == wanted
    assert redis_matches(selection.pattern, key) or not wanted


@given(st.lists(STARTS.filter(lambda value: value.strip("*")), min_size=1, max_size=3), KEYS)
def test_globs_select_what_matches_one_of_them(globs: list[str], key: bytes) -> None:
    selection = selection_of(Scope(Kind.GLOB, tuple(globs)), "")
    wanted = any(fullmatch(translate(value), text(key)) for value in globs)
    assert selection.matches(key) == wanted
    assert redis_matches(selection.pattern, key) or not wanted


@given(st.binary())
def test_keys_survive_as_text(key: bytes) -> None:
    assert wire(text(key)) == key


def test_everything_is_everything() -> None:
    selection = selection_of(EVERYTHING, "shop:")
    assert selection.pattern == b"*"
    assert selection.matches(b"")


@pytest.mark.parametrize(
    ("start", "pattern"),
    [(b"g[1]*x", rb"g\[1\]\*x*"), (b"a\\?", rb"a\\\?*"), (b"", b"*")],
)
def test_a_start_is_taken_literally(start: bytes, pattern: bytes) -> None:
    assert prefixed(start).pattern == pattern
