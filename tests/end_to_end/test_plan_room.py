"""A plan that would prime beside a live release without room is refused before it is run."""

import json
from pathlib import Path

import pytest

from tests.command import Cachekit
from tests.servers.memcached import Memcached

pytestmark = [pytest.mark.server, pytest.mark.end_to_end]

SETTINGS = """\
site: http://shop.example
nodes: {{web1: {{address: 127.0.0.2}}}}
caches:
  objects: {{type: memcache, servers: "{address}", namespace: "shop:{{release}}:"}}
plans:
  deploy: [{{prime: objects, from: "file:records.jsonl"}}]
"""


def test_priming_beside_a_live_release_wants_room(cachekit: Cachekit, tmp_path: Path) -> None:
    with Memcached(megabytes=8) as server:
        text = SETTINGS.format(address=f"127.0.0.1:{server.port}")
        (cachekit.folder / "cachekit.yaml").write_text(text)
        record = {"key": "shop:{release}:page", "value": "x" * 100_000}
        lines = [json.dumps({**record, "key": f"shop:{{release}}:{n}"}) for n in range(200)]
        (cachekit.folder / "records.jsonl").write_text("\n".join(lines))
        refused = cachekit.run("plan", "deploy", "--release", "r2", "--state-dir", str(tmp_path))
        assert refused.code == 2, refused.stdout
        assert "would go into" in refused.stdout
        (cachekit.folder / "records.jsonl").write_text("\n".join(lines[:10]))
        fits = cachekit.run("plan", "deploy", "--release", "r2", "--state-dir", str(tmp_path))
        assert fits.code == 0, fits.stdout
