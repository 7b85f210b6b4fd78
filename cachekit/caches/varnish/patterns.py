r"""Regular expressions (PCRE) as bans take them: one word of printable ASCII, whatever is meant.

A ban is split at spaces, even inside quotes, and its channels treat quotes and backslashes each in
their own way. So what must not stand in an operand is written as PCRE's own escape `\xHH`.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from string import ascii_letters, digits

from cachekit.caches.pages import absolute, check_regex
from cachekit.model import DEFAULT_PORTS, has_userinfo

_PLAIN = frozenset(f"{ascii_letters}{digits}-/:=&%,;@~'!_".encode())
_SPECIAL = frozenset(b".+*?()[]{}|^$")
_UNSPEAKABLE = re.compile(r'\\?([\s"])')
_STEP = re.compile(r"\\.|.", re.DOTALL)
_URL = re.compile(rb"(?i)https?://([^/?#]*)([^#]*)")
_UNSENDABLE = re.compile(rb"[\x00-\x20\x7f]")
_PORT = re.compile(r"(?P<host>.*?)(?::(?P<port>\d+))?", re.DOTALL)


def literal(text: str | bytes) -> str:
    """Match exactly these bytes."""
    return "".join(map(_escaped, text if isinstance(text, bytes) else _bytes(text)))


def one_of(literals: Sequence[str], *, whole: bool = True) -> str:
    """Match any of these literals from the start, and to the very end if `whole`."""
    body = literals[0] if len(literals) == 1 else f"(?:{'|'.join(literals)})"
    # `$` would let a newline follow.
    return rf"^{body}\z" if whole else f"^{body}"


def tagged(literals: Iterable[str], separators: str) -> str:
    """Match a list in which one of these tags stands as a whole, not as a part of another tag."""
    separator = "".join(rf"\x{byte:02x}" for byte in _bytes(separators))
    return rf"(?:^|[{separator}])\s*(?:{'|'.join(literals)})\s*(?:\z|[{separator}])"


def written(regex: str) -> str:
    """Write a user's regular expression as one word. Raises ValueError for one that cannot be."""
    if not regex.isascii():
        raise ValueError("write bytes beyond ASCII as they are on the wire, such as %C3%A9")
    if re.compile(regex).flags & re.VERBOSE:
        raise ValueError("leave out the flag x; spaces stand for themselves")
    check_regex(regex)
    # Escaped or not, inside a class or not: `\x20` is what `\ ` and ` ` mean.
    return _STEP.sub(lambda each: _UNSPEAKABLE.sub(_hexadecimal, each[0]), regex)


@dataclass(frozen=True, slots=True)
class Page:
    """A URL as Varnish sees it: the Host header that browsers send, path and query."""

    netloc: str
    target: bytes

    @property
    def url(self) -> bytes:
        """The URL to ask a Varnish for, which speaks plain HTTP."""
        return b"http://" + self.netloc.encode() + self.target


def page_of(value: str, site: str) -> Page:
    """Take a URL apart; a path belongs to the site. Raises ValueError."""
    url = _bytes(absolute(value, site))
    match = _URL.fullmatch(url.partition(b"#")[0])
    if match is None or not match[1] or has_userinfo(url):
        raise ValueError(f"{value}: expected a path that starts with /, or http(s)://host/path")
    if _UNSENDABLE.search(url):
        raise ValueError(f"{value}: write spaces as browsers send them, %20")
    if not match[1].isascii():
        raise ValueError(f"{value}: write the host as browsers send it, xn--…")
    path = match[2] if match[2].startswith(b"/") else b"/" + match[2]
    return Page(match[1].decode().lower(), path)


def of_host(netloc: str) -> str:
    """Match a Host header: in any case, with or without the port that is usual anyway."""
    match = _PORT.fullmatch(netloc)
    host, port = (match["host"], match["port"]) if match else (netloc, None)
    usual = [str(each) for each in DEFAULT_PORTS.values()]
    if port and port not in usual:
        return rf"(?i)^{literal(host)}:{port}\z"
    return rf"(?i)^{literal(host)}(?::(?:{'|'.join(usual)}))?\z"


def _escaped(byte: int) -> str:
    if byte in _PLAIN:
        return chr(byte)
    return f"\\{chr(byte)}" if byte in _SPECIAL else rf"\x{byte:02x}"


def _hexadecimal(match: re.Match[str]) -> str:
    return rf"\x{ord(match[1]):02x}"


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
