"""What `{node}`, `{address}`, `{host}` and `{release}` stand for in the settings of an actor."""

import re
from collections.abc import Mapping

from cachekit.model import Node

_PLACEHOLDER = re.compile(r"\{(node|address|host|release)\}")


def words_of(node: Node, release: str = "") -> Mapping[str, str]:
    """Give the words for one node; a unix socket has no host."""
    address = node.address
    return {
        "node": node.name,
        "address": str(address),
        "host": address.host,
        "release": release,
    }


def filled(text: str, words: Mapping[str, str]) -> str:
    """Put words in their places; other braces stay as they are."""
    return _PLACEHOLDER.sub(lambda match: words[match[1]], text)


def wanted_in(text: str) -> frozenset[str]:
    """Tell which words a text wants."""
    return frozenset(_PLACEHOLDER.findall(text))
