"""What is known of a deploy, for people and for programs."""

import json
from collections.abc import Iterator

from cachekit.context import Context, Fact
from cachekit.context.environment import looked_at
from cachekit.documents import VERSION, plain
from cachekit.model import shown

_NAMES = max(map(len, Context().found()))


def render(context: Context) -> str:
    """Write each fact with the place where it was found, or those where it was not."""
    return "\n".join(map(shown, _lines(context))) + "\n"


def render_json(context: Context) -> str:
    """Write one JSON document: `facts` by name, each with `value` and `origin`."""
    document = {
        "version": VERSION,
        "command": "context",
        "facts": plain(context.found()),
        "tools": plain(context.tools),
        "notes": list(context.notes),
    }
    return json.dumps(document, indent=2) + "\n"


def _lines(context: Context) -> Iterator[str]:
    rows = [(name, *_row(name, fact)) for name, fact in context.found().items()]
    width = max(len(value) for _, value, _ in rows)
    for name, value, where in rows:
        yield f"{name:<{_NAMES}}  {value:<{width}}  {where}"
    yield from (f"takes part, too: {tool.value} ({tool.origin})" for tool in context.tools[1:])
    yield from (f"note: {note}" for note in context.notes)


def _row(name: str, fact: Fact) -> tuple[str, str]:
    if fact.origin:
        return fact.value or "no", fact.origin
    return "-", f"not in {', '.join(looked_at(name))}"
