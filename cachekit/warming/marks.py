"""A set of small whole numbers, one bit each.

Which targets of a node are done, at 10 million of them.
"""


class Marks:
    """Numbers from 0 to `size` - 1 that were marked."""

    def __init__(self, size: int) -> None:
        self._bits = bytearray((size + 7) >> 3)
        self.count = 0

    def add(self, number: int) -> None:
        """Mark a number."""
        if number not in self:
            self._bits[number >> 3] |= 1 << (number & 7)
            self.count += 1

    def __contains__(self, number: int) -> bool:
        return bool(self._bits[number >> 3] & 1 << (number & 7))
