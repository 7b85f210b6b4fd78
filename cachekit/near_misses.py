"""What somebody probably meant: the known word that is nearest to one that is not known."""

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Suggest the known word that is nearest, as the end of a message; or say nothing."""
    near = nearest(word, known)
    return f"; did you mean {near!r}?" if near is not None else ""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Find the known word that was probably meant."""
    by_folded = {name.lower().replace("-", "_"): name for name in known}
    matches = get_close_matches(word.lower().replace("-", "_"), by_folded, n=1, cutoff=0.6)
    return by_folded[matches[0]] if matches else None
