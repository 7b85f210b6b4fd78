"""nginx: a node that caches (`Nginx`), an origin that runs PHP, a fast one for benchmarks."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, NamedTuple

from tests.servers.process import (
    ServerProcess,
    free_port,
    free_port_on,
    host_port,
    wait_until,
)
from tests.servers.tls import Certificate

# `user` is only allowed, and only needed, when the master runs as root: the workers would become
# www-data and could not enter the data directory.
MAIN = """\
{user}
daemon off;
worker_processes {workers};
worker_rlimit_nofile {files};
pid nginx.pid;
error_log stderr warn;
events {{ worker_connections {connections}; }}
http {{
  client_body_temp_path temp/body;
  proxy_temp_path temp/proxy;
  fastcgi_temp_path temp/fastcgi;
  uwsgi_temp_path temp/uwsgi;
  scgi_temp_path temp/scgi;
  server_tokens off;
  {http}
}}
"""

# $http_host and not $host: the key keeps the port and the case that the client sent. proxy_pass
# names no path, so that the request target goes on byte for byte.
CACHING = """\
  log_format test escape=none "$connection\\t$ssl_server_name\\t$request";
  access_log {access_log};
  proxy_cache_path cache levels=1:2 keys_zone=pages:8m inactive=1h use_temp_path=off;
  upstream origin {{ server {origin}; keepalive 64; }}
  server {{
    {listen}
    keepalive_requests 1000000;
    large_client_header_buffers 8 64k;
    {server}
    location / {{
      proxy_pass http://origin;
      proxy_http_version 1.1;
      proxy_redirect off;
      proxy_set_header Host $http_host;
      proxy_set_header Connection "";
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Proxy-Protocol-Addr $proxy_protocol_addr;
      proxy_set_header X-Client-Verify $ssl_client_verify;
      proxy_cache pages;
      proxy_cache_key "$scheme://$http_host$request_uri";
      proxy_cache_valid 200 301 10m;
      {status_header}
      {location}
    }}
  }}
"""

# `return` and not a file: 70,000 to 77,000 requests/s where a file from the open-file cache gave
# 50,000 (wrk -t1 -c50). One word of the configuration may have 4095 bytes, hence the filler.
STATIC = """\
  access_log off;
  default_type text/html;
  server {{
    {listen}
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    reset_timedout_connection on;
    add_header X-Cache-Status HIT;
    {server}
    location = /__status {{ stub_status; }}
    location / {{
      set $filler "{filler}";
      return 200 "{page}";
    }}
  }}
"""

FASTCGI = """\
  access_log off;
  server {{
    {listen}
    location / {{
      fastcgi_param SCRIPT_FILENAME {script};
      fastcgi_param REQUEST_METHOD $request_method;
      fastcgi_pass {pool};
    }}
  }}
