"""Which requests a scope becomes."""

from collections.abc import Iterable, Iterator, Sequence

from cachekit.caches.varnish.bans import Vocabulary, Words, keys, pieces
from cachekit.caches.varnish.calls import Call
from cachekit.caches.varnish.patterns import page_of
from cachekit.model import Site
from cachekit.scope import Scope

Asked = tuple[bytes, list[str]]
"""The URL and the header lines of one request."""

# Varnish restarts a request four times at most (max_restarts).
_PAGES_OF_A_REQUEST = 5


def base_url(site: str) -> bytes:
    """Give the URL of a request that is about no single page; Varnish speaks plain HTTP."""
    return f"http://{Site(site).netloc if site else 'localhost'}/".encode()


def to_pages(call: Call, scope: Scope, site: str) -> Iterator[Asked]:
    """Ask for each page, or for some of one host at once where the VCL takes `more`.

    Raises ValueError for what is no URL.
    """
    lines = call.header_lines({})
    if not call.more:
        yield from ((page_of(value, site).url, lines) for value in scope.values)
        return
    targets: dict[str, list[str]] = {}
    for value in scope.values:
        page = page_of(value, site)
        target = page.target.decode("utf-8", "surrogateescape")
        targets.setdefault(page.netloc, []).append(target)
    for netloc, of_netloc in targets.items():
        for first, *others in _batches(of_netloc):
            more = [f"{call.more}: {' '.join(others)}"] if others else []
            url = f"http://{netloc}{first}".encode("utf-8", "surrogateescape")
            yield url, [*lines, *more]


def to_site(
    call: Call, scope: Scope, site: str, words: Iterable[Words], vocabulary: Vocabulary
) -> Iterator[Asked]:
    """Ask the site for each piece of what is meant. Raises ValueError."""
    url, wanted = base_url(site), call.placeholders
    for piece in keys(scope) if "keys" in wanted else words:
        ban = {"ban": vocabulary.ban(piece)} if "ban" in wanted else {}
        yield url, call.header_lines({**piece, **ban})


def _batches(targets: Iterable[str]) -> Iterator[Sequence[str]]:
    for piece in pieces(targets):
        for start in range(0, len(piece), _PAGES_OF_A_REQUEST):
            yield piece[start : start + _PAGES_OF_A_REQUEST]
