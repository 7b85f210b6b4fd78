"""Checks of the texts of plans: placeholders, and conditions over them."""

import re
from collections.abc import Collection, Iterator
from dataclasses import fields

from cachekit.checks.faults import Fault, KeyPath
from cachekit.near_misses import nearest
from cachekit.step_settings import RunStep, Step

FACTS = ("release", "previous", "environment", "tool", "actor", "rollback")
"""What placeholders may name; `{node}` as well in commands that run for one node."""

_PLACEHOLDER = re.compile(r"(?<!\$)\{([^\W\d]\w*)\}")
# Commands and keys have braces of their own, as in awk '{print}'; only what is near is a slip.
_FOREIGN = ("run", "key", "prefix", "glob")


def of_texts(step: Step, path: KeyPath, *, on_nodes: bool) -> Iterator[Fault]:
    """Check the placeholders in all texts of a step; `on_nodes` if commands run for one node."""
    for field in fields(step):
        written = getattr(step, field.name)
        known = (*FACTS, "node") if isinstance(step, RunStep) and field.name == "run" else FACTS
        here = (*path, field.metadata.get("alias", field.name))
        for index, text in enumerate(written if isinstance(written, tuple) else [written]):
            if isinstance(text, str):
                yield from _of_text((*here, index), text, known, field.name in _FOREIGN)
                if "{node}" in text and "node" in known and not on_nodes:
                    yield (*here, index), "{node} is known only on nodes; name them with `on`"


def _of_text(
    path: KeyPath, text: str, known: Collection[str], has_own_braces: bool
) -> Iterator[Fault]:
    for word in _PLACEHOLDER.findall(text):
        near = nearest(word, known)
        if word == "node" and word not in known:
            yield path, "{node} is known only in the command of a `run`"
        elif word not in known and (near or not has_own_braces):
            hint = f"did you mean {{{near}}}?" if near else f"known are {', '.join(known)}"
            yield path, f"unknown placeholder {{{word}}}; {hint}"


def of_condition(path: KeyPath, when: str) -> Iterator[Fault]:
    """Check a condition: a text, or one comparison."""
    left, *right = re.split(r"==|!=", when)
    if right:
        is_sound = len(right) == 1 and left.strip() and not right[0].startswith("=")
    else:
        is_sound = "=" not in left
    if not is_sound or re.search(r"&&|\|\|", when):
        yield path, "expected a text, A == B or A != B; one comparison at most"