"""

PAGE_START = "<!doctype html><title>page</title><p>"
FILLER_BYTES = 1024


class LogEntry(NamedTuple):
    """One line of the access log; `server_name` is the SNI, empty without TLS."""

    connection: int
    server_name: bytes
    request: bytes


@dataclass(kw_only=True, eq=False)
class NginxProcess(ServerProcess):
    """What both kinds of nginx share: how it is started, and where it listens."""

    program: ClassVar[str] = "nginx"

    tls: Certificate | None = None
    tls_port: int = 0
    http2: bool = True
    proxy_protocol: bool = False
    server: str = ""
    """More directives for the server block."""

    def argv(self) -> list[str]:
        return ["-p", str(self.data_dir), "-e", "stderr", "-c", "nginx.conf"]

    @property
    def tls_address(self) -> str:
        """`host:port` of the TLS port."""
        return host_port(self.host, self.tls_port)

    def prepare(self) -> None:
        (self.data_dir / "temp").mkdir()
        text = MAIN.format(
            user="user root;" if os.geteuid() == 0 else "",
            workers=1,
            files=20_000,
            connections=9_000,
            http=self.http(),
        )
        (self.data_dir / "nginx.conf").write_text(text)

    def http(self) -> str:
        """Return the directives inside the http block."""
        raise NotImplementedError

    def listen_lines(self, plain: Sequence[str], encrypted: Sequence[str]) -> str:
        """Return the listen directives, and the certificate if there is one."""
        proxy = " proxy_protocol" if self.proxy_protocol else ""
        version = " http2" if self.http2 else ""
        lines = [f"listen {where}{proxy};" for where in plain]
        if self.tls is not None:
            lines += [f"listen {where} ssl{version}{proxy};" for where in encrypted]
            lines += [
                f"ssl_certificate {self.tls.cert_file};",
                f"ssl_certificate_key {self.tls.key_file};",
            ]
        return "\n    ".join(lines)


@dataclass(kw_only=True, eq=False)
class Nginx(NginxProcess):
    """A node: nginx that caches what an origin (`host:port`) says, and tells so in a header."""

    origin: str
    unix_socket: bool = False
    access_log: bool = False
    client_ca: Path | None = None
    """With TLS: refuse clients that show no certificate of this authority (status 400)."""
    status_header: str | None = "X-Cache-Status"
    location: str = ""
    """More directives for the location that proxies, such as proxy_cache_bypass."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tls is not None:
            self.tls_port = self.tls_port or free_port(self.host)

    @property
    def socket_path(self) -> Path:
        """The unix socket, when `unix_socket` is set."""
        return self.data_dir / "nginx.sock"

    @property
    def cache_dir(self) -> Path:
        """Where nginx stores the pages."""
        return self.data_dir / "cache"

    def http(self) -> str:
        plain = [self.address, *([f"unix:{self.socket_path}"] if self.unix_socket else [])]
        server = self.server
        if self.client_ca is not None:
            server += f" ssl_client_certificate {self.client_ca}; ssl_verify_client on;"
        return CACHING.format(
            access_log="access.log test" if self.access_log else "off",
            origin=self.origin,
            listen=self.listen_lines(plain, [self.tls_address]),
            server=server,
            status_header=(
                f"add_header {self.status_header} $upstream_cache_status always;"
                if self.status_header
                else ""
            ),
            location=self.location,
        )

    def log(self, at_least: int = 0) -> list[LogEntry]:
        """Read the access log, waiting two seconds for `at_least` lines.

        nginx writes a line after the answer has been sent, so a client may be here before it.
        """
        path = self.data_dir / "access.log"
        wait_until(lambda: path.read_bytes().count(b"\n") >= at_least, 2.0)
        rows = (line.split(b"\t", 2) for line in path.read_bytes().splitlines())
        return [LogEntry(int(number), name, request) for number, name, request in rows]

    def requests(self, at_least: int = 0) -> list[bytes]:
        """Return the request lines as they arrived, e.g. `GET /%61?b HTTP/1.1`."""
        return [entry.request for entry in self.log(at_least) if entry.request]


@dataclass(kw_only=True, eq=False)
class StaticNginx(NginxProcess):
    """One worker that answers any URL with the same page, on one or many addresses."""

    hosts: Sequence[str] = ()
    """All addresses to listen on, with one port; `host` alone when empty."""
    page_bytes: int = 4096
    _own_requests: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        self.hosts = list(self.hosts) or [self.host]
        self.host = self.hosts[0]
        self.port = self.port or free_port_on(self.hosts)
        if self.tls is not None:
            self.tls_port = self.tls_port or free_port_on(self.hosts)

    @property
    def addresses(self) -> list[str]:
        """`host:port` of every address."""
        return [host_port(host, self.port) for host in self.hosts]

    def prepare(self) -> None:
        super().prepare()
        self._own_requests = 0

    def http(self) -> str:
        encrypted = [host_port(host, self.tls_port) for host in self.hosts]
        fillers, rest = divmod(self.page_bytes - len(PAGE_START), FILLER_BYTES)
        return STATIC.format(
            listen=self.listen_lines(self.addresses, encrypted),
            server=self.server,
            filler="x" * FILLER_BYTES,
            page=PAGE_START + "x" * rest + "$filler" * fillers,
        )

    def count(self) -> int:
        """Return how many requests were answered since the start, these questions left out.

        Asked in plain HTTP, so not with `proxy_protocol`.
        """
        self._own_requests += 1
        # Third line: accepted connections, handled connections, requests (this one too).
        numbers = self.ask("/__status").splitlines()[2].split()
        return int(numbers[2]) - self._own_requests


@dataclass(kw_only=True, eq=False)
class FastCgiNginx(NginxProcess):
    """An origin: nginx that has one PHP script answer every URL, by the pool at `socket`."""

    script: str
    socket: str

    def http(self) -> str:
        return FASTCGI.format(
            listen=self.listen_lines([self.address], []),
            script=self.script,
            pool=f"unix:{self.socket}",
        )
