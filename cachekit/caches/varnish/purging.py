"""Asking a node's VCL over HTTP, by the node's own address, and reading what it answers."""

import re
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from cachekit.caches.base import Change, Place
from cachekit.caches.varnish.asking import Asked, base_url
from cachekit.caches.varnish.calls import Call, Calls
from cachekit.caches.varnish.port import node_of
from cachekit.deadline import Deadline
from cachekit.errors import (
    CacheError,
    NodeError,
    RefusedError,
    UnexpectedReplyError,
    UnreachableError,
)
from cachekit.model import DEFAULT_PORTS, Node, Site, shown
from cachekit.replay import Fault, Manner, Request, Response, Route, Terms, replay, route_to
from cachekit.scope import Kind
from cachekit.transports.local import Local

_IN_FLIGHT = 16
_CONNECT_SECONDS = 5.0
_SILENT_SECONDS = 15.0
_EXAMPLES = 3
_SAID = re.compile(rb"(?im)^x-cachekit: ([^\r\n]*)")

Problem = type[CacheError] | type[NodeError]


@dataclass
class Answers:
    """What came back: the good answers, as words and number of objects; the first thing wrong.

    `marks` are the headers that all good answers say the VCL puts on objects, None if none says.
    """

    good: Counter[tuple[bytes, bytes]] = field(default_factory=Counter)
    marks: frozenset[str] | None = None
    problem: tuple[Problem, str] | None = None

    def add(self, match: re.Match[bytes]) -> None:
        """Note one good answer."""
        said = match.groupdict(b"")
        self.good[match[0], said.get("removed", b"")] += 1
        if "marks" in said:
            marks = frozenset(said["marks"].decode("latin-1").split())
            self.marks = marks if self.marks is None else self.marks & marks

    @property
    def removed(self) -> int | None:
        """How many objects the answers count; None if they count none."""
        counted = [int(number) * times for (_, number), times in self.good.items() if number]
        return sum(counted) if counted else None

    @property
    def evidence(self) -> Iterator[str]:
        """Give the words that came most often."""
        for (words, _), times in self.good.most_common(_EXAMPLES):
            text = shown(words.strip().decode("latin-1"))
            yield f"{times:,} x {text}" if times > 1 else text


def send(
    place: Place, call: Call, asked: Sequence[Asked], site: str, deadline: Deadline
) -> tuple[Change, frozenset[str] | None]:
    """Send all requests of a call, and add up what proves it; give the marks, too, if told.

    Raises CachekitError.
    """
    answers = ask(place, call, asked, site, deadline)
    done = answers.good.total()
    if done < len(asked):
        late = UnreachableError, f"not done within {deadline.seconds:g} s"
        kind, message = answers.problem or late
        counted = f"; {done:,} of {len(asked):,} requests were answered well" if done else ""
        raise kind(place.name, message + counted)
    if not call.answer or not call.proves:
        warning = "its VCL answers alike whether or not it cleared anything"
        return Change(warnings=(warning,)), answers.marks
    return Change(removed=answers.removed, evidence=tuple(answers.evidence)), answers.marks


def probe(place: Place, calls: Calls, site: str, deadline: Deadline) -> tuple[str, ...]:
    """Purge a page and a tag that nothing has, to see whether clears would work; say why not.

    Raises UnreachableError.
    """
    harmless = list(_harmless(calls, site))
    if not harmless:
        _dial(place, deadline)
    hazards = []
    for call, asked in harmless:
        answers = ask(place, call, [asked], site, deadline)
        if answers.problem is not None:
            kind, message = answers.problem
            if kind is UnreachableError:
                raise kind(place.name, message)
            by = "" if call.to_page else " by tag"
            hazards.append(f"a clear{by} would fail: it {message}")
    return tuple(hazards)


