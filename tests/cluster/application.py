"""The shop that runs on the cluster: PHP in releases that differ in template, data and asset."""

import json
from pathlib import Path

SOURCES = Path(__file__).parent / "shop"
RELEASES = {"r1": "r1", "r2": "r2", "r3": "r2"}
"""All releases that are on the nodes, and whose sources they are made from."""
PRODUCTS = 40
CART = "/cart"


def product(number: int) -> str:
    """Name the page of a product."""
    return f"/product/{number}"


def asset(release: str) -> str:
    """Name the style sheet of a release, which browsers keep for a year."""
    return f"/assets/{release}/shop.css"


def pages(products: int = PRODUCTS) -> list[str]:
    """Name all pages that can be cached, the most asked first."""
    return ["/", "/category/lamps", "/about", *map(product, range(1, products + 1))]


def build(shop: Path, release: str) -> None:
    """Put a release on a node, beside those that are there.

    Assets of all releases are kept: while nodes differ, a page of one may ask another for them.
    """
    own, target = SOURCES / RELEASES[release], shop / "releases" / release
    for source in (SOURCES / "common", own):
        for path in filter(Path.is_file, source.rglob("*")):
            _write(target / path.relative_to(source), path.read_text(), release)
    style = shop / "shared" / "assets" / release / "shop.css"
    _write(style, (own / "shop.css").read_text(), release)


def _write(path: Path, text: str, release: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.replace("%RELEASE%", release))


def records(release: str, products: int = PRODUCTS) -> str:
    """Write what a release like `r2` keeps in memcached, as JSON lines for a prime."""
    values = {
        "category:lamps": {"release": release, "lines": ["Lamps by brightness"]},
        **{
            f"product:{number}": {
                "release": release,
                "title": f"Lamp {number}",
                "price": {"amount": 100 * number + 50, "currency": "EUR"},
            }
            for number in range(1, products + 1)
        },
    }
    lines = ({"key": "shop:{release}:" + key, "value": value} for key, value in values.items())
    return "".join(json.dumps(line) + "\n" for line in lines)
