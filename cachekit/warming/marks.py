"""Which targets of one node are done, a byte each: what a pass need not ask, and what it may."""

import hashlib
from collections.abc import Callable
from itertools import compress, count

from cachekit.events import FILL, VERIFY, TargetDone


class Marks:
    """`ok` in the fill pass, so that they are worth verifying; `before` in a run that is resumed.

    Both by ordinal. `name` is that of run and node: each samples other targets.
    """

    def __init__(self, size: int, name: str) -> None:
        self.ok = bytearray(size)
        self._salt = hashlib.blake2b(name.encode(errors="surrogateescape"), digest_size=16).digest()
        self._before: dict[str, bytearray] = {}

    def add_before(self, done: TargetDone) -> None:
        """Mark what an earlier run did."""
        marks = self._before.setdefault(done.pass_name, bytearray(len(self.ok)))
        marks[done.ordinal] = 1

    def wanted(self, pass_name: str, share: float) -> Callable[[int], object] | None:
        """Give the test which ordinals a pass asks; None for all."""
        before = self._before.get(pass_name)
        if pass_name == FILL:
            return None if before is None else lambda number: not before[number]
        ok, sampled = self.ok, self._sampled(share)
        if before is None:
            return ok.__getitem__ if share == 1 else lambda n: bool(ok[n]) and sampled(n)
        return lambda n: bool(ok[n]) and not before[n] and sampled(n)

    def left_to_verify(self, share: float) -> int:
        """Estimate how many targets the verify pass will ask."""
        return max(0, round(self.ok.count(1) * share) - self._before.get(VERIFY, b"").count(1))

    def _sampled(self, share: float) -> Callable[[int], bool]:
        """Choose evenly scattered ordinals, at least one, and the same when a run is resumed."""
        limit, salt = int(share * 2**32), self._salt

        def chosen(number: int) -> bool:
            digest = hashlib.blake2b(number.to_bytes(8, "big"), digest_size=4, salt=salt).digest()
            return int.from_bytes(digest, "big") < limit

        if share < 1 and not any(map(chosen, compress(count(), self.ok))):
            return self.ok.find(1).__eq__
        return chosen
