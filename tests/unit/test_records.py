"""Prime records: what is read, and which line is refused for what."""

import json
import time

import pytest

from cachekit.caches.records import Record, parse_records
from cachekit.errors import SourceError


def parsed(*lines: str) -> list[Record]:
    return [*parse_records([line.encode() for line in lines], "records.jsonl")]


def nested(depth: int) -> str:
    return f'{{"key": "a", "value": {"[" * depth}1{"]" * depth}}}'


def test_a_record_is_read_as_it_is_meant() -> None:
    began = time.time()
    header, text, raw = (
        '\ufeff{"cachekit": 1}',
        r'{"key": "\u00e9", "value": {"\ud83d\ude00": [1.5, 2e3]}, "ttl": 60}',
        '{"key": "b", "value_base64": "AP8=", "expires_at": 5, "flags": 3}',
    )
    first, second = parsed(header, text, "", raw)
    assert (first.key, first.value, first.flags) == ("é", {"😀": [1.5, 2000.0]}, None)
    assert first.expires_at is not None
    assert began + 60 <= first.expires_at <= time.time() + 60
    assert second == Record("b", b"\0\xff", 5, 3)
    (deep,) = parsed(nested(199))
    assert json.dumps(deep.value).count("[") == 199


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (r'"key": "a", "value": "\ud800"', "surrogate"),
        (r'"key": "\uDFFF", "value": 1', "surrogate"),
        (r'"key": "a", "value": {"b": [{"\ud83d": 1}]}', "surrogate"),
        ('"key": "a", "value": NaN', "NaN is no number of JSON"),
        ('"key": "a", "value": [-Infinity]', "-Infinity is no number of JSON"),
        ('"key": "a", "value": 1e400', "1e400 is more than a number can be"),
        ('"key": "a", "value": 1, "ttl": NaN', "NaN is no number of JSON"),
        ('"key": "a", "value": 1, "ttl": 1e400', "1e400 is more than a number can be"),
        (f'"key": "a", "value": 1, "ttl": 1{"0" * 400}', "expected `ttl` to be seconds from 0"),
        ('"key": "a", "value": 1, "expires_at": 1790000000000', "expected `expires_at`"),
        ('"key": "a", "value": 1, "ttl": 0', "leave it out for no expiry"),
        ('"key": "a", "value": 1, "ttl": 0.0', "leave it out for no expiry"),
        ('"key": "a", "value": 1, "ttl": true', "expected `ttl` to be a number of seconds"),
    ],
)
def test_what_not_every_cache_can_store_is_refused_with_its_line(fields: str, said: str) -> None:
    with pytest.raises(SourceError, match=said) as caught:
        parsed('{"key": "fine", "value": 1}', f"{{{fields}}}")
    assert str(caught.value).startswith("records.jsonl:2: ")


@pytest.mark.parametrize("depth", [200, 900, 3000, 100_000])
def test_values_that_are_nested_too_deep_are_refused(depth: int) -> None:
    with pytest.raises(SourceError, match=r"records\.jsonl:1: nested more than 200 deep"):
        parsed(nested(depth))


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(SourceError, match=r"records\.jsonl:1: "):
        [*parse_records([b'{"key": "\xed\xa0\x80", "value": 1}'], "records.jsonl")]
