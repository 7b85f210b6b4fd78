"""Prime records: JSON lines with key, value and lifetime, the same for every cache that takes keys.

A first line `{"cachekit": 1}` names the version. `key` is text; `value` any JSON value, or
`value_base64` its bytes; `ttl` in seconds or `expires_at` in epoch seconds, neither for no expiry;
`flags` a number that the store keeps beside the value.
"""

import base64
import binascii
import codecs
import io
import json
import math
import re
import shlex
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple, Never

from cachekit.caches.base import Filling
from cachekit.deadline import Deadline
from cachekit.errors import SourceError

VERSION = 1
_Cut = Callable[[IO[bytes]], Iterable[bytes]]
_KEYS = {"key", "value", "value_base64", "ttl", "expires_at", "flags"}
# Beyond it are milliseconds that were taken for seconds.
_LATEST = 253_402_300_799  # the end of the year 9999
# Far below what PHP and the encoders here can follow.
_DEEPEST = 200
_TOO_DEEP = f"nested more than {_DEEPEST} deep"
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class Record(NamedTuple):
    """One entry to store: `value` is bytes as they are, or a JSON value for the cache to encode."""

    key: str
    value: Any
    expires_at: float | None = None
    flags: int | None = None


def read_records(filling: Filling, deadline: Deadline) -> Iterator[Record]:
    """Yield the records of a `file:` or `command:` filling. Raises SourceError naming the line."""
    yield from parse_records(_read(filling, deadline, iter), str(filling))


def read_blocks(filling: Filling, deadline: Deadline, size: int) -> Iterator[bytes]:
    """Yield the lines of such a filling as they are, about so many bytes of them at a time."""
    return _read(
        filling, deadline, lambda file: iter(lambda: file.read(size) + file.readline(), b"")
    )


def size_of_file(filling: Filling) -> int:
    """Estimate the memory that records take; 0 where it cannot be known beforehand."""
    try:
        return Path(filling.value).stat().st_size if filling.kind == "file" else 0
    except OSError:
        return 0  # reading it says why


def parse_records(lines: Iterable[bytes], source: str, first: int = 1) -> Iterator[Record]:
    """Parse JSON lines, of which the first is this one. Raises SourceError naming the line."""
    for number, line in enumerate(lines, first):
        if not line.strip():
            continue
        try:
            read = _object(line)
            if number == 1 and "cachekit" in read:
                _check_version(read)
                continue
            yield _record(read)
        except json.JSONDecodeError as error:
            message = f"not JSON: {error.msg} at column {error.colno}; expected an object a line"
            raise SourceError(f"{source}:{number}", message) from error
        except (ValueError, binascii.Error) as error:
            raise SourceError(f"{source}:{number}", str(error)) from error
        except RecursionError as error:
            raise SourceError(f"{source}:{number}", _TOO_DEEP) from error


def _object(line: bytes) -> dict[str, Any]:
    """Read an object of what every cache can store: no NaN, no text that has no bytes."""
    read = _DECODER.decode(line.removeprefix(codecs.BOM_UTF8).decode())
    if not isinstance(read, dict):
        raise ValueError("expected a JSON object")  # noqa: TRY004 - said of the text, not the type
    if _SURROGATE.search(line) and not _has_bytes(read):
        raise ValueError("half of a surrogate pair (\\ud800-\\udfff) is no text")
    if line.count(b"[") + line.count(b"{") > _DEEPEST and _is_deeper(read, _DEEPEST):
        raise ValueError(_TOO_DEEP)
    return read


def _has_bytes(read: dict[str, Any]) -> bool:
    try:
        json.dumps(read, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_deeper(value: object, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return not levels or any(_is_deeper(each, levels - 1) for each in inner)


def _refuse(constant: str) -> Never:
    raise ValueError(f"{constant} is no number of JSON")


def _finite(number: str) -> float:
    read = float(number)
    if math.isinf(read):
        raise ValueError(f"{number} is more than a number can be")
    return read


_DECODER = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite)


def _check_version(header: dict[str, Any]) -> None:
    if header["cachekit"] != VERSION:
        raise ValueError(f"version {header['cachekit']!r}; this cachekit reads version {VERSION}")


def _record(read: dict[str, Any]) -> Record:
    if not read.keys() <= _KEYS:
        unknown = min(read.keys() - _KEYS)
        raise ValueError(f"unknown field {unknown!r}; known: {', '.join(sorted(_KEYS))}")
    key, flags = read.get("key"), read.get("flags")
    if not isinstance(key, str) or not key:
        raise ValueError("expected `key`, a text that is not empty")
    if ("value" in read) == ("value_base64" in read):
        raise ValueError("expected one of `value` and `value_base64`")
    if flags is not None and (type(flags) is not int or not 0 <= flags < 2**32):
        raise ValueError("expected `flags` to be a number from 0 to 4294967295")
    return Record(key, _value(read), _expiry(read), flags)


def _value(read: dict[str, Any]) -> Any:
    if "value" in read:
        return read["value"]
    encoded = read["value_base64"]
    if not isinstance(encoded, str):
        raise ValueError("expected `value_base64` to be text")  # noqa: TRY004 - as above
    return base64.b64decode(encoded, validate=True)


def _expiry(read: dict[str, Any]) -> float | None:
    ttl, expires_at = read.get("ttl"), read.get("expires_at")
    if ttl is None:
        return None if expires_at is None else _seconds("expires_at", expires_at)
    if expires_at is not None:
        raise ValueError("expected one of `ttl` and `expires_at`")
    seconds = _seconds("ttl", ttl)
    if not seconds:
        # For ever in PHP, gone at once elsewhere.
        raise ValueError("`ttl` is 0; leave it out for no expiry")
    return time.time() + seconds


def _seconds(name: str, number: object) -> float:
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise ValueError(f"expected `{name}` to be a number of seconds")  # noqa: TRY004 - as above
    if not 0 <= number <= _LATEST:
        raise ValueError(f"expected `{name}` to be seconds from 0 to {_LATEST}")
    return number


def _read(filling: Filling, deadline: Deadline, cut: _Cut) -> Iterator[bytes]:
    if filling.kind == "command":
        return _command(filling.value, deadline, cut)
    return _file(filling.value, cut)


def _file(path: str, cut: _Cut) -> Iterator[bytes]:
    try:
        with Path(path).open("rb") as file:
            yield from cut(file)
    except OSError as error:
        raise SourceError(path, f"cannot be read: {error.strerror}") from error


def _command(line: str, deadline: Deadline, cut: _Cut) -> Iterator[bytes]:
    """Run a loader here and yield what it prints; the deadline ends it."""
    source = f"command:{line}"
    try:
        process = subprocess.Popen(  # noqa: S603 - the user's own command
            shlex.split(line), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        )
    except (OSError, ValueError, IndexError) as error:
        raise SourceError(source, f"cannot be run: {error}") from error
    watchdog = threading.Timer(deadline.remaining(), process.kill)
    watchdog.start()
    try:
        with process:
            yield from cut(process.stdout or io.BytesIO())
    finally:
        process.kill()
        watchdog.cancel()
    if deadline.has_passed:
        raise SourceError(source, f"was ended: not done within {deadline.seconds:g} s")
    if process.returncode:
        raise SourceError(
            source, f"ended with status {process.returncode}; its records are incomplete"
        )
