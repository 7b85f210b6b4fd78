"""The facts of a deploy, each with the place where it was found."""

from dataclasses import dataclass

from cachekit.model import shown

_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that is known, and where it was found; both are empty for what is not known."""

    value: str = ""
    origin: str = ""


UNKNOWN = Fact()

FACTS = (
    "tool",
    "release",
    "previous",
    "nodes",
    "environment",
    "actor",
    "run_url",
    "rollback",
)


@dataclass(frozen=True, kw_only=True)
class Context:
    """What is known of a deploy.

    `nodes` are names or addresses with commas between them, `rollback` is `true` or not known.
    `previous` belongs to this `release`: who replaces one must replace both. `tools` are all that
    take part, the innermost first; `notes` tell what was found and could not be used.
    """

    tool: Fact = UNKNOWN
    release: Fact = UNKNOWN
    previous: Fact = UNKNOWN
    nodes: Fact = UNKNOWN
    environment: Fact = UNKNOWN
    actor: Fact = UNKNOWN
    run_url: Fact = UNKNOWN
    rollback: Fact = UNKNOWN
    tools: tuple[Fact, ...] = ()
    notes: tuple[str, ...] = ()

    def facts(self) -> dict[str, str]:
        """Give the values by name, empty where not known: for placeholders, and for reports."""
        return {name: fact.value for name, fact in self.found().items()}

    def found(self) -> dict[str, Fact]:
        """Give the facts by name, in the order in which they are shown."""
        return {name: getattr(self, name) for name in FACTS}


def fault_of(value: str, longest: int) -> str:
    """Say what is wrong with a text that came from outside; "" if it can be a value."""
    if len(value) > longest:
        return f"is longer than {longest:,} characters"
    if not value.isprintable():
        return f"has characters that do not print: {shown(value[:_SHOWN])}"
    return ""
