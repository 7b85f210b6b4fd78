"""Which release a node runs: by a header of its pages, a file on it, or a command."""

import secrets
from dataclasses import replace

from cachekit.deadline import Deadline
from cachekit.errors import CommandError, UnexpectedReplyError, UnreachableError
from cachekit.model import PLAIN, Node, Site, Variant, shown
from cachekit.replay import Batch, Manner, Request, Response, replay, route_to
from cachekit.settings import Settings
from cachekit.step_settings import ReleaseCheck
from cachekit.transports import transport_to
from cachekit.warming.headers import header_values
from cachekit.warming.plan import header_lines, terms_of


def release_of(node: Node, check: ReleaseCheck, settings: Settings, deadline: Deadline) -> str:
    """Tell the release that a node runs. Raises CachekitError, DeadlineError."""
    if check.header:
        return _by_header(node, check, settings, deadline)
    argv = ("cat", "--", check.file) if check.file else check.command
    done = transport_to(node).run(argv, deadline=deadline)
    if done.status:
        said = shown(done.stderr.decode(errors="replace").strip())
        raise CommandError(node.name, f"{argv[0]} ended with status {done.status}: {said}")
    return done.stdout.decode(errors="replace").strip()


def _by_header(node: Node, check: ReleaseCheck, settings: Settings, deadline: Deadline) -> str:
    site = Site(settings.site, tuple(settings.allow_hosts))
    # A cached page would tell the release it is of: a query that nobody has asked goes through.
    separator = "&" if "?" in check.url else "?"
    url = site.absolute(f"{check.url}{separator}cachekit={secrets.token_hex(8)}".encode())
    lines = header_lines(settings, Variant(name=""), PLAIN)
    left = deadline.remaining()
    terms = terms_of(settings)
    (answer,) = replay(
        Batch([Request(url, Manner(route_to(node, site), lines))]),
        terms=replace(
            terms,
            connect_timeout=min(left, terms.connect_timeout),
            first_byte_timeout=min(left, terms.first_byte_timeout),
            timeout=min(left, terms.timeout),
        ),
        max_in_flight=1,
    )
    return _told(node, answer, check.header)


def _told(node: Node, answer: Response, header: str) -> str:
    if answer.fault is not None:
        raise UnreachableError(node.name, f"{answer.fault}: {shown(answer.detail)}")
    values = header_values(answer.head, header)
    if not values:
        raise UnexpectedReplyError(node.name, f"status {answer.status} without {header}")
    return values[0]
