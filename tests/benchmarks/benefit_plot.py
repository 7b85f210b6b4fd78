"""The curves of `benefit` as one SVG file, for light and dark pages."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

Curve = Sequence[tuple[float, float]]

_WIDTH, _HEIGHT = 720, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 104, 34, 44
_STYLE = """\
<style>
  text { font: 12px system-ui, sans-serif; fill: #333 }
  .title { font-weight: 600 }
  .grid { stroke: #8884 }
  .end { stroke: #888; stroke-dasharray: 4 3 }
  .curve { fill: none; stroke-width: 2.2; stroke-linejoin: round }
  .c0 { stroke: #999 } .c1 { stroke: #d9730d } .c2 { stroke: #0a7d4b }
  text.c0 { fill: #777; stroke: none }
  text.c1 { fill: #b85c00; stroke: none }
  text.c2 { fill: #0a7d4b; stroke: none; font-weight: 600 }
  @media (prefers-color-scheme: dark) {
    text { fill: #ccc } text.c0 { fill: #aaa } text.c1 { fill: #f0a050 } text.c2 { fill: #4cc38a }
    .c1 { stroke: #f0a050 } .c2 { stroke: #4cc38a }
  }
</style>
"""


@dataclass(frozen=True, kw_only=True)
class Plot:
    """Up to three curves of shares (0 to 1) over the seconds since the end of a deploy."""

    title: str
    first: float
    last: float
    curves: Mapping[str, Curve]

    def svg(self) -> str:
        """Give the whole file."""
        lines = [*self._frame(), *self._drawn()]
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}"'
            f' role="img">\n<title>{self.title}</title>\n{_STYLE}' + "\n".join(lines) + "\n</svg>\n"
        )

    def _x(self, seconds: float) -> float:
        share = (seconds - self.first) / (self.last - self.first)
        return round(_LEFT + share * (_WIDTH - _LEFT - _RIGHT), 1)

    def _y(self, share: float) -> float:
        return round(_HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM), 1)

    def _frame(self) -> Iterator[str]:
        left, right, bottom = self._x(self.first), self._x(self.last), self._y(0)
        yield f'<text class="title" x="{left}" y="18">{self.title}</text>'
        for share in (0, 0.25, 0.5, 0.75, 1):
            yield f'<path class="grid" d="M{left} {self._y(share)}H{right}"/>'
            yield _text(left - 8, self._y(share) + 4, f"{share:.0%}", "end")
        for seconds in range(10 * round(self.first / 10), int(self.last) + 1, 10):
            yield _text(self._x(seconds), bottom + 18, f"{seconds} s", "middle")
        yield f'<path class="end" d="M{self._x(0)} {bottom}V{self._y(1)}"/>'
        yield _text(self._x(0), bottom + 36, "end of the deploy", "middle")

    def _drawn(self) -> Iterator[str]:
        inside = {
            name: [point for point in curve if self.first <= point[0] <= self.last]
            for name, curve in self.curves.items()
        }
        heights = _apart([self._y(curve[-1][1]) + 4 for curve in inside.values()])
        for number, (name, curve) in enumerate(inside.items()):
            points = " ".join(f"{self._x(seconds)},{self._y(share)}" for seconds, share in curve)
            yield f'<polyline class="curve c{number}" points="{points}"/>'
            at = f'x="{self._x(self.last) + 8}" y="{heights[number]}"'
            yield f'<text class="c{number}" {at}>{name}</text>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{text}</text>'


def _apart(heights: Sequence[float], least: float = 15.0) -> list[float]:
    """Move labels down until none lies over another."""
    order = sorted(range(len(heights)), key=lambda at: heights[at])
    moved = list(heights)
    for upper, lower in pairwise(order):
        moved[lower] = max(moved[lower], moved[upper] + least)
    return moved
