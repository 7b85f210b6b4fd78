"""Clears and primes of php-fpm's memory beside the least that could do the same on the node."""

import json
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from cachekit.caches.apc import Apc
from cachekit.caches.base import Conditions, Filling, Place
from cachekit.deadline import Deadline
from cachekit.model import Node, parse_address
from cachekit.scope import EVERYTHING
from tests.benchmarks.harness import Bar, Bench, at_most, print_table
from tests.servers.php_fpm import PhpFpm
from tests.servers.process import require_program

TITLE = "milliseconds beside bare PHP; 20,000 keys of APCu with values of 100 bytes"

KEYS = 20_000
TURNS = 9
BARS = {"clear": 4.0, "prime": 2.0}
NODE = Node(name="web1", address=parse_address("127.0.0.1"))

# What stores the same records in the pool, and nothing else: neither checked nor looked for.
_STORE = """<?php
foreach (explode("\\n", file_get_contents('php://input')) as $line) {
    $read = json_decode($line, true);
    apcu_store($read['key'], $read['value'], $read['ttl']);
}
echo apcu_cache_info(true)['num_entries'];
"""

# The least of a FastCGI client: it sends a file to a script, and prints what comes back.
_CLIENT = """<?php
list(, $socket, $script, $file) = $argv;
$record = function ($type, $content) {
    return pack('CCnnxx', 1, $type, 1, strlen($content)) . $content;
};
$body = file_get_contents($file);
$params = '';
foreach ([
    'SCRIPT_FILENAME' => $script, 'REQUEST_METHOD' => 'POST',
    'CONTENT_TYPE' => 'text/plain', 'CONTENT_LENGTH' => (string) strlen($body),
] as $name => $value) {
    $params .= pack('CN', strlen($name), strlen($value) | 0x80000000) . $name . $value;
}
$pool = stream_socket_client("unix://$socket");
fwrite($pool, $record(1, pack('nCx5', 1, 0)) . $record(4, $params) . $record(4, ''));
foreach (str_split($body, 65528) as $piece) {
    fwrite($pool, $record(5, $piece));
}
fwrite($pool, $record(5, ''));
echo stream_get_contents($pool);
"""


@dataclass(frozen=True)
class Stand:
    """A master, the cache over it, and the bare way to the same."""

    fpm: PhpFpm
    parts: Mapping[str, Apc]
    place: Place

    @property
    def conditions(self) -> Conditions:
        """Give each action a minute."""
        return Conditions(deadline=Deadline(60), state_dir=Path("/nonexistent"))

    def clear(self) -> None:
        """Clear both segments, as `cachekit clear --everything` does."""
        for part in self.parts.values():
            assert part.clear(self.place, EVERYTHING, self.conditions).evidence


def measure(bench: Bench) -> list[Bar]:
    """Do each thing both ways, turn after turn; compare the medians of their times."""
    with PhpFpm(ini={"apc.shm_size": "64M"}) as fpm:
        apc = Apc(on=("web1",), sockets=fpm.sockets)
        (place,) = apc.places({"web1": NODE})
        stand = Stand(fpm, apc.parts(), place)
        found = {
            "clear": _compared(bench, stand.clear, _bare_php),
            "prime": _compared(bench, *_primes(bench, stand), before=stand.clear),
        }
    print_table(
        ("", "cachekit", "bare", "ratio"),
        [
            (name, f"{ours * 1e3:.1f}", f"{bare * 1e3:.1f}", f"{ours / bare:.2f}")
            for name, (ours, bare) in found.items()
        ],
    )
    return [
        at_most(f"apc: {name} / bare", ours / bare, BARS[name])
        for name, (ours, bare) in found.items()
    ]


def _compared(
    bench: Bench,
    ours: Callable[[], object],
    bare: Callable[[], object],
    before: Callable[[], object] = lambda: None,
) -> tuple[float, float]:
    seconds: dict[Callable[[], object], list[float]] = {ours: [], bare: []}
    for _ in range(bench.rounds * TURNS):
        for way, taken in seconds.items():
            before()
            began = time.perf_counter()
            way()
            taken.append(time.perf_counter() - began)
    return median(seconds[ours]), median(seconds[bare])


def _bare_php() -> None:
    subprocess.run([require_program("php"), "-n", "-r", ""], check=True)


def _primes(bench: Bench, stand: Stand) -> tuple[Callable[[], object], Callable[[], object]]:
    records = bench.new_path(".jsonl")
    records.write_text(
        "\n".join(
            json.dumps({"key": f"shop:product:{number}", "value": "v" * 100, "ttl": 3600})
            for number in range(KEYS)
        )
    )
    script = stand.fpm.write("store.php", _STORE)
    client = bench.new_path(".php")
    client.write_text(_CLIENT)
    argv = [require_program("php"), "-n", str(client), stand.fpm.listening(), str(script)]

    def ours() -> None:
        filling = Filling(kind="file", value=str(records))
        change = stand.parts["user"].prime([stand.place], filling, stand.conditions)
        assert (change.stored, change.left) == (KEYS, 0)

    def bare() -> None:
        done = subprocess.run([*argv, str(records)], capture_output=True, check=True)
        assert str(KEYS).encode() in done.stdout

    return ours, bare
