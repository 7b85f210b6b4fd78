"""The first look at each node: only what serves the site is ok."""

from pathlib import Path

import pytest

from cachekit.errors import ConfigError
from cachekit.model import Expect, Node, parse_address
from cachekit.results import Probe
from cachekit.settings import Settings, WarmList, WarmSettings
from cachekit.sources.url_list import UrlFile
from cachekit.warming.probe import probe
from tests.servers.origin import Origin


def look(origin: Origin, settings: Settings | None = None) -> Probe:
    node = Node(name="web1", address=parse_address(origin.address))
    (found,) = probe(settings or Settings(site="http://shop.example"), [node])
    return found


@pytest.mark.parametrize("status", [401, 403, 404, 421, 500, 503])
def test_a_node_that_refuses_the_site_is_not_ok(origin: Origin, status: int) -> None:
    origin.page("/", status=status)
    found = look(origin)
    assert not found.ok
    assert found.found.startswith(f"status {status} in ")


@pytest.mark.parametrize(
    ("location", "ok"),
    [("/en/", True), ("https://shop.example/", True), ("https://parked.example/", False)],
)
def test_a_redirect_is_ok_within_the_site(origin: Origin, location: str, ok: bool) -> None:
    origin.page("/", status=302, headers={"Location": location})
    assert look(origin).ok == ok


def test_a_status_that_is_expected_is_ok(origin: Origin) -> None:
    expected = WarmSettings(expect=Expect(status=(404,)))
    settings = Settings(site="http://shop.example", warm=expected)
    assert not look(origin, settings).ok
    origin.page("/", status=404)
    assert look(origin, settings).ok


def test_a_list_that_is_missing_is_told_before_a_node_is_asked(
    origin: Origin, tmp_path: Path
) -> None:
    lists = {"top": WarmList(source=UrlFile(file=tmp_path / "gone.txt"))}
    with pytest.raises(ConfigError, match=r"warmlists\.top\.file: .*gone\.txt cannot be read"):
        look(origin, Settings(site="http://shop.example", warmlists=lists))
    assert origin.requests == []
