"""Which server holds a key, as php-memcached (libmemcached) chooses; it must agree exactly.

Every table was checked against PHP itself. Servers are named as PHP's addServer() spells them, and
in its order.
"""

import hashlib
import struct
import zlib
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Literal

from cachekit.caches.memcache.connection import DEFAULT_PORT
from cachekit.model import Address

Distribution = Literal["modula", "consistent", "ketama"]
KeyHash = Literal["default", "crc", "md5", "fnv1a_32"]

Placement = Callable[[bytes], int]
"""Key → index of its server."""

_POINTS = 100
_WEIGHTED_POINTS = 160
_POINTS_OF_DIGEST = 4


def placement(
    servers: Sequence[Address],
    distribution: Distribution,
    key_hash: KeyHash = "default",
    weights: Sequence[int] = (),
) -> Placement:
    """Build the choice of a server for each key."""
    if len(servers) == 1:
        return lambda _key: 0
    if distribution == "modula":
        number, hash_of = len(servers), _HASHES[key_hash]
        return lambda key: hash_of(key) % number
    is_weighted = any(weight > 1 for weight in weights)
    if distribution == "ketama":
        key_hash = "md5"
    ring = (
        _weighted_ring(servers, weights)
        if distribution == "ketama" or is_weighted
        else _plain_ring(servers)
    )
    return _on_ring(ring, _HASHES[key_hash])


def _on_ring(ring: list[tuple[int, int]], hash_of: Callable[[bytes], int]) -> Placement:
    points = [point for point, _ in ring]
    owners = [owner for _, owner in ring]

    def owner_of(key: bytes) -> int:
        index = bisect_left(points, hash_of(key))
        return owners[index if index < len(owners) else 0]

    return owner_of


def _plain_ring(servers: Sequence[Address]) -> list[tuple[int, int]]:
    return sorted(
        (_one_at_a_time(f"{_name(server)}-{point}".encode()), index)
        for index, server in enumerate(servers)
        for point in range(_POINTS)
    )


def _weighted_ring(servers: Sequence[Address], weights: Sequence[int]) -> list[tuple[int, int]]:
    given = list(weights) or [1] * len(servers)
    total = sum(given)
    ring = []
    for index, (server, weight) in enumerate(zip(servers, given, strict=True)):
        share = _float32(_float32(weight) / _float32(total))
        digests = int(share * _WEIGHTED_POINTS / _POINTS_OF_DIGEST * len(servers) + 1e-10)
        for number in range(digests):
            digest = hashlib.md5(f"{_name(server)}-{number}".encode()).digest()  # noqa: S324
            ring += [(point, index) for point in struct.unpack("<4I", digest)]
    return sorted(ring)


def _name(server: Address) -> str:
    """Spell a server as libmemcached does for its points: the usual port is left out."""
    if server.unix_path:
        return server.unix_path
    if server.port in (None, DEFAULT_PORT):
        return server.host
    return f"{server.host}:{server.port}"


def _float32(number: float) -> float:
    value: float = struct.unpack("f", struct.pack("f", number))[0]
    return value


def _one_at_a_time(key: bytes) -> int:
    """Jenkins' one-at-a-time hash over signed characters, as libmemcached compiles it."""
    value = 0
    for byte in key:
        value = (value + (byte - 256 if byte > 127 else byte)) & 0xFFFFFFFF
        value = (value + (value << 10)) & 0xFFFFFFFF
        value ^= value >> 6
    value = (value + (value << 3)) & 0xFFFFFFFF
    value ^= value >> 11
    return (value + (value << 15)) & 0xFFFFFFFF


def _crc(key: bytes) -> int:
    return (zlib.crc32(key) >> 16) & 0x7FFF


def _md5(key: bytes) -> int:
    digest = hashlib.md5(key).digest()  # noqa: S324 - PHP's choice, no secret
    return int.from_bytes(digest[:4], "little")


def _fnv1a_32(key: bytes) -> int:
    value = 0x811C9DC5
    for byte in key:
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return value


_HASHES: dict[KeyHash, Callable[[bytes], int]] = {
    "default": _one_at_a_time,
    "crc": _crc,
    "md5": _md5,
    "fnv1a_32": _fnv1a_32,
}
