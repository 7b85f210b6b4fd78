"""The origin of the demo: a small shop that takes its time over every page it makes."""

import gzip
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from threading import Lock

HOST = "shop.example"
SITE = f"http://{HOST}"
PAGE_SECONDS = 0.05

_CACHEABLE: Mapping[str, str] = {"Cache-Control": "public, max-age=3600"}
_PERSONAL: Mapping[str, str] = {"Cache-Control": "private", "Set-Cookie": "cart=empty; Path=/"}
_LAST_CHANGE = "2025-01-15"
_CATEGORIES = ("lamps", "chairs", "tables", "shelves", "rugs", "clocks", "mirrors", "plants")
_PRODUCTS_EACH = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One answer of the shop."""

    body: bytes
    headers: Mapping[str, str]
    status: int = 200
    content_type: str = "text/html; charset=utf-8"


def public_paths() -> dict[str, float]:
    """Give what the sitemap lists, each path with its priority; three of them are no good there."""
    categories = {f"/{name}": 0.8 for name in _CATEGORIES}
    products = {f"{path}/{n}": 0.5 for path in categories for n in range(1, _PRODUCTS_EACH + 1)}
    others = {"/about": 0.3, "/cart": 0.1, "/account": 0.1, "/broken": 0.1}
    return {"/": 1.0, **categories, **products, **others}


class Shop:
    """Makes pages, each in PAGE_SECONDS, in the thread that asks; `made` counts them."""

    def __init__(self) -> None:
        self.made = 0
        self._lock = Lock()
        self._pages = {path: _html(path) for path in public_paths()} | {
            "/cart": _html("Your cart", headers=_PERSONAL),
            "/account": _html("Please log in", status=302, headers={"Location": "/login"}),
            "/broken": _html("Internal error", status=500, headers={}),
            "/login": _html("Log in", headers=_PERSONAL),
            "/sitemap.xml": _text(_sitemap(), "application/xml"),
            "/robots.txt": _text(f"User-agent: *\nSitemap: {SITE}/sitemap.xml\n", "text/plain"),
        }

    def page(self, target: str, accept_encoding: str) -> Page:
        """Make the page of a request target."""
        time.sleep(PAGE_SECONDS)
        with self._lock:
            self.made += 1
        page = self._pages.get(target.partition("?")[0]) or _html(
            "Not found", status=404, headers={}
        )
        headers = {"Content-Type": page.content_type, "Vary": "Accept-Encoding", **page.headers}
        if "gzip" not in accept_encoding:
            return replace(page, headers=headers)
        headers["Content-Encoding"] = "gzip"
        return replace(page, body=gzip.compress(page.body), headers=headers)


def _html(title: str, *, status: int = 200, headers: Mapping[str, str] = _CACHEABLE) -> Page:
    text = (
        f"<!doctype html><title>{title}</title><h1>{title}</h1>\n"
        + "<p>Made with care.</p>\n" * 200
    )
    return Page(body=text.encode(), status=status, headers=headers)


def _text(text: str, content_type: str) -> Page:
    return Page(body=text.encode(), headers=_CACHEABLE, content_type=content_type)


def _sitemap() -> str:
    urls = "".join(
        f"<url><loc>{SITE}{path}</loc><lastmod>{_LAST_CHANGE}</lastmod>"
        f"<priority>{priority}</priority></url>\n"
        for path, priority in public_paths().items()
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n{urls}</urlset>\n'
    )
