"""What holds for all changes and rules: nothing is forgotten, nothing goes beyond what is meant."""

import os
import re
from contextlib import suppress

from hypothesis import example, given
from hypothesis import strategies as st

from cachekit.caches.varnish import Varnish
from cachekit.errors import SourceError
from cachekit.invalidation.causes import Scoped
from cachekit.invalidation.changes import ChangeKind, FileChange
from cachekit.invalidation.patterns import PathPattern, quoted_glob, quoted_regex, quoted_url
from cachekit.invalidation.plan import plan_invalidation
from cachekit.invalidation.reading import read_listing
from cachekit.invalidation_settings import Invalidation, Rule, Stale
from cachekit.model import Node, parse_address
from cachekit.plan import Selection
from cachekit.scope import Kind
from cachekit.settings import Settings
from tests.shelves import conditions

SITE = "http://shop.example"
NODE = Node(name="web1", address=parse_address("127.0.0.1"))

raw_paths = st.binary(min_size=1, max_size=12).filter(lambda raw: b"\0" not in raw)
paths = raw_paths.map(os.fsdecode)
words = st.sampled_from(["a", "b", "ab", "ba"])
files = st.builds(lambda *parts: "/".join(parts), words, words, words)
changes = st.lists(
    st.builds(FileChange, files, st.sampled_from(ChangeKind)), unique_by=lambda each: each.path
)
RULES = (
    Rule(match=("a/a/*",), ignore=True),
    Rule(match=("a/(*)/(*)",), clear={"pages": Stale(url=("/{1}/{2}",))}),
    Rule(match=("(*)/ab/*",), clear={"pages": Stale(url_prefix=("/{1}/",))}),
    Rule(match=("ab/ab/ab",), clear={"pages": Stale(everything=True)}),
)


@given(changes, st.sampled_from(["rebuild", "ignore", "fail"]), st.integers(1, 8))
def test_each_change_is_in_the_plan(
    changed: list[FileChange], unmatched: str, merge_above: int
) -> None:
    settings = Settings(
        site=SITE,
        nodes={"web1": NODE},
        caches={"pages": Varnish(on=("web1",))},
        invalidation=Invalidation(
            rules=RULES,
            unmatched=unmatched,  # type: ignore[arg-type]
            merge_above=merge_above,
        ),
    )
    plan = plan_invalidation(changed, settings, Selection(), conditions())
    told = {cause.change for causes in plan.clears.values() for cause in causes}
    assert told | set(plan.ignored) | set(plan.unmatched) == set(changed)
    # Whatever a rule wants cleared, some scope clears.
    for change in changed:
        path = PathPattern("a/(*)/(*)").match(change.path)
        if path and not change.path.startswith("a/a/"):
            url = f"{SITE}/{path['1']}/{path['2']}"
            assert any(_clears(each, url) for each in plan.clears)
    # Nothing is cleared twice, nor more than one URL beyond the limit on its own.
    urls = [each.value for each in plan.clears if each.kind is Kind.URL]
    assert len(urls) <= merge_above
    for url in urls:
        assert sum(_clears(each, url) for each in plan.clears) == 1
    # What is cleared by URL in chunks and what is cleared before are all there is.
    chunked = {Scoped("pages", Kind.URL, url) for url in plan.chunked["pages"]}
    assert chunked | set(plan.at_once) == set(plan.clears)
    assert chunked.isdisjoint(plan.at_once)


def _clears(scoped: Scoped, url: str) -> bool:
    if scoped.kind is Kind.URL:
        return scoped.value == url
    return scoped.kind is Kind.EVERYTHING or url.startswith(scoped.value)


@given(paths)
def test_a_path_means_only_itself(path: str) -> None:
    url = quoted_url(path)
    assert re.fullmatch(r"[!-~]*", url)
    assert not set(url) & set('?#"<>\\^`{|}')
    assert re.fullmatch(quoted_regex(path), url)
    found = PathPattern(re.sub(r"([()])", r"[\1]", quoted_glob(path))).match(path)
    # A slash within square brackets cannot be; none is put there.
    assert found is not None


@given(st.text(max_size=12), paths)
def test_any_text_is_a_pattern_or_is_refused(written: str, path: str) -> None:
    try:
        pattern = PathPattern(written)
    except ValueError:
        return
    found = pattern.match(path)
    assert found is None or (found["0"] == path and found.keys() == pattern.captures)


@given(st.lists(raw_paths, unique=True))
def test_paths_ended_by_nul_come_as_they_are(raw: list[bytes]) -> None:
    data = b"M\0" + b"\0M\0".join(raw) + b"\0" if raw else b""
    found = read_listing("paths", data)
    assert {os.fsencode(change.path) for change in found} == set(raw)


@given(st.lists(raw_paths.filter(lambda raw: not raw.endswith(b"/")), unique=True))
def test_what_rsync_escapes_comes_back(raw: list[bytes]) -> None:
    def escaped(path: bytes) -> bytes:
        text = b"".join(
            bytes([byte]) if 32 <= byte < 127 and byte != 92 else b"\\#%03o" % byte for byte in path
        )
        return b">f.st...... ./" + text

    found = read_listing("rsync", b"\n".join(map(escaped, raw)) + b"\n")
    assert {os.fsencode(change.path) for change in found} == set(raw)


@given(st.binary(max_size=60), st.sampled_from(["paths", "rsync"]))
@example(b"\0", "paths")
@example(b"./\n", "paths")
@example(b">f+++++++++ ./\n", "rsync")
def test_readers_survive_any_bytes(data: bytes, form: str) -> None:
    with suppress(SourceError):
        assert all(change.path for change in read_listing(form, data))
