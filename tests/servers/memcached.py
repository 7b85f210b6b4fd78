"""memcached as PHP applications use it."""

import subprocess
from dataclasses import dataclass
from typing import ClassVar

from pymemcache.client.base import Client

from tests.servers.process import ServerProcess


@dataclass(kw_only=True, eq=False)
class Memcached(ServerProcess):
    """One memcached with 64 MB, or what `arguments` say."""

    program: ClassVar[str] = "memcached"

    megabytes: int = 64
    arguments: tuple[str, ...] = ()

    def argv(self) -> list[str]:
        port = ["-l", self.host, "-p", str(self.port), "-U", "0"]
        return ["-u", "root", *port, "-m", str(self.megabytes), "-t", "2", *self.arguments]

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        # On SIGTERM it sleeps for a second first; it has nothing to save.
        process.kill()
        process.wait(5.0)

    def client(self) -> Client:
        """An ordinary client that waits for replies."""
        return Client((self.host, self.port), default_noreply=False, timeout=10, connect_timeout=5)

    def put(self, keys: list[str], value: bytes = b"x") -> None:
        """Store the same value under many keys, at once."""
        client = self.client()
        assert not client.set_many(dict.fromkeys(keys, value), noreply=False)
        client.close()

    def keys_there(self, keys: list[str]) -> list[str]:
        """Tell which keys an ordinary client finds."""
        client = self.client()
        found = list(client.get_many(keys))
        client.close()
        return [str(key) for key in found]
