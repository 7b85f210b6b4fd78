"""Checks of the site, its releases and its nodes."""

import re
from collections.abc import Iterator

from cachekit.caches.namespace import release_token
from cachekit.checks.faults import Fault, KeyPath
from cachekit.checks.values import within
from cachekit.model import Node, Site
from cachekit.settings import Settings

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/?#@\[\]]+)(:\d{1,5})?")


def of_site(settings: Settings) -> Iterator[Fault]:
    """Check the base URL and the further hosts."""
    site = site_of(settings)
    if site is None:
        yield ("site",), "expected a base URL such as https://shop.example"
    elif settings.site.rstrip("/").lower() != site.base:
        yield ("site",), f"expected a base URL without a path, such as {site.base}"
    for index, host in enumerate(settings.allow_hosts):
        if not _HOST.fullmatch(host):
            yield ("allow_hosts", index), "expected a host name such as www.shop.example"


def site_of(settings: Settings) -> Site | None:
    """Read the site; None if it is no site."""
    try:
        return Site(settings.site, settings.allow_hosts)
    except ValueError:
        return None


def of_releases(settings: Settings) -> Iterator[Fault]:
    """Check that the two releases can be written down and told apart."""
    live, previous = settings.release, settings.previous
    for key, release in (("release", live), ("previous", previous)):
        if not release.isprintable():
            yield (key,), "expected an id of characters that print"
    if live and live == previous:
        yield ("previous",), "is the live release itself; expected the one before it, or none"
    elif live != previous and release_token(live) == release_token(previous):
        yield ("release",), f"has the same token as {previous}: choose another id"


def of_node(node: Node) -> Iterator[Fault]:
    """Check how a node is reached."""
    if node.ssh is not None and (node.local or not node.ssh.strip() or node.ssh.startswith("-")):
        yield ("nodes", node.name, "ssh"), "expected user@host or a host of ssh's own settings"
    path: KeyPath = ("nodes", node.name, "ports")
    for scheme, port in node.ports.items():
        if scheme not in ("http", "https"):
            yield (*path, scheme), "unknown scheme, expected http or https"
        yield from within((*path, scheme), port, 1, 65535)
    if node.ports and node.address.unix_path:
        yield path, "a unix socket has no ports; remove one of the two"
    elif node.ports and node.address.port is not None:
        yield path, "the address has a port already; write it in one place"
