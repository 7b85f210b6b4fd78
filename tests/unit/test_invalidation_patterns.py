"""Globs over paths, and what they capture."""

import pytest

from cachekit.invalidation.patterns import PathPattern, fill, quoted_glob, quoted_url


@pytest.mark.parametrize(
    ("pattern", "path", "captured"),
    [
        ("templates/(*).twig", "templates/a.twig", "a"),
        ("templates/(*).twig", "templates/a/b.twig", None),
        ("templates/(**).twig", "templates/a/b.twig", "a/b"),
        ("(**)/index.html", "a/b/index.html", "a/b"),
        ("**/(*).css", "a/b/main.css", "main"),
        ("**/(*).css", "main.css", "main"),
        ("a(?)c", "abc", "b"),
        ("a(?)c", "a/c", None),
        ("a([!b])c", "abc", None),
        ("a([!b])c", "a/c", None),
        ("a([b-d])c", "acc", "c"),
        ("a+(*)", "a+b", "b"),
        ("a+(*)", "aab", None),
        ("(*)", "caf\udce9", "caf\udce9"),
        ("(*)", "a\nb", "a\nb"),
        ("re:^src/(.+)\\.py$", "src/a/b.py", "a/b"),
        ("re:src/(.+)", "lib/src/a", "a"),
        ("(a|b)", "a|b", "a|b"),
    ],
)
def test_a_pattern_captures(pattern: str, path: str, captured: str | None) -> None:
    found = PathPattern(pattern).match(path)
    assert (found and found["1"]) == captured


def test_a_capture_that_took_no_part_is_empty() -> None:
    found = PathPattern("re:^a(b)?(?P<rest>.*)$").match("acd")
    assert found == {"0": "acd", "1": "", "2": "cd", "rest": "cd"}


@pytest.mark.parametrize("pattern", ["(a", "a)", "re:(", "re:[", "re:*"])
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="expected another pattern"):
        PathPattern(pattern)


def test_captures_are_put_where_they_belong() -> None:
    captures = {"0": "a/b", "1": "{1}", "name": "x y"}
    assert fill("/{1}/{name}/{{2}}/{0}", captures) == "/{1}/x y/{2}/a/b"


@pytest.mark.parametrize(
    ("path", "url"),
    [
        ("a b/c", "a%20b/c"),
        ("50%", "50%25"),
        ("a?b#c", "a%3Fb%23c"),
        ("bücher", "b%C3%BCcher"),
        ("caf\udce9", "caf%E9"),
        ("app-1.2~x.css", "app-1.2~x.css"),
    ],
)
def test_a_path_means_itself_in_a_url(path: str, url: str) -> None:
    assert quoted_url(path) == url


def test_a_path_means_itself_in_a_glob() -> None:
    assert quoted_glob("a*[b]?") == "a[*][[]b][?]"
