"""Keys of one memcached: deleted, looked for, and all gone at once."""

from collections.abc import Sequence

from cachekit.caches.base import Change, Conditions
from cachekit.caches.memcache import crawler
from cachekit.caches.memcache.connection import WRITE_BATCH_BYTES, Connection, wire_key
from cachekit.caches.tally import cleared
from cachekit.errors import UnexpectedReplyError


def flush(connection: Connection, conditions: Conditions) -> Change:
    """Make everything invisible at once, and ask for what was there."""
    try:
        keys, _ = crawler.keys_and_total(connection, b"", conditions)
    except crawler.NotListedError:
        connection.flush_all()
        return Change(evidence=("memcached says OK to flush_all; it does not list its keys",))
    connection.flush_all()
    left = len(present(connection, keys))
    return cleared(len(keys) - left, left)


def clear_keys(connection: Connection, keys: Sequence[bytes]) -> Change:
    """Delete keys, and look whether one is still there."""
    removed = delete(connection, keys)
    return cleared(removed, len(present(connection, keys)))


def delete(connection: Connection, keys: Sequence[bytes]) -> int:
    """Delete keys; count those that were there."""
    commands = [b"md %b q%b\r\n" % wire_key(key) for key in keys]
    missing = 0
    for lines in connection.ask(commands, batch_bytes=WRITE_BATCH_BYTES):
        missing += lines.count(b"NF")
        if wrong := [line for line in lines if line != b"NF"]:
            raise UnexpectedReplyError(connection.place, f"memcached says: {wrong[0][:80]!r}")
    return len(keys) - missing


def present(connection: Connection, keys: Sequence[bytes]) -> list[bytes]:
    """Tell which of the keys are there."""
    commands = [
        b"mg %b O%d%b q\r\n" % (wired, number, flag)
        for number, (wired, flag) in enumerate(map(wire_key, keys))
    ]
    replies = connection.ask(commands, batch_bytes=WRITE_BATCH_BYTES)
    with connection.translated():
        numbers = [int(line.rpartition(b"O")[2].split()[0]) for lines in replies for line in lines]
        return [keys[number] for number in numbers]
