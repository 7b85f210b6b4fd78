"""What a scope means for names: globs and URLs as regular expressions that the node applies."""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

_CLASS = re.compile(r"\[(!?+)(\][^\]/]*|[^\]/]+)\]")
_MEMBER = re.compile(r"(.)-(.)|(.)", re.DOTALL)
# nginx: `$scheme`, `$request_method` and punctuation may stand before the host, in any order.
_METHOD = "(?:GET|HEAD)"
_BEFORE_HOST = rf"(?:(?:{_METHOD}|https?)?[^0-9A-Za-z]{{0,3}}){{0,2}}"
_FIELDS = re.compile(r"\{(scheme|method|host|uri)\}")


def glob_regex(glob: str) -> str:
    """Translate a glob over paths.

    `*`, `?` and `[...]` stay within one name; `**/` is any number of directories and `**` anything.
    """
    return "".join(_glob_pieces(glob))


def _glob_pieces(glob: str) -> Iterator[str]:
    at = 0
    while at < len(glob):
        piece, length = _glob_piece(glob[at:])
        yield piece
        at += length


def _glob_piece(rest: str) -> tuple[str, int]:
    for written, regex in (("**/", "(?:.*/)?"), ("**", ".*"), ("*", "[^/]*"), ("?", "[^/]")):
        if rest.startswith(written):
            return regex, len(written)
    if match := _CLASS.match(rest):
        return _class_regex(match), match.end()
    return re.escape(rest[0]), 1


def _class_regex(match: re.Match[str]) -> str:
    members = "".join(
        f"{re.escape(first)}-{re.escape(last)}" if first else re.escape(single)
        for first, last, single in _MEMBER.findall(match[2])
    )
    regex = f"[^/{members}]" if match[1] else f"[{members}]"
    try:
        re.compile(regex)
    except re.error as error:
        raise ValueError(f"{match[0]}: {error}") from error
    return regex


def path_regex(path: str) -> str:
    """Match a file, or a directory with all that is below it."""
    return f"{re.escape(path)}(?:/.*)?"


def url_regex(url: str, template: str | None, *, as_prefix: bool) -> str:
    """Match the nginx keys of one URL, or of all that begin with it.

    Without the `key` template the scheme is not compared, and may be missing like the method.
    Raises ValueError for what is no absolute URL.
    """
    scheme, host, uri = _split(url)
    after = ".*" if as_prefix else ""
    return _key_regex(template, scheme=scheme, host=host, uri=re.escape(uri) + after)


def uri_regex(site: str, template: str | None) -> str:
    """Match all nginx keys of a site; its group `uri` is path and query. Raises ValueError."""
    _, host, _ = _split(site)
    return _key_regex(template, scheme="https?", host=host, uri="(?P<uri>/.*)")


def _key_regex(template: str | None, *, scheme: str, host: str, uri: str) -> str:
    host = f"(?i:{host})"
    if template is None:
        return f"{_BEFORE_HOST}{host}{uri}"
    values = {"scheme": scheme, "method": _METHOD, "host": host, "uri": uri}
    pieces = _FIELDS.split(template)
    return "".join(
        values[piece] if index % 2 else re.escape(piece) for index, piece in enumerate(pieces)
    )


def _split(url: str) -> tuple[str, str, str]:
    """Give scheme, host as a regular expression, and the request target as it was written."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{url}: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url}: expected a path that starts with /, or http(s)://host/path")
    uri = url.partition("#")[0].partition("://")[2][len(parts.netloc) :]
    host = re.escape(parts.netloc.rpartition("@")[2])
    # $host has no port where $http_host has one.
    host = host if port is None else f"{host.rpartition(':')[0]}(?::{port})?"
    return parts.scheme, host, uri if uri.startswith("/") else f"/{uri}"


def below(path: str, root: str) -> str:
    """Give a path as it is below the root. Raises ValueError for one that is not."""
    relative = path.removeprefix(f"{root}/").rstrip("/")
    parts = relative.split("/")
    if not relative or relative.startswith("/") or {"", ".", ".."} & set(parts) or "\0" in path:
        raise ValueError(f"{path} is no path below {root}")
    return relative
