"""Values as php-memcached stores them: bytes, and a type in the low bits of the flags."""

import json
from collections.abc import Iterator
from typing import Any

STRING, INTEGER, FLOAT, BOOLEAN, SERIALIZED = range(5)


def encode(value: Any) -> tuple[bytes, int]:
    """Encode a JSON value, or bytes as they are, for php-memcached's `get`."""
    if isinstance(value, bytes):
        return value, STRING
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape"), STRING
    if isinstance(value, bool):
        return (b"1" if value else b""), BOOLEAN
    if isinstance(value, int):
        # PHP has 64 bits; a longer number is read as it stands only as text.
        return str(value).encode(), INTEGER if -(2**63) <= value < 2**63 else STRING
    if isinstance(value, float):
        return repr(value).encode(), FLOAT
    return b"".join(_serialized(value)), SERIALIZED


def _serialized(value: Any) -> Iterator[bytes]:
    """Write PHP's own serialization: objects and arrays of JSON both become PHP arrays."""
    if value is None:
        yield b"N;"
    elif isinstance(value, bool):
        yield b"b:%d;" % value
    elif isinstance(value, int):
        yield b"i:%d;" % value
    elif isinstance(value, float):
        yield f"d:{value!r};".encode()
    elif isinstance(value, str):
        text = value.encode("utf-8", "surrogateescape")
        yield b's:%d:"%s";' % (len(text), text)
    else:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        yield b"a:%d:{" % len(value)
        for key, item in items:
            yield from _serialized(_array_key(key))
            yield from _serialized(item)
        yield b"}"


def _array_key(key: str | int) -> str | int:
    """PHP turns keys that are whole numbers in their plain form into integers."""
    if isinstance(key, str) and key.lstrip("-").isdecimal() and key.isascii():
        number = int(key)
        if str(number) == key and -(2**63) <= number < 2**63:
            return number
    return key


def encode_plain(value: Any) -> tuple[bytes, int]:
    """Encode for readers that know no types: text and bytes as they are, the rest as JSON."""
    if isinstance(value, bytes | str):
        return encode(value)
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(), STRING
