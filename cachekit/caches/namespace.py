"""Key namespaces: one for each release, so that a switch of release needs no clear."""

import hashlib
from functools import lru_cache

from cachekit.caches.base import Conditions
from cachekit.model import shown
from cachekit.scope import Kind, Scope

PLACEHOLDER = "{release}"
TOKEN_LENGTH = 12
WHICH_RELEASE = "which release? set `release:`, or give --live"


@lru_cache
def release_token(release: str) -> str:
    """Make the short, key-safe token of a release id.

    In PHP: `substr(hash('sha256', $release), 0, 12)`. Use an id that is never used again, a commit
    or a build number: a path that is deployed to twice would bring old entries back to life.
    """
    return hashlib.sha256(release.encode("utf-8", "surrogateescape")).hexdigest()[:TOKEN_LENGTH]


def prefix_of(namespace: str, release: str) -> str:
    """Give what the keys of a release start with."""
    return namespace.replace(PLACEHOLDER, release_token(release))


def stored_key(key: str, namespace: str, release: str) -> str:
    """Give the key of a record as it is stored for the live release.

    Raises ValueError for one outside of the namespace, or of a release that is not known.
    """
    if not release and PLACEHOLDER in key + namespace:
        raise ValueError(WHICH_RELEASE)
    stored = key.replace(PLACEHOLDER, release_token(release))
    if not stored.startswith(prefix_of(namespace, release)):
        raise ValueError(
            f"the key {shown(key)} is outside of the namespace {namespace}; records name keys as"
            " they are stored, and {release} in them is the live release"
        )
    return stored


def fixed_part(namespace: str) -> str:
    """Give what the keys of all releases start with."""
    return namespace.partition(PLACEHOLDER)[0]


def namespace_refusal(
    namespace: str, scope: Scope, conditions: Conditions, *, exclusive: bool
) -> str:
    """Say why a scope must not be cleared in a store of keys; "" if it may."""
    if scope.kind is Kind.EVERYTHING:
        if exclusive:
            return ""
        return (
            "the store may be shared: everything is cleared only where `exclusive: true` says that"
            " it holds nothing else; or clear a --release or --prefix"
        )
    if scope.kind is Kind.RELEASE and PLACEHOLDER not in namespace:
        return f"its `namespace` is not per release; it would have to contain {PLACEHOLDER}"
    if scope.kind is Kind.RELEASE:
        return conditions.kept_refusal(scope.values, release_token)
    for value in scope.values if scope.kind in (Kind.KEY, Kind.PREFIX, Kind.GLOB) else ():
        if refusal := _value_refusal(namespace, scope.kind, value, conditions, exclusive=exclusive):
            return f"--{scope.kind} {value} {refusal}"
    return ""


def _value_refusal(
    namespace: str, kind: Kind, value: str, conditions: Conditions, *, exclusive: bool
) -> str:
    fixed = fixed_part(namespace)
    if PLACEHOLDER in value:
        return f"is meant as it is stored, where {PLACEHOLDER} is a token; is --release meant?"
    if not value.startswith(fixed):
        return f"is outside of its namespace, which starts with {fixed!r}"
    if kind is Kind.KEY:
        return ""
    literal = literal_start(value) if kind is Kind.GLOB else value
    if not literal and not exclusive:
        return (
            "may select anything in a store that may be shared: begin it with the text that keys"
            " begin with, or declare `exclusive: true`"
        )
    if PLACEHOLDER not in namespace or conditions.force:
        return ""
    return _reach_refusal(namespace, literal, conditions)


def _reach_refusal(namespace: str, literal: str, conditions: Conditions) -> str:
    """Say whether keys that begin so may be those of a release that is kept."""
    if not conditions.release:
        return "may reach the live release, and which is that? set `release:`, or give --live"
    for release in conditions.kept:
        start = prefix_of(namespace, release)
        if start.startswith(literal) or literal.startswith(start):
            return (
                f"reaches release {release}, which is live or kept for rollback; --force clears it"
                " all the same"
            )
    return ""


def literal_start(glob: str) -> str:
    """Give what every match of a glob starts with."""
    for index, character in enumerate(glob):
        if character in "*?[":
            return glob[:index]
    return glob
