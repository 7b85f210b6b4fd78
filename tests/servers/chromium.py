"""A real browser, without a screen: what it makes of a page, what it says of it, and a picture."""

import functools
import html
import http.server
import json
import re
import struct
import subprocess
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.servers.process import require_program

_GUARD_SECONDS = 60
# Without these it asks Google's hosts for news at every start.
_QUIET = (
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_CONSOLE = re.compile(r":CONSOLE(?:\(\d+\)|:\d+)\] (.*)")
_MEASURED = re.compile(r'<pre id="measured">(.*?)</pre>', re.DOTALL)
# A page around the page, as no window is as narrow as a telephone. It has what the script finds.
_FRAME = """<!DOCTYPE html><meta name="color-scheme" content="light dark"><body style="margin: 0">
<iframe width="%d" height="%d" src="%s" style="border: 0"></iframe><pre id="measured"></pre>
<script>
document.querySelector("iframe").onload = event => {
  const page = event.target.contentDocument, view = event.target.contentWindow;
  document.querySelector("pre").textContent = JSON.stringify((%s)(page, view));
};
</script>"""


@dataclass(frozen=True)
class Picture:
    """What is seen: rows of red, green and blue bytes."""

    width: int
    rows: tuple[bytes, ...]

    def pixel(self, x: int, y: int) -> tuple[int, int, int]:
        red, green, blue = self.rows[y][3 * x : 3 * x + 3]
        return red, green, blue

    def count(self, colour: tuple[int, int, int]) -> int:
        """Count the pixels of a colour."""
        pixels = (self.pixel(x, y) for y in range(len(self.rows)) for x in range(self.width))
        return sum(pixel == colour for pixel in pixels)


@dataclass(frozen=True)
class Seen:
    """One look at a page: its document, what the console says, and how it looks."""

    dom: str
    console: tuple[str, ...]
    picture: Path

    @property
    def measured(self) -> Any:
        """What the script of `frame` found."""
        found = _MEASURED.search(self.dom)
        assert found, self.dom
        return json.loads(html.unescape(found[1]))


def look(
    url: str, folder: Path, *, size: tuple[int, int] = (1000, 600), dark: bool = False
) -> Seen:
    """Open a page in a browser of its own."""
    program, picture = require_program("chromium"), folder / "picture.png"
    done = subprocess.run(
        [
            program,
            *("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            *_QUIET,
            f"--user-data-dir={folder / 'profile'}",
            f"--window-size={size[0]},{size[1]}",
            f"--blink-settings=preferredColorScheme={0 if dark else 1}",
            "--enable-logging=stderr",
            f"--screenshot={picture}",
            "--dump-dom",
            url,
        ],
        check=True,
        capture_output=True,
        text=True,
        timeout=_GUARD_SECONDS,
    )
    return Seen(done.stdout, tuple(_CONSOLE.findall(done.stderr)), picture)


def frame(page: str, width: int, script: str, *, height: int = 800) -> str:
    """Write a page that opens another so wide, and has what the script says of it.

    The script is a function of its document and its window.
    """
    return _FRAME % (width, height, page, script)


@contextmanager
def serving(folder: Path, policy: str = "") -> Iterator[str]:
    """Serve a folder; with a policy, all but what is named `frame-…` is under it. Gives the URL."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def end_headers(self) -> None:
            if policy and not self.path.startswith("/frame-"):
                self.send_header("Content-Security-Policy", policy)
            super().end_headers()

        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def read_picture(path: Path) -> Picture:
    """Read a PNG of 8 bits red, green and blue, as the browser writes it (RFC 2083)."""
    data, at, packed, width = path.read_bytes(), 8, b"", 0
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            width, _, *form = struct.unpack(">IIBBBBB", body)
            assert form == [8, 2, 0, 0, 0]
        packed += body if kind == b"IDAT" else b""
        at += length + 12
    raw, stride = zlib.decompress(packed), 3 * width + 1
    rows = [bytes(stride + 2)]
    for start in range(0, len(raw), stride):
        rows.append(_unfiltered(raw[start], raw[start + 1 : start + stride], rows[-1]))
    return Picture(width, tuple(row[3:] for row in rows[1:]))


def _unfiltered(kind: int, line: bytes, above: bytes) -> bytes:
    """Undo the filter of one row; the rows have a pixel of zeros before them."""
    row = bytearray(3)
    for index, byte in enumerate(line):
        left, up, corner = row[index], above[index + 3], above[index]
        row.append((byte + _predicted(kind, left, up, corner)) & 255)
    return bytes(row)


def _predicted(kind: int, left: int, up: int, corner: int) -> int:
    if kind < 4:
        return (0, left, up, (left + up) // 2)[kind]
    guess = left + up - corner
    return min((left, up, corner), key=lambda each: abs(guess - each))
