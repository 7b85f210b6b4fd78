"""How a fault is told: where in the settings it stands, and what was expected there."""

import re

KeyPath = tuple[str | int, ...]
Fault = tuple[KeyPath, str]
"""A key path as it stands in the settings file, and what was expected there; no value is quoted."""


def show_path(path: KeyPath) -> str:
    """Write a key path for people: `nodes.web1.groups[0]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            plain = re.fullmatch(r"[\w-]+", part)
            text += ("." if text else "") + (part if plain else repr(part))
    return text
