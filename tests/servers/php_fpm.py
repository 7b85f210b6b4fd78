"""php-fpm as it runs on web nodes: a master with its pools, and a client that runs PHP in them."""

import base64
import json
import os
import re
import socket
import struct
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, NamedTuple

from tests.servers.process import ServerProcess, free_port

_BEGIN, _END, _PARAMS, _STDIN, _STDOUT = 1, 3, 4, 5, 6
_ANY = "<?php eval(file_get_contents('php://input'));"


@dataclass(frozen=True, kw_only=True)
class Pool:
    """One pool: `settings` are lines of its section, `admin` its php_admin_values."""

    name: str = "www"
    tcp: bool = False
    user: str = "www-data"
    children: int = 2
    settings: Mapping[str, str] = field(default_factory=dict)
    admin: Mapping[str, str] = field(default_factory=dict)


class Page(NamedTuple):
    """What a page answered."""

    status: int
    body: str


@dataclass(kw_only=True, eq=False)
class PhpFpm(ServerProcess):
    """One php-fpm master with small caches; `ini` is what its php.ini would say."""

    program: ClassVar[str] = "php-fpm8.2"

    pools: tuple[Pool, ...] = (Pool(),)
    ini: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    _ports: dict[str, int] = field(default_factory=dict, init=False, repr=False)

    def argv(self) -> list[str]:
        usual = {
            "apc.shm_size": "8M",
            "opcache.memory_consumption": "16",
            "opcache.validate_timestamps": "0",
            "opcache.file_update_protection": "2",
            "display_errors": "0",
        }
        ini = [f"-d{name}={value}" for name, value in {**usual, **self.ini}.items()]
        return ["-F", "-O", "-R", "-y", str(self.data_dir / "fpm.conf"), *ini]

    def prepare(self) -> None:
        # Pools run as another user, who is to come through.
        self.data_dir.chmod(0o711)
        self._ports = {pool.name: free_port(self.host) for pool in self.pools if pool.tcp}
        lines = ["[global]", f"error_log = {self.data_dir}/fpm.log", "daemonize = no"]
        lines += [f"{name} = {value}" for name, value in self.options.items()]
        for pool in self.pools:
            lines += self._section(pool)
        (self.data_dir / "fpm.conf").write_text("\n".join(lines) + "\n")
        self.write("any.php", _ANY, age=-86400)

    def _section(self, pool: Pool) -> Iterator[str]:
        yield f"[{pool.name}]"
        yield f"user = {pool.user}"
        yield f"group = {'nogroup' if pool.user == 'nobody' else pool.user}"
        yield f"listen = {self.listening(pool.name).removeprefix('unix:')}"
        yield "pm = static"
        yield f"pm.max_children = {pool.children}"
        yield from (f"{name} = {value}" for name, value in pool.settings.items())
        yield from (f"php_admin_value[{name}] = {value}" for name, value in pool.admin.items())

    def is_ready(self) -> bool:
        try:
            for pool in self.pools:
                self._connect(pool.name).close()
        except OSError:
            return False
        return True

    def listening(self, pool: str = "www") -> str:
        """Where a pool listens, as the settings of `apc` take it."""
        if port := self._ports.get(pool):
            return f"{self.host}:{port}"
        return str(self.data_dir / f"{pool}.sock")

    @property
    def sockets(self) -> tuple[str, ...]:
        return tuple(self.listening(pool.name) for pool in self.pools)

    def write(self, name: str, content: str, *, age: float = 60.0) -> Path:
        """Write a script that is so many seconds old, for OPcache takes none that is new."""
        path = self.data_dir / "www" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        then = time.time() - age
        os.utime(path, (then, then))
        return path

    def php(self, code: str, pool: str = "www") -> str:
        """Run code in a pool, and leave nothing of it in OPcache."""
        page = self.run(self.data_dir / "www" / "any.php", pool, body=code.encode())
        assert page.status == 200, f"{page}\n{self.log_tail()}"
        return page.body

    def put(self, *keys: str, pool: str = "www") -> None:
        """Store values `old` in APCu, as an application does."""
        self.php(f"foreach ({as_php(keys)} as $key) apcu_store($key, 'old');", pool)

    def there(self, *keys: str, pool: str = "www") -> set[str]:
        """Tell which keys an application finds in APCu."""
        found = self.php(f"echo json_encode(array_filter({as_php(keys)}, 'apcu_exists'));", pool)
        read = json.loads(found)
        return set(read.values() if isinstance(read, dict) else read)

    def is_cached(self, *scripts: Path, pool: str = "www") -> list[bool]:
        """Tell of each script whether OPcache has it."""
        paths = as_php([str(script) for script in scripts])
        read = self.php(f"echo json_encode(array_map('opcache_is_script_cached', {paths}));", pool)
        return list(json.loads(read))

    @property
    def restarts(self) -> int:
        """How often OPcache was restarted because somebody asked for it."""
        counts = "opcache_get_status(false)['opcache_statistics']"
        return int(self.php(f"echo {counts}['manual_restarts'];"))

    def run(self, script: Path | str, pool: str = "www", *, body: bytes = b"") -> Page:
        """Ask a pool for a script, as a web server does."""
        with self._connect(pool) as connection:
            connection.sendall(_request(str(script), body))
            answer = b"".join(_output(connection))
        head, _, content = answer.partition(b"\r\n\r\n")
        status = re.search(rb"^Status: (\d+)", head, re.MULTILINE)
        return Page(int(status[1]) if status else 200, content.decode(errors="replace"))

    def _connect(self, pool: str) -> socket.socket:
        where = self.listening(pool)
        connection = socket.socket(socket.AF_UNIX if where[0] == "/" else socket.AF_INET)
        connection.settimeout(30.0)
        try:
            if where[0] == "/":
                connection.connect(where)
            else:
                connection.connect((self.host, self._ports[pool]))
        except OSError:
            connection.close()
            raise
        return connection


def as_php(value: object) -> str:
    """Write a value as PHP."""
    text = base64.b64encode(json.dumps(value).encode()).decode()
    return f"json_decode(base64_decode('{text}'), true)"


def _request(script: str, body: bytes) -> bytes:
    params = {
        "SCRIPT_FILENAME": script,
        "REQUEST_METHOD": "POST",
        "CONTENT_TYPE": "text/plain",
        "CONTENT_LENGTH": str(len(body)),
    }
    pairs = b"".join(
        struct.pack(">BI", len(name), len(os.fsencode(value)) | 0x80000000)
        + name.encode()
        + os.fsencode(value)
        for name, value in params.items()
    )
    sent = [_record(_BEGIN, struct.pack(">HB5x", 1, 0)), _record(_PARAMS, pairs)]
    chunks = (body[at : at + 65535] for at in range(0, len(body), 65535))
    sent += [_record(_PARAMS, b""), *(_record(_STDIN, chunk) for chunk in chunks)]
    return b"".join([*sent, _record(_STDIN, b"")])


def _record(kind: int, content: bytes) -> bytes:
    return struct.pack(">BBHHxx", 1, kind, 1, len(content)) + content


def _output(connection: socket.socket) -> Iterator[bytes]:
    with connection.makefile("rb") as stream:
        while head := stream.read(8):
            _, kind, _, length, padding, _ = struct.unpack(">BBHHBB", head)
            content = stream.read(length + padding)[:length]
            if kind == _END:
                return
            if kind == _STDOUT:
                yield content
