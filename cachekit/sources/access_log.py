"""URLs that people really ask for, from access logs: most asked for first, harmless ones only."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from urllib.parse import unquote_to_bytes

from cachekit.model import Entry, Site, UrlRefusedError
from cachekit.quantities import OneOrMore
from cachekit.sources.base import Surroundings
from cachekit.sources.reading import described, opened

# Common and combined format, as Apache, nginx and varnishncsa write them; a virtual host may stand
# in front, and varnishncsa puts scheme and host into the request (varnishncsa.c).
_LINE = re.compile(
    rb"""(?P<before>[^\["]*)\[[^\]]*\]\s
    "(?P<method>[A-Z]+)\ (?P<url>(?:[^\ "\\]|\\.)+)(?:\ HTTP/[\d.]+)?"\s(?P<status>\d{3})\b
    (?:\s\S+\s"(?:[^"\\]|\\.)*"\s"(?P<agent>(?:[^"\\]|\\.)*)")?""",
    re.VERBOSE,
)
_ESCAPE = re.compile(rb"\\(?:x([0-9A-Fa-f]{2})|(.))")
_ABSOLUTE = re.compile(rb"(?i)https?://([^/?]*)")
_DEFAULT_PORT = re.compile(rb":(?:80|443)$")

_BOT = re.compile(
    rb"(?i)bot\b|bot[/_-]|crawl|spider|slurp|facebookexternalhit|preview|monitor|pingdom|uptime"
    rb"|headless|lighthouse|warm|cachekit|\b(?:curl|wget|python|go-http-client|java|okhttp|siege)\b"
)
_STATIC = re.compile(
    rb"(?i)\.(?:css|m?js|map|json|wasm|ico|png|jpe?g|gif|svg|webp|avif|bmp|woff2?|ttf|otf|eot"
    rb"|mp[34]|webm|og[gv])$"
)
_CAMEL = re.compile(rb"(?<=[a-z])(?=[A-Z])")
# Asking for these again may change something, or shows what is one person's own.
_UNSAFE = re.compile(
    rb"""(?<![a-z])(?:
    (?:log|sign)[-_+\ ]?(?:in|out|off|on)|o?auth2?|sso|saml|(?:j|php)?sess(?:ion)?[-_]?id|tokens?
    |(?:my[-_]?)?accounts?|passwords?|passwd|carts?|baskets?|check[-_]?out|orders?|payments?
    |invoices?|wish[-_]?list|(?:un)?subscribe|opt[-_]?(?:in|out)|confirm|verify|activate
    |delete|remove|destroy|cancel|reset|purge|(?:wp[-_]?)?admin(?:istrator)?|cron|webhooks?
    |(?:up|down)?votes?|invit(?:e|es|ations?)
    # German, French, Spanish and Portuguese, Italian, Dutch; umlauts and accents also written out
    |(?:an|ab)melden|(?:ein|aus)loggen|registrieren|warenkorb|kasse|bestell(?:en|ung(?:en)?)|konto
    |passwort|merkzettel|einladung|l(?:oe|\xc3\xb6)schen|k(?:ue|\xc3\xbc)ndigen|stornieren
    |(?:d(?:e|\xc3\xa9))?connexion|panier|commandes?|compte|supprimer|d(?:e|\xc3\xa9)sabonner
    |cerrar[-_]sesi(?:o|\xc3\xb3)n|carr(?:ito|inho)|pedidos?|cuenta|conta|eliminar|excluir|borrar
    |accedi|esci|carrello|elimina|(?:in|uit)loggen|winkel(?:wagen|mandje)|afmelden|verwijderen
    )(?![a-z])|(?<![a-z])add[-_]to[-_]
    # Common in titles of pages: alone in a segment they are something to do.
    |/(?:(?:un|dis)-?)?(?:ban|block|like|follow|mute|pin|flag|report|lock|approve|accept|decline
    |reject|join|leave)(?![^/?;.])""",
    re.VERBOSE,
)
_PERSONAL = re.compile(
    rb"""[^/?&=@\s]@[^/?&=@\s]+\.[A-Za-z]{2,}               # e-mail address
    |eyJ[\w-]{10}                                           # JSON web token
    |(?i:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})       # UUID
    |(?<![0-9A-Za-z])(?=\d*[A-Fa-f])[0-9A-Fa-f]{16,}(?![0-9A-Za-z])
    |\d{20}""",
    re.VERBOSE,
)
_RUN = re.compile(rb"[\w-]{7,}", re.ASCII)
_MIXED = re.compile(rb"(?=.*[a-z])(?=.*[A-Z])(?=.*\d).{7,}")
_WORD = re.compile(rb"[A-Z]?[a-z]+|[A-Z]+|[0-9]+")


@dataclass(frozen=True, kw_only=True)
class AccessLog:
    """The `top` URLs by successful GETs in one or more logs, plain or gzip.

    Replaying must be harmless: URLs with a query string are dropped unless `allow_query` (true, or
    the names of parameters), and so are paths that look unsafe or secret unless a regular
    expression of `allow` finds something in them. `static` files and `bots` are left out, and what
    a user saw who had logged in.
    """

    access_log: OneOrMore[Path]
    top: int | None = None
    static: bool = False
    bots: bool = False
    allow_query: bool | OneOrMore[str] = False
    allow: OneOrMore[re.Pattern[str]] = ()

    def __post_init__(self) -> None:
        if self.top is not None and self.top < 1:
            raise ValueError("expected a top of 1 or more")

    def entries(self, surroundings: Surroundings) -> Iterator[Entry]:
        """Yield URLs by falling number of hits, which is their priority."""
        hits = self._count(surroundings)
        # sorted() is stable: equals stay in the order they were first seen.
        by_hits = iter(sorted(hits, key=hits.__getitem__, reverse=True))
        for url in islice(by_hits, self.top):
            yield Entry(url, priority=float(hits[url]))
        for _ in by_hits:
            surroundings.drop(f"not among the top {self.top}")

    def describe(self) -> str:
        """Name the files."""
        return ", ".join(map(described, self.access_log))

    def _count(self, surroundings: Surroundings) -> dict[bytes, int]:
        hits: dict[bytes, int] = {}
        for line in self._lines(surroundings):
            try:
                target = self._visited(line, surroundings.site)
                if target not in hits:
                    self._refuse_unsafe(target)
            except UrlRefusedError as refusal:
                # Only the reason is told: what is refused may be secret.
                surroundings.drop(str(refusal))
            else:
                hits[target] = hits.get(target, 0) + 1
        return hits

    def _lines(self, surroundings: Surroundings) -> Iterator[bytes]:
        for path in self.access_log:
            with opened(path, surroundings.stdin) as file:
                yield from file

    def _visited(self, line: bytes, site: Site) -> bytes:
        visit = _LINE.match(line)
        if visit is None:
            raise UrlRefusedError("not a log line")
        if visit["method"] != b"GET":
            raise UrlRefusedError("not a GET")
        if visit["status"] not in (b"200", b"304"):
            raise UrlRefusedError("answered other than 200 or 304")
        if not self.bots and _BOT.search(visit["agent"] or b""):
            raise UrlRefusedError("asked for by a bot")
        before = visit["before"].split()
        if len(before) > 2 and before[-1] != b"-":
            raise UrlRefusedError("asked for by a user who had logged in")
        return _public_url(_unescaped(visit["url"]), _virtual_host(before), site)

    def _refuse_unsafe(self, url: bytes) -> None:
        path, mark, query = _ABSOLUTE.sub(b"", url, count=1).partition(b"?")
        if mark and not self._allows_query(query):
            raise UrlRefusedError("query string")
        if not self.static and _STATIC.search(path):
            raise UrlRefusedError("static file")
        target = path + mark + query
        if any(pattern.search(target.decode(errors="replace")) for pattern in self.allow):
            return
        plain = unquote_to_bytes(target)
        if _UNSAFE.search(_CAMEL.sub(b"-", plain).lower()):
            raise UrlRefusedError("not surely harmless (login, cart, admin, delete, ...)")
        if _PERSONAL.search(plain) or any(map(_looks_random, _RUN.findall(plain))):
            raise UrlRefusedError("looks like a token or an e-mail address")

    def _allows_query(self, query: bytes) -> bool:
        if isinstance(self.allow_query, bool):
            return self.allow_query
        names = {parameter.partition(b"=")[0] for parameter in query.split(b"&")}
        return names <= {name.encode() for name in self.allow_query}


def _unescaped(url: bytes) -> bytes:
    return _ESCAPE.sub(_byte, url) if b"\\" in url else url


def _byte(escape: re.Match[bytes]) -> bytes:
    if escape[1]:
        return bytes.fromhex(escape[1].decode())
    # \t, \n, … stand for control bytes, which no URL may hold: any of them is refused later.
    return escape[2] if escape[2] in b'"\\' else b"\n"


def _virtual_host(before: Sequence[bytes]) -> bytes:
    # `host client - user`, where the plain format has `client - user`.
    return before[0] if len(before) > 3 and before[1] != b"-" else b""


def _public_url(url: bytes, host: bytes, site: Site) -> bytes:
    absolute = _ABSOLUTE.match(url)
    if absolute:
        # Varnish writes http:// even behind TLS: the scheme is the site's.
        host, url = absolute[1], url[absolute.end() :] or b"/"
    if b"@" in host:
        raise UrlRefusedError("user name or password in the URL")
    if host and not site.owns_host(host):
        raise UrlRefusedError("another host")
    if not url.startswith(b"/"):
        raise UrlRefusedError("not a path")
    netloc = _DEFAULT_PORT.sub(b"", host.lower()) or site.netloc.encode(errors="surrogateescape")
    return site.absolute(b"%s://%s%s" % (site.scheme.encode(), netloc, url))


def _looks_random(run: bytes) -> bool:
    """Tell random characters, which change their kind all the time, from words and numbers."""
    parts = re.split(rb"[-_]+", run)
    changes = len(_WORD.findall(run)) - len(parts)
    return (len(run) >= 16 and 6 * changes >= len(run)) or any(map(_is_code, parts))


def _is_code(part: bytes) -> bool:
    """Tell a short token such as `x8Kd92mQ` from a name such as `iPhone15Pro`, or `B07XJ8C8F7`."""
    return bool(_MIXED.fullmatch(part)) and 5 * len(_WORD.findall(part)) > 2 * len(part)
