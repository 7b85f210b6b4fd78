"""Filling both segments: files compiled on the node, records stored and looked for."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from cachekit.caches.apc import changes
from cachekit.caches.apc.call import Hook, Step, encoded
from cachekit.caches.apc.reply import Master, UnprovenError
from cachekit.caches.base import Change, Conditions, Filling, Place
from cachekit.caches.namespace import (
    PLACEHOLDER,
    WHICH_RELEASE,
    prefix_of,
    release_token,
    stored_key,
)
from cachekit.caches.records import parse_records, read_blocks
from cachekit.deadline import Deadline
from cachekit.errors import RefusedError, SourceError
from cachekit.model import shown

REQUEST_BYTES = 3 << 20  # PHP complains about bodies over post_max_size, 8 MB where nobody set it.
RUN_BYTES = 12 << 20  # The hook must fit into the 128 MB that `php -n` takes, about three times.

_NO_ROOM = (
    "no room for all: the largest piece that is free has {room:,} bytes, and a full APCu would"
    " throw out everything; raise apc.shm_size, or prime less; --force stores all the same"
)
_EXPELLED = (
    "APCu ran full or was cleared while it was primed, and entries are gone; raise apc.shm_size, or"
    " prime less"
)


def compile_files(hook: Hook, place: Place, filling: Filling, deadline: Deadline) -> Change:
    """Compile a directory, a PHP file, or the files of a list on the node. Raises CachekitError."""
    if not filling.value.startswith("/"):
        raise RefusedError(place.name, f"{filling}: expected an absolute path on the node")
    step = Step("compile", filling.value.encode("utf-8", "surrogateescape"))
    return changes.changed(hook.ask(place, [step], deadline), changes.compiled)


@dataclass(frozen=True, slots=True)
class Batch:
    """Lines that one request carries; `first` is the number of the first one."""

    first: int
    lines: bytes


@dataclass(slots=True)
class Storing:
    """Records on their way to the pools, which read them: once more here would double the time.

    What is wrong with one that a pool does not take, `parse_records` says.
    """

    filling: Filling
    namespace: str
    overwrite: bool
    conditions: Conditions
    _wanted: int = field(default=0, init=False)
    _there: int = field(default=0, init=False)
    _expunges: dict[int, int] = field(default_factory=dict, init=False)

    def store(self, hook: Hook, place: Place) -> Change:
        """Store all records, and look for every key. Raises CachekitError."""
        if PLACEHOLDER in self.namespace and not self.conditions.release:
            raise RefusedError(place.name, WHICH_RELEASE)
        deadline = self.conditions.deadline
        done = [Change(found=0, stored=0, present=0, skipped=0, left=0)]
        for run in _runs(self._batches()):
            reply = hook.ask(place, [self._step(batch) for batch in run], deadline)
            done.append(changes.changed(reply, partial(self._stored, run)))
        total = changes.total(done)
        return replace(
            total,
            evidence=(f"looked for every key: {self._there} of {self._wanted} there",),
            warnings=tuple(dict.fromkeys(total.warnings)),
        )

    @property
    def _prefix(self) -> str:
        return prefix_of(self.namespace, self.conditions.release)

    @property
    def _token(self) -> str:
        """What records put for the release. Raises SourceError where that is not known."""
        if not self.conditions.release:
            raise SourceError(str(self.filling), WHICH_RELEASE)
        return release_token(self.conditions.release)

    def _batches(self) -> Iterator[Batch]:
        first = 1
        for lines in read_blocks(self.filling, self.conditions.deadline, REQUEST_BYTES):
            yield Batch(first, self._without_header(lines) if first == 1 else lines)
            first += lines.count(b"\n")

    def _without_header(self, lines: bytes) -> bytes:
        """Empty the first line if it is a header. Raises SourceError for one of another version."""
        end = lines.find(b"\n") % (len(lines) + 1)
        return lines if [*parse_records([lines[:end]], str(self.filling))] else lines[end:]

    def _step(self, batch: Batch) -> Step:
        asked = {
            "op": "user.store",
            "prefix": encoded(self._prefix),
            # Most records have none, and replacing it costs a pool more than to look for it here.
            "release": self._token if PLACEHOLDER.encode() in batch.lines else "",
            "overwrite": self.overwrite,
            "force": self.conditions.force,
        }
        return Step("ask", b"%b\n%b" % (json.dumps(asked).encode(), batch.lines))

    def _stored(self, run: Sequence[Batch], master: Master) -> Change:
        """Read what became of the batches at one master. Raises SourceError, UnprovenError."""
        for batch, answer in zip(run, master.answers, strict=False):
            if "bad" in answer:
                raise self._error(batch, int(answer["bad"]))
        self._check_expunges(master)
        there = sum(answer["there"] for answer in master.answers)
        wanted = sum(answer["wanted"] for answer in master.answers)
        self._there += there
        self._wanted += wanted
        full = [answer["room"] for answer in master.answers if answer["room"] is not None]
        return Change(
            found=sum(answer["found"] for answer in master.answers),
            stored=sum(answer["stored"] for answer in master.answers),
            present=sum(answer["present"] for answer in master.answers),
            skipped=sum(answer["skipped"] for answer in master.answers),
            left=wanted - there,
            warnings=tuple(f"{master}: {_NO_ROOM.format(room=room)}" for room in full[:1]),
        )

    def _error(self, batch: Batch, number: int) -> SourceError:
        """Say what is wrong with a line that a pool does not take. Raises SourceError as well."""
        line, at = batch.lines.split(b"\n")[number], batch.first + number
        (record,) = parse_records([line], str(self.filling), at)
        where = f"{self.filling}:{at}"
        try:
            stored_key(record.key, self.namespace, self.conditions.release)
        except ValueError as error:
            return SourceError(where, str(error))
        return SourceError(where, f"PHP cannot read this record: {shown(repr(line[:100]))}")

    def _check_expunges(self, master: Master) -> None:
        """Compare what APCu threw out by now with what it had at first. Raises UnprovenError."""
        for before, after in (answer["expunges"] for answer in master.answers):
            if after != self._expunges.setdefault(master.pid, before):
                raise UnprovenError(_EXPELLED)


def _runs(batches: Iterable[Batch]) -> Iterator[list[Batch]]:
    """Pack requests into calls of the hook."""
    run: list[Batch] = []
    for batch in batches:
        if run and sum(len(each.lines) for each in (*run, batch)) > RUN_BYTES:
            yield run
            run = []
        run.append(batch)
    if run:
        yield run