def _harmless(calls: Calls, site: str) -> Iterator[tuple[Call, Asked]]:
    """Give the calls that can be tried out: others would put up bans that stay."""
    nothing = f".cachekit-{secrets.token_hex(8)}"
    url, tag = calls.get(Kind.URL), calls.get(Kind.TAG)
    if url is not None and url.to_page:
        yield url, (base_url(site) + nothing.encode(), url.header_lines({}))
    if tag is not None and "keys" in tag.placeholders:
        yield tag, (base_url(site), tag.header_lines({"keys": nothing}))


def ask(place: Place, call: Call, asked: Iterable[Asked], site: str, deadline: Deadline) -> Answers:
    """Send all requests of a call, as long as the node answers at all."""
    node = node_of(place)
    route = route_to(node, Site(base_url(site).decode()))
    admission = _Admission(_requests(call, asked, route), deadline)
    answers, wanted = Answers(), re.compile(call.answer.encode())
    for response in replay(admission, terms=_terms(deadline), max_in_flight=_IN_FLIGHT):
        match = wanted.search(response.head)
        if match and response.fault is None and _is_good(response, call):
            answers.add(match)
            continue
        admission.is_broken |= response.fault is not None
        # What was cut fell with another one.
        if answers.problem is None and response.fault is not Fault.CUT:
            answers.problem = _problem(response, node)
    return answers


def _is_good(response: Response, call: Call) -> bool:
    """Whether the status fits; 404 is how some VCLs say that there was nothing, if asked for."""
    return 200 <= response.status < 300 or (response.status == 404 and bool(call.answer))


class _Admission:
    """Lets requests start one after the other, until the node breaks off or the time is up."""

    def __init__(self, requests: Iterator[Request], deadline: Deadline) -> None:
        self.is_broken = False
        self._requests = requests
        self._deadline = deadline
        self._ended = False

    def admit(self, room: int) -> Sequence[Request]:
        """Give the next ones."""
        started = list(islice(self._requests, room)) if self.wait() is not None else []
        self._ended = len(started) < room
        return started

    def wait(self) -> float | None:
        """Wait for nothing; None when no more will start."""
        return None if self._ended or self.cut() else 0.0

    def cut(self) -> bool:
        """Whether to give up what is in flight."""
        return self.is_broken or self._deadline.has_passed


def _dial(place: Place, deadline: Deadline) -> None:
    node = node_of(place)
    port = node.address.port or node.ports.get("http", DEFAULT_PORTS["http"])
    Local(node.name).dial(replace(node.address, port=port), deadline=deadline).close()


def _requests(call: Call, asked: Iterable[Asked], route: Route) -> Iterator[Request]:
    manner = Manner(route, (), method=call.method)
    for url, lines in asked:
        if manner.headers != lines:
            manner = Manner(route, lines, method=call.method)
        yield Request(url, manner)


def _terms(deadline: Deadline) -> Terms:
    return Terms(
        connect_timeout=deadline.remaining(_CONNECT_SECONDS),
        first_byte_timeout=_SILENT_SECONDS,
        timeout=deadline.remaining(),
    )


def _problem(response: Response, node: Node) -> tuple[Problem, str]:
    """Say what is wrong with an answer, and what to do."""
    if response.fault is not None:
        return UnreachableError, f"{node.address}: {response.fault}: {shown(response.detail)}"
    line = shown(response.head.partition(b"\r\n")[0].decode("latin-1"))
    if said := _SAID.search(response.head):
        line += f", {shown(said[1].decode('latin-1'))}"
    if response.status in (401, 403, 405):
        return RefusedError, (
            f"answered {line}: its VCL does not admit this machine; add its address to the ACL"
            " (`acl cachekit` of cachekit.vcl)"
        )
    if response.status == 400:
        return RefusedError, f"answered {line}"
    return UnexpectedReplyError, (
        f"answered {line}, which no VCL that clears would say: is cachekit.vcl included there,"
        " and cachekit_xkey.vcl for keys, or is another `preset:` or `requests:` needed?"
    )
