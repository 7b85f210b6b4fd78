"""The headers that bans look at: a ban on one that no object has matches nothing, and is taken."""

import re
from collections.abc import Iterable
from dataclasses import replace

from cachekit.caches.base import Change

# Strings first: what looks like a comment in one is none.
_COMMENT = re.compile(r'(""".*?"""|"[^"\n]*"|\{".*?"\})|/\*.*?\*/|(?:#|//)[^\n]*', re.DOTALL)
_SET = re.compile(r'\bset\s+beresp\.http\."?([\w-]+)"?\s*=')


def set_by(vcl: str) -> frozenset[str]:
    """Name the headers that a VCL sets on what it stores; comments and clients do not count."""
    return frozenset(_SET.findall(_COMMENT.sub(lambda match: match[1] or " ", vcl)))


def without_marks(change: Change, wanted: Iterable[str], found: Iterable[str]) -> Change:
    """Take the proof away where the VCL does not put all the headers on objects that bans want."""
    known = {name.lower() for name in found}
    missing = [name for name in wanted if name.lower() not in known]
    if not missing:
        return change
    warning = (
        f"its VCL puts no {' and no '.join(missing)} on what it stores, so that the bans match"
        " nothing; include cachekit.vcl, correct `headers`, or set `match: request`"
    )
    return replace(change, evidence=(), warnings=(*change.warnings, warning))


def with_doubt(change: Change, header: str) -> Change:
    """Say with the proof what it is silent about: the header that the application should send.

    No warning: Varnish can tell it for no clear, and those by tag are made every day.
    """
    if not header or not change.evidence:
        return change
    doubt = f"not known: whether any page has {header}, which the application sends"
    return replace(change, evidence=(*change.evidence, doubt))
