"""URLs made from the rows of a table: `/product/{id}-{slug}` and a CSV, TSV or JSON Lines file."""

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cachekit.errors import SourceError
from cachekit.model import Entry
from cachekit.sources.base import Surroundings
from cachekit.sources.reading import described, opened, unmarked

_COLUMN = re.compile(r"\{([^{}]+)\}")
_DELIMITERS = {"csv": ",", "tsv": "\t"}
_JSON_LINES = ("jsonl", "ndjson")

Row = Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows with named columns, put into a URL template; values are percent-encoded."""

    table: Path
    template: str

    def __post_init__(self) -> None:
        if not _COLUMN.search(self.template):
            raise ValueError("expected a template with columns, such as /product/{id}")

    def entries(self, surroundings: Surroundings) -> Iterator[Entry]:
        """Yield one URL a row; a row with an empty value is dropped."""
        # Odd parts are column names, the others are what stands between them.
        literals, columns = self._parts[::2], self._parts[1::2]
        for line, row in self._rows(surroundings):
            values = [self._value(line, row, column) for column in columns]
            if all(values):
                pairs = zip_longest(literals, values, fillvalue="")
                yield Entry("".join(chain.from_iterable(pairs)).encode())
            else:
                surroundings.drop("empty value in the table")

    def describe(self) -> str:
        """Name the file and the template."""
        return f"{described(self.table)} into {self.template}"

    @property
    def _parts(self) -> list[str]:
        return _COLUMN.split(self.template)

    def _rows(self, surroundings: Surroundings) -> Iterator[tuple[int, Row]]:
        suffix = self.table.name.removesuffix(".gz").rpartition(".")[2]
        with opened(self.table, surroundings.stdin) as file:
            # Bytes that are not UTF-8 pass through and are percent-encoded one by one.
            raw = unmarked(str(self.table), file)
            lines = (line.decode(errors="surrogateescape") for line in raw)
            if suffix in _DELIMITERS:
                yield from self._csv_rows(lines, _DELIMITERS[suffix])
            elif suffix in _JSON_LINES:
                yield from self._json_rows(lines)
            else:
                raise SourceError(str(self.table), "is no .csv, .tsv, .jsonl or .ndjson file")

    def _csv_rows(self, lines: Iterable[str], delimiter: str) -> Iterator[tuple[int, Row]]:
        reader = csv.reader(lines, delimiter=delimiter)
        with self._naming_csv(reader):
            header = next(reader, [])
            self._check(header)
            for cells in filter(None, reader):
                yield reader.line_num, dict(zip(header, cells, strict=False))

    @contextmanager
    def _naming_csv(self, reader: Any) -> Iterator[None]:
        try:
            yield
        except csv.Error as error:
            raise self._problem(reader.line_num, f"broken CSV: {error}") from error

    def _check(self, header: Sequence[str]) -> None:
        unknown = [column for column in self._parts[1::2] if column not in header]
        if unknown:
            names = ", ".join(header) or "none"
            raise self._problem(1, f"no column {unknown[0]!r}; its columns: {names}")

    def _json_rows(self, lines: Iterable[str]) -> Iterator[tuple[int, Row]]:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield number, self._json_row(number, line)

    def _json_row(self, number: int, line: str) -> Row:
        try:
            # Numbers stay as they are written: 1.10 is not 1.1 in a URL.
            row = json.loads(line, parse_int=str, parse_float=str)
        except (ValueError, RecursionError) as error:
            raise self._problem(number, f"broken JSON: {error}") from error
        if not isinstance(row, dict):
            raise self._problem(number, "expected an object such as {...} on each line")
        return row

    def _value(self, line: int, row: Row, column: str) -> str:
        if column not in row:
            raise self._problem(line, f"no value for column {column!r}")
        value = "" if row[column] is None else row[column]
        if not isinstance(value, str):
            raise self._problem(line, f"column {column!r} holds neither text nor a number")
        try:
            return quote(value, safe="", errors="surrogateescape")
        except UnicodeEncodeError as error:
            raise self._problem(line, f"column {column!r} is not valid Unicode") from error

    def _problem(self, line: int, message: str) -> SourceError:
        return SourceError(f"{self.table}:{line}", message)
