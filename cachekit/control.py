"""The few HTTP calls that are not aimed at a node, by httpx.

Today, sitemaps from the public site.
"""

from typing import BinaryIO

import httpx

from cachekit.errors import SourceError
from cachekit.sources.base import MAX_FETCHED_BYTES, new_body


def fetch_public(url: str, *, timeout: float) -> BinaryIO:
    """Get a URL by its public name into a file at position 0; at most 64 MB. Raises SourceError."""
    body = new_body()
    try:
        with httpx.stream("GET", url, timeout=timeout, follow_redirects=True) as response:
            if response.status_code != 200:
                raise SourceError(url, f"the public site answered status {response.status_code}")
            for chunk in response.iter_bytes():
                body.write(chunk)
                if body.tell() > MAX_FETCHED_BYTES:
                    raise SourceError(url, "is larger than 64 MB")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise SourceError(url, f"cannot be fetched from the public site: {error}") from error
    body.seek(0)
    return body
