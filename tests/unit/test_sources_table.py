"""Tables put into a URL template."""

from pathlib import Path

import pytest

from cachekit.errors import SourceError
from cachekit.sources.table import Table
from cachekit.testing.sources import FakeSite


def read(tmp_path: Path, name: str, content: str, template: str) -> tuple[list[bytes], FakeSite]:
    file = tmp_path / name
    file.write_text(content)
    site = FakeSite()
    return [entry.url for entry in site.read(Table(table=file, template=template))], site


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.csv", 'slug,id\n"red, big",1\nü/,2\n'),
        ("p.csv", '\ufeffslug,id\r\n"red, big",1\r\n\r\nü/,2\r\n'),
        ("p.tsv", "slug\tid\nred, big\t1\nü/\t2\n"),
        ("p.jsonl", '{"slug": "red, big", "id": 1}\n\n{"slug": "ü/", "id": "2"}\n'),
        ("p.ndjson", '{"slug": "red, big", "id": 1, "x": [null]}\n{"slug": "\\u00fc/", "id": 2}'),
    ],
)
def test_every_format_gives_percent_encoded_urls(tmp_path: Path, name: str, content: str) -> None:
    urls, _ = read(tmp_path, name, content, "/product/{id}-{slug}")
    assert urls == [b"/product/1-red%2C%20big", b"/product/2-%C3%BC%2F"]


def test_numbers_stay_as_they_are_written(tmp_path: Path) -> None:
    urls, _ = read(tmp_path, "p.jsonl", '{"v": 1.10}\n{"v": 12345678901234567890}\n', "/{v}")
    assert urls == [b"/1.10", b"/12345678901234567890"]


def test_a_row_with_an_empty_value_is_counted(tmp_path: Path) -> None:
    urls, site = read(tmp_path, "p.csv", "id,slug\n1,\n,b\n2,c\n", "/{id}-{slug}")
    assert urls == [b"/2-c"]
    assert site.drops == {"empty value in the table": 2}
    urls, site = read(tmp_path, "p.jsonl", '{"id": null}\n{"id": ""}\n', "/{id}")
    assert urls == []
    assert site.drops == {"empty value in the table": 2}


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("p.csv", "id,name\n1,a\n", "p.csv:1: no column 'slug'; its columns: id, name"),
        ("p.csv", "", "p.csv:1: no column 'slug'; its columns: none"),
        ("p.csv", "id,slug\n1,a\n2\n", "p.csv:3: no value for column 'slug'"),
        ("p.csv", "slug\n" + "x" * 140_000, "p.csv:2: broken CSV: field larger than"),
        ("p.jsonl", '{"slug": "a"}\n\n{"id": 1}\n', "p.jsonl:3: no value for column 'slug'"),
        ("p.jsonl", '{"slug": "a"', "p.jsonl:1: broken JSON: "),
        ("p.jsonl", "[" * 100_000, "p.jsonl:1: broken JSON: "),
        ("p.jsonl", "[1]", "p.jsonl:1: expected an object such as {...} on each line"),
        ("p.jsonl", '{"slug": [1]}', "p.jsonl:1: column 'slug' holds neither text nor a number"),
        ("p.jsonl", '{"slug": true}', "p.jsonl:1: column 'slug' holds neither text nor a number"),
        ("p.jsonl", '{"slug": "\\ud800"}', "p.jsonl:1: column 'slug' is not valid Unicode"),
        ("p.xlsx", "slug\n", "p.xlsx: is no .csv, .tsv, .jsonl or .ndjson file"),
    ],
)
def test_an_error_names_file_line_and_column(
    tmp_path: Path, name: str, content: str, problem: str
) -> None:
    with pytest.raises(SourceError) as caught:
        read(tmp_path, name, content, "/{slug}")
    assert str(tmp_path / problem) in str(caught.value)


def test_a_template_must_have_a_column() -> None:
    with pytest.raises(ValueError, match="expected a template with columns"):
        Table(table=Path("p.csv"), template="/product")


def test_it_describes_file_and_template() -> None:
    assert Table(table=Path("p.csv"), template="/{id}").describe() == "p.csv into /{id}"
