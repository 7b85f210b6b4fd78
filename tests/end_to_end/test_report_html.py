"""The HTML report in a real browser: under strict policies, light and dark, wide and narrow."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cachekit.demo.site import open_site
from cachekit.reports import html
from cachekit.runs import RunReport
from tests import run_samples
from tests.command import Cachekit
from tests.servers.chromium import Seen, frame, look, read_picture, serving

pytestmark = [pytest.mark.server, pytest.mark.end_to_end]

STRICT = "default-src 'none'"
FAILED, WHITE = (200, 30, 30), (255, 255, 255)
# Of each plot: its size, the places and colours of its curves, and what text is cut off.
SCRIPT = """(page, view) => {
  const style = each => view.getComputedStyle(each);
  const inside = (one, other) => one.left >= other.left - 1 && one.right <= other.right + 1
    && one.top >= other.top - 1 && one.bottom <= other.bottom + 1;
  return {
    width: view.innerWidth,
    scroll: page.documentElement.scrollWidth,
    wide: [...page.querySelectorAll(".wide")].map(each => each.scrollWidth - each.clientWidth),
    ink: style(page.body).color,
    paper: style(page.querySelector("section")).backgroundColor,
    soft: style(page.querySelector("small")).color,
    charts: [...page.querySelectorAll("svg.chart")].map(chart => ({
      box: chart.getBoundingClientRect(),
      curves: [...chart.querySelectorAll("path")].map(path => style(path).stroke),
      text: style(chart.querySelector("text")).fill,
      holds: [...chart.children].every(
        each => inside(each.getBoundingClientRect(), chart.getBoundingClientRect())),
    })),
    bars: [...page.querySelectorAll("table.timeline td rect")].map(
      bar => bar.getBoundingClientRect().width),
    badge: style(page.querySelector("svg.badge rect")).fill,
    text: page.body.innerText,
  };
}"""
Show = Callable[..., Seen]


@pytest.fixture
def show(tmp_path: Path) -> Show:
    """Look at the page of a run in a window so wide, under a policy."""

    def opened(run: RunReport, *, width: int = 1000, policy: str = "", dark: bool = False) -> Seen:
        page = html.render(run)
        (tmp_path / "page.html").write_text(page, encoding="utf-8")
        (tmp_path / "frame-page.html").write_text(frame("page.html", width, SCRIPT))
        with serving(tmp_path, policy) as url:
            return look(f"{url}/frame-page.html", tmp_path, dark=dark)

    return opened


def lightness(colour: str) -> float:
    """Give the relative luminance of `rgb(r, g, b)` (WCAG 2.2)."""
    parts = [int(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((lightness(one), lightness(other)))
    return (high + 0.05) / (low + 0.05)


def assert_reads_well(found: dict[str, Any]) -> None:
    text = found["text"].replace("\u200b", "")
    for said in (
        "deploy r42 on http://shop.example",
        "7 of 10 steps done, 1 of 2 nodes in rotation",
        "No visitor reaches node2",
        "capistrano",
        "99.51%",
        "2 sessions were left after 4 s and were cut",
        "redirect to a login page",
        "http://shop.example/broken",
    ):
        assert said.lower() in text.lower()
    assert found["badge"] == f"rgb{FAILED}"
    assert len(found["charts"]) == 2
    for chart in found["charts"]:
        assert chart["holds"]
        assert chart["curves"][-2:] == ["rgb(59, 130, 246)", "rgb(234, 88, 12)"]
        assert chart["box"]["width"] > 250
    assert len(found["bars"]) == 9
    assert min(found["bars"]) > 1


@pytest.mark.parametrize(("width", "dark"), [(360, False), (360, True), (900, False), (1600, True)])
def test_reads_well_in_every_width_light_and_dark(show: Show, width: int, dark: bool) -> None:
    seen = show(run_samples.failed_roll(), width=width, dark=dark)
    found = seen.measured
    assert seen.console == ()
    assert_reads_well(found)
    assert found["scroll"] == width == found["width"]
    assert max(found["wide"]) <= 0
    assert (lightness(found["paper"]) < 0.05) is dark
    assert contrast(found["ink"], found["paper"]) > 7
    assert contrast(found["soft"], found["paper"]) > 4.5
    for chart in found["charts"]:
        assert contrast(chart["text"], found["paper"]) > 7
        assert all(contrast(curve, found["paper"]) > 3 for curve in chart["curves"][-2:])


@pytest.mark.parametrize("dark", [False, True])
def test_needs_no_style_to_be_read(show: Show, dark: bool) -> None:
    seen = show(run_samples.failed_roll(), policy=STRICT, dark=dark)
    found = seen.measured
    # The policy takes the style, and that is all there is for it to take.
    assert len(seen.console) == 1
    assert "inline style" in seen.console[0]
    assert found["paper"] == "rgba(0, 0, 0, 0)"
    assert_reads_well(found)
    assert found["scroll"] == found["width"]
    assert (lightness(found["ink"]) > 0.9) is dark
    assert all(chart["text"] == found["ink"] for chart in found["charts"])
    picture = read_picture(seen.picture)
    assert (picture.pixel(picture.width - 1, 5) == WHITE) is not dark
    assert picture.count(FAILED) > 5000  # of the badge, which no style has drawn


def test_the_file_of_a_real_warm_opens_as_it_is(tmp_path: Path) -> None:
    cachekit = Cachekit(tmp_path)
    with open_site(None) as site:
        (tmp_path / "cachekit.yaml").write_text(site.settings)
        done = cachekit.run("warm", "--html", "report.html", "--prometheus", "cachekit.prom")
    assert done.code == 1, done.stderr
    assert "NO-GO" in done.stdout
    assert {path.name for path in tmp_path.iterdir()} == {
        "cachekit.yaml", "state", "report.html", "cachekit.prom",
    }  # fmt: skip
    seen = look((tmp_path / "report.html").as_uri(), tmp_path, dark=True)
    assert seen.console == ()
    assert "warm of http://shop.example" in seen.dom
    assert "redirect to a login page" in seen.dom
    assert seen.dom.count('class="chart"') == 3
    assert read_picture(seen.picture).count(FAILED) > 5000


def test_a_hostile_name_does_nothing(show: Show) -> None:
    mean = "<script>document.title = 'gone'</script><img src=x onerror=alert(1)>\"'\u202e\x1b[2J"
    seen = show(run_samples.named(mean))
    assert seen.console == ()
    assert "<script>document.title = 'gone'</script>" in seen.measured["text"]
    assert "\\u202e\\x1b[2J" in seen.measured["text"]
