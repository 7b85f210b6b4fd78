"""URLs as people list them: one a line in a text file, or with their traits in the settings."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cachekit.errors import SourceError
from cachekit.model import PLAIN, Entry, Expect, Traits, shown_url
from cachekit.quantities import OneOrMore
from cachekit.sources.base import Surroundings
from cachekit.sources.reading import described, listed, opened


@dataclass(frozen=True, kw_only=True)
class UrlFile:
    """A text file of URLs or paths, one a line; `-` is standard input."""

    file: Path

    def entries(self, surroundings: Surroundings) -> Iterator[bytes]:
        """Yield one URL a line; blank lines and `#` comments say nothing."""
        if self.file.suffix in (".yaml", ".yml"):
            # Settings decode such a list into `Urls`: YAML is read in config/ alone.
            raise SourceError(str(self.file), "is YAML; name it in the settings, or list text")
        with opened(self.file, surroundings.stdin) as lines:
            yield from listed(str(self.file), lines)

    def describe(self) -> str:
        """Name the file."""
        return described(self.file)


@dataclass(frozen=True, kw_only=True)
class ListedUrl:
    """One URL with what sets it apart from the rest of its list."""

    url: str
    priority: float | None = None
    required: bool = False
    cacheable: bool = True
    variants: OneOrMore[str] | None = None
    expect: Expect | None = None

    @property
    def traits(self) -> Traits:
        """What sets it apart, as the warmer takes it."""
        traits = Traits(
            required=self.required,
            cacheable=self.cacheable,
            variants=self.variants,
            expect=self.expect,
        )
        return PLAIN if traits == PLAIN else traits


@dataclass(frozen=True, kw_only=True)
class Urls:
    """URLs or paths written down one by one."""

    urls: OneOrMore[str | ListedUrl]

    def entries(self, surroundings: Surroundings) -> Iterator[bytes | Entry]:
        """Yield them in the order they were written."""
        for listed_url in self.urls:
            if isinstance(listed_url, str):
                yield _raw(listed_url)
            else:
                priority, traits = listed_url.priority, listed_url.traits
                yield Entry(_raw(listed_url.url), priority, traits=traits)

    def describe(self) -> str:
        """Name the first few."""
        names = [url if isinstance(url, str) else url.url for url in self.urls]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        return ", ".join(shown_url(_raw(name)) for name in names[:3]) + more


def _raw(url: str) -> bytes:
    # Undecodable bytes of the command line come as surrogates and leave as they were.
    return url.strip().encode(errors="surrogateescape")
