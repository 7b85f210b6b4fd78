"""How changes of files become clears and warms, as it stands in the settings.

In the texts of a rule `{1}` stands for what its pattern captured first, `{0}` for the whole path.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from cachekit.invalidation.patterns import pattern, places
from cachekit.quantities import Before, OneOrMore, Seconds
from cachekit.scope import Kind

Unmatched = Literal["rebuild", "ignore", "fail"]


@dataclass(frozen=True, kw_only=True)
class Stale:
    """What of a cache a change makes stale: everything, or what these kinds of scope select."""

    everything: bool = False
    key: OneOrMore[str] = ()
    prefix: OneOrMore[str] = ()
    glob: OneOrMore[str] = ()
    tag: OneOrMore[str] = ()
    url: OneOrMore[str] = ()
    url_prefix: OneOrMore[str] = ()
    url_regex: OneOrMore[str] = ()
    path: OneOrMore[str] = ()

    def __post_init__(self) -> None:
        if not any(self.texts()):
            raise ValueError(
                "expected `everything`, or what to clear by one or more kinds of scope"
            )

    def texts(self) -> Iterator[tuple[Kind, str]]:
        """Give each text that is written, with its kind; of everything an empty one."""
        if self.everything:
            yield Kind.EVERYTHING, ""
        for kind in Kind:
            values = getattr(self, kind.name.lower(), ())
            if kind is not Kind.EVERYTHING:
                yield from ((kind, text) for text in values)


def _widened(value: object) -> object:
    if isinstance(value, str) and value != "everything":
        raise ValueError("expected `everything`, or what to clear by one or more kinds of scope")
    return {value: True} if value == "everything" else value


StaleIn = Annotated[Stale, Before(_widened, lambda _: {"const": "everything"})]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What follows from a change of files that match.

    All rules that match a file hold, in their order, up to one that says `ignore`.
    """

    match: OneOrMore[str]
    clear: Mapping[str, StaleIn] = field(default_factory=dict)
    warm: OneOrMore[str] = ()
    ignore: bool = False

    def __post_init__(self) -> None:
        if not self.match:
            raise ValueError("expected at least one pattern in `match`")
        if self.ignore is bool(self.clear or self.warm):
            raise ValueError("expected one of `ignore: true`, or what to `clear` or `warm`")
        texts = [text for stale in self.clear.values() for _, text in stale.texts()]
        _check_captures(self.match, (*texts, *self.warm))


@dataclass(frozen=True, kw_only=True)
class Assets:
    """Files that are served as they are, each under its `url`.

    One that changes is cleared from all caches of pages, and warmed. Where its URL was served with
    a lifetime of `long` or more, browsers keep the old bytes: that is reported, or, with `gate:
    fail`, fails the run.
    """

    match: OneOrMore[str]
    url: str = "/{1}"
    gate: Literal["report", "fail"] = "report"
    long: Seconds = 86400.0

    def __post_init__(self) -> None:
        _check_captures(self.match, (self.url,))


@dataclass(frozen=True, kw_only=True)
class Invalidation:
    """What to do about changed files; without rules, every change rebuilds everything.

    `unmatched` is for a file that no rule matches: clear everything in the caches of `rebuild` (all
    by default) and warm `lists` (all by default), ignore it, or fail. More than `merge_above` of
    one kind in one cache of pages become one broader scope. `chunk` URLs are cleared and warmed at
    a time.
    """

    rules: tuple[Rule, ...] = ()
    unmatched: Unmatched = "rebuild"
    rebuild: OneOrMore[str] = ()
    lists: OneOrMore[str] | None = None
    merge_above: int = 2000
    chunk: int = 50
    assets: Assets | None = None


def _check_captures(patterns: Iterable[str], texts: Iterable[str]) -> None:
    """Refuse what is no pattern, and texts that want what none captures. Raises ValueError."""
    captures = frozenset.intersection(*(pattern(written).captures for written in patterns))
    for text in texts:
        if missing := sorted(places(text) - captures):
            known = ", ".join(f"{{{name}}}" for name in sorted(captures))
            raise ValueError(
                f"expected {{{missing[0]}}} of {text} to be captured by each pattern of `match`;"
                f" there are: {known}; a brace itself is written twice"
            )
