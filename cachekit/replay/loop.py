"""The libcurl multi loop: what an Admission lets start flies, what is complete lands."""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import pycurl

from cachekit.replay.exchange import Admission, Fault, Response, Terms
from cachekit.replay.handle import Handle, explain

# libcurl also scans connections on every transfer: without a bound, 20,000 idle ones were 35 times
# slower.
_MAX_IDLE_CONNECTIONS = 500
_SWEEP_SECONDS = 0.1
# While nodes are what is waited for, few answers are taken before the next requests are sent. All
# at once would keep together what came together: it would be asked for together again, each
# waiting for all the others to be judged, a twentieth of an origin's 30 ms. Once this process is
# the bottleneck, as many as there are: in turns of a few, each finds the caches of the CPU cold,
# and costs a fifth more.
_FEW, _MANY = 4, 500
_IDLE_SHARE = 0.5


def replay(admission: Admission, *, terms: Terms, max_in_flight: int = 64) -> Iterator[Response]:
    """Run what `admission` admits, `max_in_flight` at once, and yield each Response when complete.

    Closing the iterator cuts what is in flight.
    """
    return _Loop(admission, terms, max_in_flight).run()


class _Loop:
    """One libcurl multi handle with its easy handles."""

    def __init__(self, admission: Admission, terms: Terms, max_in_flight: int) -> None:
        self._admission = admission
        self._terms = terms
        self._free_slots = max_in_flight
        self._idle: list[Handle] = []
        self._flying: dict[Any, Handle] = {}
        self._complete: deque[Any] = deque()
        self._failures: dict[Any, tuple[int, str]] = {}
        self._next_sweep = time.monotonic() + _SWEEP_SECONDS
        self._landed_at_once = _FEW
        self._idle_seconds = 0.0
        self._multi = pycurl.CurlMulti()
        # Set always: libcurl's default made requests wait on no descriptor at all with many nodes.
        self._multi.setopt(pycurl.M_MAXCONNECTS, _MAX_IDLE_CONNECTIONS)

    def run(self) -> Iterator[Response]:
        multi, flying, complete = self._multi, self._flying, self._complete
        try:
            self._refill()
            while flying or self._admission.wait() is not None:
                _, active = multi.perform()
                if active + len(complete) < len(flying):
                    self._collect()
                if complete:
                    yield from self._turn(self._landed_at_once)
                self._refill()
                if time.monotonic() >= self._next_sweep:
                    yield from self._sweep()
                if not complete:
                    self._pause()
        finally:
            self._close()

    def _collect(self) -> None:
        """Take over all that is complete: read a few at a time, the oldest came last."""
        queued = 1
        while queued:
            queued, complete, failed = self._multi.info_read()
            self._complete.extend(complete)
            for curl, code, message in failed:
                self._failures[curl] = code, message
                self._complete.append(curl)

    def _turn(self, most: int) -> list[Response]:
        """Land some of what is complete, the oldest first.

        All are landed before the first is judged: a stage at a time keeps its code and its data in
        the caches of the CPU.
        """
        complete = self._complete
        curls = [complete.popleft() for _ in range(min(most, len(complete)))]
        responses = self._land(curls)
        if self._failures:
            for curl, response in zip(curls, responses, strict=True):
                if curl in self._failures:
                    explain(response, *self._failures.pop(curl))
        return responses

    def _refill(self) -> None:
        room = self._free_slots
        if not room:
            return
        idle, flying, add, now = self._idle, self._flying, self._multi.add_handle, time.monotonic()
        requests = self._admission.admit(room)
        self._free_slots = room - len(requests)
        for request in requests:
            handle = idle.pop() if idle else Handle(self._terms)
            handle.prepare(request, now)
            curl = handle.curl
            flying[curl] = handle
            add(curl)

    def _land(self, curls: Sequence[Any]) -> list[Response]:
        flying, idle, remove = self._flying, self._idle, self._multi.remove_handle
        responses, now = [], time.monotonic()
        for curl in curls:
            handle = flying.pop(curl)
            response = handle.response()
            response.held = now - handle.started
            responses.append(response)
            remove(curl)
            idle.append(handle)
        self._free_slots += len(responses)
        return responses

    def _sweep(self) -> Iterator[Response]:
        """Enforce what libcurl has no deadline for: the first byte, and the order to cut."""
        now = time.monotonic()
        self._next_sweep = now + _SWEEP_SECONDS
        is_idle = self._idle_seconds > _IDLE_SHARE * _SWEEP_SECONDS
        self._landed_at_once, self._idle_seconds = _FEW if is_idle else _MANY, 0.0
        if self._admission.cut():
            yield from self._turn(len(self._complete))
            yield from self._end(list(self._flying.values()), Fault.CUT, "ended while in flight")
        limit = self._terms.first_byte_timeout
        late = [handle for handle in self._flying.values() if now - handle.started > limit]
        silent = [handle for handle in late if handle.is_silent()]
        yield from self._end(silent, Fault.FIRST_BYTE_TIMEOUT, f"no first byte within {limit:g} s")

    def _end(self, handles: list[Handle], fault: Fault, detail: str) -> Iterator[Response]:
        now = time.monotonic()
        for handle in handles:
            (response,) = self._land([handle.curl])
            response.fault, response.detail = fault, detail
            response.seconds = now - handle.started
            yield response

    def _pause(self) -> None:
        wait = self._admission.wait() if self._free_slots else None
        longest = _SWEEP_SECONDS if wait is None else min(wait, _SWEEP_SECONDS)
        if not self._flying:
            if wait:
                time.sleep(longest)
            return
        # Without libcurl's own timeout here, a third of the CPU stayed idle.
        own = self._multi.timeout()
        seconds = longest if own < 0 else min(own / 1000, longest)
        if seconds > 0:
            began = time.monotonic()
            self._multi.select(seconds)
            self._idle_seconds += time.monotonic() - began

    def _close(self) -> None:
        for curl in self._flying:
            self._multi.remove_handle(curl)
            curl.close()
        for handle in self._idle:
            handle.curl.close()
        self._flying.clear()
        self._multi.close()
