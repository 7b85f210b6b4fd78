"""What became of the entries that a prime stores or a clear removes, for caches of keys."""

from dataclasses import dataclass, field, replace

from cachekit.caches.base import Change
from cachekit.model import shown

_NAMED = 5


@dataclass(kw_only=True)
class Tally:
    """What became of the entries so far; `problems` names some of those that are not there."""

    found: int = 0
    stored: int = 0
    present: int = 0
    skipped: int = 0
    left: int = 0
    evicted: int = 0
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def fail(self, key: bytes, reason: str) -> None:
        """Count an entry that is not there afterwards."""
        self.left += 1
        if len(self.problems) < _NAMED:
            name = shown(key.decode("utf-8", "backslashreplace"))
            self.problems.append(f"{name}: {reason}")

    def add(self, other: "Tally") -> None:
        """Count what became of other entries, too."""
        self.found += other.found
        self.stored += other.stored
        self.present += other.present
        self.skipped += other.skipped
        self.left += other.left
        self.evicted += other.evicted
        self.problems = [*self.problems, *other.problems][:_NAMED]
        self.notes += other.notes

    def change(self) -> Change:
        """Give what was done, with what proves it: nothing does, once entries were evicted."""
        change = Change(
            found=self.found,
            stored=self.stored,
            present=self.present,
            skipped=self.skipped,
            left=self.left,
            warnings=(*self.problems, *self.notes),
        )
        if self.evicted:
            evicted = f"{self.evicted:,} entries were evicted meanwhile, perhaps some of these"
            return replace(change, left=self.left or None, warnings=(*change.warnings, evicted))
        if there := self.stored + self.present:
            looked_up = f"{there:,} looked up after each batch"
            return replace(change, evidence=(looked_up, "nothing was evicted"))
        return change


def cleared(removed: int, left: int) -> Change:
    """Give what a clear did that has looked again for what it removed."""
    return Change(
        found=removed + left,
        removed=removed,
        left=left,
        evidence=(f"looked for again afterwards: {left:,} there",),
        warnings=(f"{left:,} are still being written",) if left else (),
    )
