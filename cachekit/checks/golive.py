"""Checks of what puts nodes in, and of how it is learnt which release they run."""

from collections.abc import Iterator

from cachekit.checks.faults import Fault, KeyPath
from cachekit.checks.names import nodes_named, of_nodes
from cachekit.checks.site import site_of
from cachekit.checks.values import HEADER_NAME, TOKEN
from cachekit.errors import ConfigError
from cachekit.golive.base import Placed
from cachekit.model import UrlRefusedError
from cachekit.settings import Settings
from cachekit.step_settings import ReleaseCheck
from cachekit.transports import why_unreachable

_WAYS = ("header", "file", "command")


def of_actor(settings: Settings, name: str) -> Iterator[Fault]:
    """Check that the nodes that an actor names exist."""
    actor = settings.golive[name]
    try:
        if isinstance(actor, Placed):
            actor.bound(settings.nodes)
    except ConfigError as error:
        yield ("golive", name), str(error)


def of_release_check(settings: Settings) -> Iterator[Fault]:
    """Check that there is one way to learn the release of a node, and that it can work."""
    path, check = ("release_check",), settings.release_check
    if check is None:
        return
    if not check.on:
        yield (*path, "on"), "expected a node or group of nodes"
    yield from of_nodes(settings, (*path, "on"), check.on)
    ways = [way for way in _WAYS if getattr(check, way)]
    if not ways:
        yield path, f"found no way to learn the release, expected one of {', '.join(_WAYS)}"
    elif len(ways) > 1:
        yield (*path, ways[1]), f"stands beside {ways[0]}; one way to learn the release is enough"
    elif check.header:
        yield from _of_header(settings, path, check)
    else:
        yield from _of_files(settings, path, check)


def _of_header(settings: Settings, path: KeyPath, check: ReleaseCheck) -> Iterator[Fault]:
    if not TOKEN.fullmatch(check.header):
        yield (*path, "header"), HEADER_NAME
    site = site_of(settings)
    try:
        if site:
            site.absolute(check.url.encode(errors="surrogateescape"))
    except UrlRefusedError as refusal:
        yield (*path, "url"), f"expected a URL of the site: {refusal}"


def _of_files(settings: Settings, path: KeyPath, check: ReleaseCheck) -> Iterator[Fault]:
    if check.url != ReleaseCheck.url:
        yield (*path, "url"), "is of use beside `header` alone"
    if check.file and not check.file.startswith("/"):
        yield (*path, "file"), "expected a path that starts with /"
    if check.command and len(check.command[0].split()) != 1:
        yield (*path, "command"), "expected a list of words, such as [cat, /srv/REVISION]"
    for node in nodes_named(settings, check.on):
        if reason := why_unreachable(node):
            yield (*path, "on"), f"{node.name} cannot be asked: {reason}"
