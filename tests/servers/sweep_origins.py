"""Origins with a known best concurrency, to measure `concurrency: auto`; each a lean process.

Run one with `python -m tests.servers.sweep_origins KIND --host --port`. `/__count` answers the
number of requests so far, `/__stats` more of them as JSON, `/__reset` sets all back to the start;
these three are neither delayed nor counted.
"""

import argparse
import asyncio
import json
import random
import select
import selectors
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

from tests.servers.process import ServerProcess

Kind = Literal["queue", "cap", "jitter", "step", "delay"]
KINDS: tuple[Kind, ...] = get_args(Kind)


def answer_of(status: str, body: bytes) -> bytes:
    """Return a whole answer as it goes on the wire."""
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {len(body)}\r\n"
        "Cache-Control: public, max-age=600\r\n\r\n"
    ).encode() + body


BUSY = answer_of("503 Service Unavailable", b"busy\n")


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The numbers of one origin, in seconds; no limit is None."""

    fastest: float
    slowest: float
    workers: int | None = None
    """How many requests are worked on at a time; the rest waits in order of arrival."""
    refuse_above: int | None = None
    """How many may be in flight before a further one gets 503 at once."""
    step_after_requests: int | None = None
    step_after_seconds: float | None = None
    """From when on all takes twice as long; counted from the first request."""


def shape_of(kind: Kind, base: float = 0.030) -> Shape:
    """Return the numbers of a kind; `base` is its service time (30 ms)."""
    shapes = {
        "queue": Shape(fastest=base, slowest=base, workers=16),
        "cap": Shape(fastest=base, slowest=base, refuse_above=64),
        "jitter": Shape(fastest=base / 3, slowest=base * 3, workers=100),
        "step": Shape(fastest=base, slowest=base, workers=64, step_after_requests=10_000),
        "delay": Shape(fastest=base, slowest=base),
    }
    return shapes[kind]


class PreciseSelector(selectors.EpollSelector):
    """An epoll that keeps deadlines to a few microseconds.

    Python rounds the timeout of epoll_wait up to whole milliseconds, which would add some 2 % to
    30 ms. select() waits on the epoll descriptor itself, and its timeout is finer.
    """

    woke_at = 0.0
    """When the present turn of the loop began, by time.monotonic()."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait for events as long as `timeout` says."""
        if timeout is not None and timeout > 0:
            select.select([self.fileno()], [], [], timeout)
            timeout = 0
        events = super().select(timeout)
        self.woke_at = time.monotonic()
        return events


class Service:
    """The model of an origin: when each request is answered, and how."""

    def __init__(self, shape: Shape, page: bytes, clock: PreciseSelector) -> None:
        self.shape = shape
        self.clock = clock
        self.page = page
        self.in_flight = self.busy = 0
        self.waiting: deque[Callable[[bytes], None]] = deque()
        self.reset()

    def reset(self) -> None:
        """Set counts and step back to the start; what is in flight stays so."""
        self.requests = self.refused = self.answered = 0
        self.most_in_flight = self.in_flight
        self.first_at = 0.0
        # Seeded, so that every run of a benchmark meets the same service times.
        self.random = random.Random(30)

    def begin(self, answer: Callable[[bytes], None]) -> None:
        """Take a request; `answer` is called once, now or later."""
        self.requests += 1
        if self.requests == 1:
            self.first_at = time.monotonic()
        shape = self.shape
        if shape.refuse_above is not None and self.in_flight >= shape.refuse_above:
            self.refused += 1
            answer(BUSY)
            return
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        if shape.workers is not None and self.busy >= shape.workers:
            self.waiting.append(answer)
        else:
            self.busy += 1
            self.work(answer)

    def work(self, answer: Callable[[bytes], None]) -> None:
        """Let one worker take a request."""
        # From the start of this turn: requests that arrive together begin together, and do not
        # wait for each other's parsing. No answer is early, since they came before that.
        due = self.clock.woke_at + self.seconds()
        asyncio.get_running_loop().call_at(due, self.finish, answer)

    def seconds(self) -> float:
        """Return how long the next request takes."""
        shape = self.shape
        factor = 2.0 if self.has_stepped() else 1.0
        if shape.fastest == shape.slowest:
            return shape.fastest * factor
        return self.random.uniform(shape.fastest, shape.slowest) * factor

    def has_stepped(self) -> bool:
        """Tell whether the origin has become slow."""
        shape = self.shape
        if shape.step_after_requests is not None and self.requests > shape.step_after_requests:
            return True
        if shape.step_after_seconds is None:
            return False
        return time.monotonic() - self.first_at > shape.step_after_seconds

    def finish(self, answer: Callable[[bytes], None]) -> None:
        """Answer a request, and give its worker the next one."""
        answer(self.page)
        self.answered += 1
        self.in_flight -= 1
        if self.waiting:
            self.work(self.waiting.popleft())
        else:
            self.busy -= 1

    def stats(self) -> dict[str, int]:
        """Return the counts since the start or reset()."""
        names = ("requests", "answered", "refused", "in_flight", "most_in_flight")
        return {name: getattr(self, name) for name in names}


