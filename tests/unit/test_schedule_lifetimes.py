"""How long a cached page stays fresh, as its headers tell, and which pages are due."""

from email.utils import formatdate
from typing import Any

import pytest

from cachekit.events import VERIFY
from cachekit.model import Verdict
from cachekit.renewal import Lifetimes
from cachekit.warming.headers import remaining
from tests.pieces import done_of, head_of

NOW = 1_800_000_000.0
DATE = f"Date: {formatdate(NOW, usegmt=True)}"


def expires(seconds: float) -> str:
    return f"Expires: {formatdate(NOW + seconds, usegmt=True)}"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        (["Cache-Control: max-age=600", "Age: 100"], 500),
        (["Cache-Control: public, s-maxage=900, max-age=60", "Age: 100"], 800),
        (["Cache-Control: max-age=600", "Age: 0"], 600),
        ([DATE, expires(500), "Age: 100"], 400),
        ([DATE, expires(500), "Cache-Control: max-age=600", "Age: 100"], 500),
        # nginx sends a date of its own and no age: only a date of expiry says anything.
        ([DATE, expires(500)], 500),
        ([DATE, "Cache-Control: max-age=600"], None),
        # What the cache itself says goes before what was said to it.
        (["Cache-Status: c; hit; ttl=30", "Cache-Control: max-age=600", "Age: 1"], 30),
        (["Cache-Status: c; hit; ttl=3, edge; hit; TTL=30", "Age: 1"], 30),
        (["Cache-Status: origin; hit; ttl=3, edge; hit"], None),
        # It is kept beyond its time: by a rule of the cache's own.
        (["Cache-Control: max-age=60", "Age: 100"], None),
        ([DATE, expires(-500)], None),
        ([DATE, "Expires: 0"], None),
        (["Cache-Control: max-age=600", "Age: old"], None),
        (["Age: 100"], None),
        ([], None),
    ],
)
def test_what_is_left_of_a_lifetime(headers: list[str], seconds: float | None) -> None:
    assert remaining(head_of(*headers)) == seconds


def heard(**facts: Any) -> dict[str, int]:
    lifetimes = Lifetimes(300)
    head = facts.pop("head", head_of("Cache-Control: max-age=600", "Age: 100"))
    lifetimes(done_of(**{"verdict": Verdict.HIT, "head": head, **facts}))
    found = vars(lifetimes.found)
    return {key: found[key] for key in ("fresh", "expiring", "unknown", "missing") if found[key]}


def test_each_answer_of_the_fill_pass_is_of_one_kind() -> None:
    assert heard() == {"fresh": 1}
    assert heard(head=head_of("Cache-Control: max-age=600", "Age: 300")) == {"expiring": 1}
    assert heard(head=head_of("Cache-Control: max-age=600", "Age: 299")) == {"fresh": 1}
    assert heard(head=head_of("Cache-Control: max-age=600")) == {"unknown": 1}
    assert heard(verdict=Verdict.UNKNOWN) == {"fresh": 1}
    assert heard(verdict=Verdict.UNKNOWN, head=head_of("A: b")) == {"unknown": 1}
    assert heard(verdict=Verdict.STALE) == {"expiring": 1}
    for verdict in (Verdict.MISS, Verdict.UNCACHEABLE, Verdict.BYPASS):
        assert heard(verdict=verdict) == {"missing": 1}


def test_what_is_no_page_of_everybody_does_not_count() -> None:
    assert heard(pass_name=VERIFY) == {}
    assert heard(ok=False, verdict=Verdict.ERROR) == {}
    assert heard(counts_for_hit=False) == {}


def test_pages_that_are_due_are_noted_with_their_nodes() -> None:
    lifetimes = Lifetimes(3600)
    head = head_of("Cache-Control: max-age=600", "Age: 100")
    for node, variant in (("web1", "desktop"), ("web1", "mobile"), ("web2", "desktop")):
        lifetimes(done_of(verdict=Verdict.HIT, head=head, node=node, variant=variant, url=b"/a"))
    assert lifetimes.due == {b"/a": {"web1": 2, "web2": 1}}
    assert lifetimes.found.expiring == 3
