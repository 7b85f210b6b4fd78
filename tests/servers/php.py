"""Real PHP, to read what was written for it."""

import json
import subprocess
from typing import Any

from tests.servers.process import require_program

_READ = """
$asked = json_decode(stream_get_contents(STDIN), true);
$client = new Memcached();
foreach ($asked['options'] as [$name, $value]) { $client->setOption(constant($name), $value); }
$client->addServers($asked['servers']);
$found = [];
foreach ($asked['keys'] as $key) {
    $value = $client->get($key);
    if ($client->getResultCode() === Memcached::RES_SUCCESS) { $found[$key] = $value; }
}
foreach ($asked['set'] as $key => $value) { $client->set($key, $value, 3600); }
echo json_encode((object) $found);
"""


def memcached(
    servers: list[tuple[str, int, int]],
    *,
    keys: list[str] | None = None,
    put: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Read keys, then write others, as a PHP application with php-memcached does.

    Option values that name a constant, such as `Memcached::HASH_CRC`, are given as numbers.
    """
    asked = {
        "servers": servers,
        "keys": keys or [],
        "set": put or {},
        "options": [(f"Memcached::{name}", value) for name, value in (options or {}).items()],
    }
    done = subprocess.run(
        [require_program("php"), "-r", _READ],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found
