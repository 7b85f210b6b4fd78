"""What URLs and regular expressions of a scope mean to every cache of pages."""

import re

from cachekit.model import Site

_ABSOLUTE_REGEX = re.compile(r"\^?\(*https?\??:", re.IGNORECASE)


def absolute(url: str, site: str) -> str:
    """Complete a path by the site; anything else stays as it is. Raises ValueError."""
    if not url.startswith("/") or url.startswith("//"):
        return url
    if not site:
        raise ValueError(f"{url} has no host, and no `site:` is known; write the whole URL")
    return f"{Site(site)}{url}"


def check_regex(regex: str) -> None:
    """Refuse one that begins with a scheme. Raises ValueError."""
    if _ABSOLUTE_REGEX.match(regex):
        raise ValueError("expected one that matches path and query; the host is the site's")