class SweepConnection(asyncio.Protocol):
    """One client; pipelined requests are answered one after another."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.buffer = b""
        self.is_busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # asyncio calls this with the Transport of a stream; mypy knows only the base.
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if not self.is_busy:
            self.next()

    def next(self) -> None:
        """Begin the next whole request of the buffer; only GET, so there are no bodies."""
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head, self.buffer = self.buffer[:end], self.buffer[end + 4 :]
        self.is_busy = True
        if head.startswith(b"GET /__"):
            self.answer(answer_of("200 OK", self.control(head.split(b" ", 2)[1])))
        else:
            self.service.begin(self.answer)

    def control(self, target: bytes) -> bytes:
        """Answer a question of the benchmark."""
        if target == b"/__reset":
            self.service.reset()
        if target == b"/__stats":
            return json.dumps(self.service.stats()).encode()
        return str(self.service.requests).encode()

    def answer(self, data: bytes) -> None:
        """Send an answer, then look for the next request."""
        self.is_busy = False
        if not self.transport.is_closing():
            self.transport.write(data)
            if self.buffer:
                self.next()


async def serve(service: Service, host: str, port: int) -> None:
    """Answer until the process is ended."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SweepConnection(service), host, port, backlog=4096)
    await server.serve_forever()


def main() -> None:
    """Run one origin from the command line."""
    parser = argparse.ArgumentParser(description="an origin with a known best concurrency")
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--base-ms", type=float, default=30.0)
    parser.add_argument("--page-bytes", type=int, default=4096)
    parser.add_argument("--step-after-requests", type=int)
    parser.add_argument("--step-after-seconds", type=float)
    options = parser.parse_args()
    numbers = vars(shape_of(options.kind, options.base_ms / 1000))
    if options.step_after_requests is not None or options.step_after_seconds is not None:
        numbers["step_after_requests"] = options.step_after_requests
        numbers["step_after_seconds"] = options.step_after_seconds
    page = answer_of("200 OK", b"x" * options.page_bytes)
    selector = PreciseSelector()
    service = Service(Shape(**numbers), page, selector)
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        runner.run(serve(service, options.host, options.port))


@dataclass(kw_only=True, eq=False)
class SweepOrigin(ServerProcess):
    """One of these origins as a process.

    `step_after_…` make any kind take twice as long from then on; the kind `step` does so after
    10,000 requests when neither is given.
    """

    program: ClassVar[str] = sys.executable

    kind: Kind
    base_ms: float = 30.0
    page_bytes: int = 4096
    step_after_requests: int | None = None
    step_after_seconds: float | None = None

    def argv(self) -> list[str]:
        argv = ["-m", "tests.servers.sweep_origins", self.kind]
        argv += ["--host", self.host, "--port", str(self.port)]
        argv += ["--base-ms", str(self.base_ms), "--page-bytes", str(self.page_bytes)]
        if self.step_after_requests is not None:
            argv += ["--step-after-requests", str(self.step_after_requests)]
        if self.step_after_seconds is not None:
            argv += ["--step-after-seconds", str(self.step_after_seconds)]
        return argv

    def working_directory(self) -> Path:
        """Return the project's root, where `tests` can be imported."""
        return Path(__file__).parents[2]

    def count(self) -> int:
        """Return how many requests came since the start or reset()."""
        return int(self.ask("/__count"))

    def stats(self) -> dict[str, int]:
        """Return requests, answered, refused (503), in_flight and most_in_flight."""
        answer: dict[str, int] = json.loads(self.ask("/__stats"))
        return answer

    def reset(self) -> None:
        """Set the counts and the step back to the start."""
        self.ask("/__reset")


if __name__ == "__main__":
    main()
