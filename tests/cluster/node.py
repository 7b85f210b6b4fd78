"""One web node of the cluster: a machine of its own with everything that a page meets on it."""

import http.client
import shutil
import socket
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Self, TypeVar

from tests.cluster import application
from tests.servers.machine import Machine
from tests.servers.memcached import Memcached
from tests.servers.nginx import NginxProcess
from tests.servers.php_fpm import PhpFpm, Pool
from tests.servers.process import ServerProcess
from tests.servers.redis import RedisServer
from tests.servers.sshd import SshClient
from tests.servers.varnish import Varnish, clearable

SERVER = """\
  access_log off;
  server {{
    {listen}
    root /srv/shop/current;
    location / {{
      fastcgi_param SCRIPT_FILENAME $realpath_root/index.php;
      fastcgi_param REQUEST_METHOD $request_method;
      fastcgi_param REQUEST_URI $request_uri;
      fastcgi_pass unix:{pool};
    }}
    location ~ ^/assets/(?<release>[^/]+)/ {{
      root /srv/shop/shared;
      types {{ text/css css; }}
      add_header Cache-Control "public, max-age=31536000, immutable";
      add_header X-Release $release;
    }}
  }}
"""

VCL = """
sub vcl_recv { if (req.url == "/alive") { return (synth(200)); } }
sub vcl_deliver {
  set resp.http.X-Node = server.identity;
  if (obj.hits > 0) { set resp.http.X-Cache = "HIT"; } else { set resp.http.X-Cache = "MISS"; }
}
"""

# Another release is live from one moment to the next.
SWITCH = """\
#!/bin/sh
set -e
echo "$1" >> /srv/shop/shared/switches.log
ln -sfn "releases/$1" /srv/shop/next
mv -T /srv/shop/next /srv/shop/current
"""

_Server = TypeVar("_Server", bound=ServerProcess)


class Page(NamedTuple):
    """What a node answers."""

    status: int
    headers: Mapping[str, str]
    body: str

    @property
    def is_hit(self) -> bool:
        """Whether Varnish had it."""
        return self.headers["x-cache"] == "HIT"


@dataclass(kw_only=True, eq=False)
class WebNode:
    """nginx, php-fpm, memcached, redis and Varnish, which listens in the folder `sockets`.

    That folder is shared with the rest of the world; all else is the node's own, and reached over
    ssh. `database_ms` is how long a look at the database takes.
    """

    name: str
    client: SshClient
    sockets: Path
    database_ms: int = 30
    machine: Machine = field(init=False)
    fpm: PhpFpm = field(init=False)
    varnish: Varnish = field(init=False)
    memcached: Memcached = field(init=False)
    redis: RedisServer = field(init=False)
    _stack: ExitStack = field(default_factory=ExitStack, init=False)

    @property
    def shop(self) -> Path:
        """The shop's folder, as seen from here."""
        return self.machine.srv / "shop"

    @property
    def socket(self) -> Path:
        """Where its Varnish is reached."""
        return self.sockets / f"{self.name}.sock"

    @property
    def release(self) -> str:
        """What it runs."""
        return (self.shop / "current").readlink().name

    @property
    def switched(self) -> float:
        """When it began to run that, in epoch seconds."""
        return (self.shop / "current").lstat().st_mtime

    def switch(self, release: str) -> None:
        """Have it run another release, and change nothing else."""
        new = self.shop / "next"
        new.symlink_to(f"releases/{release}")
        new.rename(self.shop / "current")

    def get(self, url: str) -> Page:
        """Ask its Varnish for a page."""
        client = _Client(self.socket)
        try:
            client.request("GET", url, headers={"Host": "shop.example"})
            answer = client.getresponse()
            headers = {name.lower(): value for name, value in answer.getheaders()}
            return Page(answer.status, headers, answer.read().decode())
        finally:
            client.close()

    def renders(self) -> Counter[tuple[str, str]]:
        """Count how often PHP made each page, by release and URL."""
        return self._noted("renders")

    def fetches(self) -> Counter[tuple[str, str]]:
        """Count how often the database was asked for each thing, by release and name."""
        return self._noted("fetches")

    def switches(self) -> list[str]:
        """Tell which releases it was switched to by the deploy."""
        return self._read("switches")

    def forget(self) -> None:
        """Begin these counts anew."""
        for log in (self.shop / "shared").glob("*.log"):
            log.write_text("")

    def empty(self) -> None:
        """Empty all its caches, by the means of each."""
        for compiled in (self.shop / "cache" / "views").glob("*.php*"):
            compiled.unlink()
        self.fpm.php("opcache_reset(); apcu_clear_cache();")
        self.machine.inside(self._empty_stores)
        self.adm("ban", "obj.status", "!=", "0")

    def _empty_stores(self) -> None:
        with closing(self.memcached.client()) as memcached, self.redis.client() as redis:
            memcached.flush_all()
            redis.flushall()

    @contextmanager
    def down(self) -> Iterator[None]:
        """Have its Varnish crash, and come back empty in the end."""
        self.varnish.kill()
        try:
            yield
        finally:
            self.varnish.stop()
            self.varnish.start()

    def adm(self, *command: str) -> str:
        """Run a command by the varnishadm of its Varnish."""
        return self.machine.inside(lambda: self.varnish.adm(*command))

    def _noted(self, log: str) -> Counter[tuple[str, str]]:
        words = (line.split(" ", 1) for line in self._read(log))
        return Counter((release, what) for release, what in words)

    def _read(self, log: str) -> list[str]:
        path = self.shop / "shared" / f"{log}.log"
        return path.read_text().splitlines() if path.exists() else []

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def _start(self) -> None:
        self.machine = self._stack.enter_context(Machine(name=self.name, client=self.client))
        self._furnish()
        # With file_update_protection, OPcache would not keep views that were compiled just now.
        pool = Pool(children=6, settings={"env[DATABASE_MS]": str(self.database_ms)})
        self.fpm = self._run(PhpFpm(pools=(pool,), ini={"opcache.file_update_protection": "0"}))
        self._run(_ShopNginx(port=8000, pool=self.fpm.listening()))
        self.memcached = self._run(Memcached(port=11211))
        self.redis = self._run(RedisServer(port=6379))
        listen = ("-a", f"{self.socket},HTTP", "-i", self.name)
        self.varnish = self._run(
            Varnish(
                port=8080,
                origin="127.0.0.1:8000",
                vcl=clearable() + VCL,
                cli=True,
                cli_port=6082,
                arguments=listen,
            )
        )
        shutil.copy(self.varnish.secret_file, self.shop / "secret")

    def _run(self, server: _Server) -> _Server:
        server.machine = self.machine
        self._stack.enter_context(server)
        return server

    def _furnish(self) -> None:
        views, shared = self.shop / "cache" / "views", self.shop / "shared"
        for release in application.RELEASES:
            application.build(self.shop, release)
        for folder in (views, shared):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o777)
        (views / ".cachekit").touch()
        switch = self.shop / "bin" / "switch"
        switch.parent.mkdir()
        switch.write_text(SWITCH)
        switch.chmod(0o755)
        self.switch("r1")


@dataclass(kw_only=True, eq=False)
class _ShopNginx(NginxProcess):
    """What serves assets itself, and has PHP make all else by the real path of the release."""

    pool: str

    def http(self) -> str:
        return SERVER.format(listen=self.listen_lines([self.address], []), pool=self.pool)


class _Client(http.client.HTTPConnection):
    """A client of a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=20.0)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
