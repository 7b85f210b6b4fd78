"""Filling both segments: files compiled on the node, records stored and looked for again."""

import base64
import json
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from cachekit.caches.apc import changes
from cachekit.caches.apc.call import Hook, Step
from cachekit.caches.base import Change, Filling, Place
from cachekit.caches.records import Record, read_records
from cachekit.deadline import Deadline
from cachekit.errors import RefusedError, SourceError

REQUEST_BYTES = 3 << 20  # PHP complains about bodies over post_max_size, 8 MB where nobody set it.
RUN_BYTES = 12 << 20  # The hook must fit into the 128 MB that `php -n` takes, about three times.

_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def compile_files(hook: Hook, place: Place, filling: Filling, deadline: Deadline) -> Change:
    """Compile a directory, a PHP file, or the files of a list on the node. Raises CachekitError."""
    if not filling.value.startswith("/"):
        raise RefusedError(place.name, f"{filling}: expected an absolute path on the node")
    step = {"do": "compile", "path": filling.value}
    return changes.changed(hook.ask(place, [step], deadline), changes.compiled)


def store_records(
    hook: Hook, place: Place, filling: Filling, batches: "Batches", deadline: Deadline
) -> Change:
    """Store records in APCu, and look for every key afterwards. Raises CachekitError."""
    done: list[Change] = []
    masters = 1
    for run in batches.runs(read_records(filling, deadline)):
        reply = hook.ask(place, run, deadline)
        done.append(changes.changed(reply, changes.stored))
        masters = len(reply.masters)
    total = changes.total(done)
    there = total.present or 0
    wanted = (batches.found - batches.expired) * masters
    return Change(
        found=batches.found * masters,
        stored=total.stored or 0,
        skipped=batches.expired * masters,
        left=wanted - there,
        evidence=(f"looked for every key: {there} of {wanted} there",),
        warnings=tuple(dict.fromkeys(total.warnings)),
    )


@dataclass(slots=True)
class Batches:
    """Steps that store records and, after them, steps that look for every key."""

    source: str
    prefix: str
    force: bool
    found: int = 0
    expired: int = 0
    _keys: list[str] = field(default_factory=list)

    def runs(self, records: Iterable[Record]) -> Iterator[list[Step]]:
        """Yield what one call of the hook does, until everything is stored and checked."""
        run: list[Step] = []
        size = 0
        for step in self._steps(records):
            if run and size + len(step["body"]) > RUN_BYTES:
                yield run
                run, size = [], 0
            run.append(step)
            size += len(step["body"])
        if run:
            yield run

    def _steps(self, records: Iterable[Record]) -> Iterator[Step]:
        ending = f'],"force":{_json(self.force)}}}'
        yield from _packed('{"op":"user.store","records":[', self._written(records), ending)
        yield from _packed('{"op":"user.exists","keys":[', map(_json, self._keys), "]}")

    def _written(self, records: Iterable[Record]) -> Iterator[str]:
        """Write records as the hook takes them, the size of each first, and note their keys."""
        for record in records:
            self.found += 1
            ttl = 0 if record.expires_at is None else math.ceil(record.expires_at - time.time())
            if record.expires_at is not None and ttl <= 0:
                self.expired += 1
                continue
            written = self._encoded(record, ttl)
            self._keys.append(record.key)
            yield f"[{len(written)},{written[1:]}"

    def _encoded(self, record: Record, ttl: int) -> str:
        key, value = record.key, record.value
        if not key.startswith(self.prefix):
            raise SourceError(self.source, f"key {key!r} does not start with {self.prefix!r}")
        is_bytes = isinstance(value, bytes)
        if is_bytes:
            value = base64.b64encode(value).decode()
        try:
            written = _json([key, value, ttl, is_bytes])
            written.encode()  # Half of a character pair is no text.
        except ValueError as error:
            raise SourceError(self.source, f"key {key!r}: {error}") from error
        return written


def _packed(start: str, items: Iterable[str], end: str) -> Iterator[Step]:
    """Pack JSON items into requests."""
    pack: list[str] = []
    size = 0
    for item in items:
        if pack and size + len(item) > REQUEST_BYTES:
            yield _step(start, pack, end)
            pack, size = [], 0
        pack.append(item)
        size += len(item)
    if pack:
        yield _step(start, pack, end)


def _step(start: str, items: list[str], end: str) -> Step:
    return {"do": "ask", "body": f"{start}{','.join(items)}{end}"}
