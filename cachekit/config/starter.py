"""The files that `cachekit init` writes: settings with comments, and a first warm list."""

import re
from pathlib import Path

from cachekit.errors import ConfigError
from cachekit.model import Site

_PLAIN_SITE = re.compile(r"https?://[\w.:\[\]-]+")

_SETTINGS = """\
# Settings of cachekit. Try them with: cachekit check
# Every key is explained in docs/settings.md; `cachekit schema` helps editors to complete them.

# The public URL. Host header, TLS name and cache keys are made from it, whatever node is asked.
site: {site}

# The machines to warm: each is asked by its own address, under the name of the site.
nodes:
  web1: 10.0.0.11
  web2: 10.0.0.12
  # web3:
  #   address: 10.0.0.13:8080
  #   groups: [web]
  # web4:
  #   address: 10.0.0.14
  #   ports: {{http: 80, https: 8443}}
  # web5:
  #   address: 10.0.0.15
  #   ssh: deploy@web5      # where caches of the node itself are cleared, over SSH

# What `cachekit clear`, `prime` and `status` act on: docs/caches.md.
# release: ${{RELEASE}}     # live, or about to be
# previous: ${{PREVIOUS:-}} # kept for a rollback
# caches:
#   views: {{type: files, on: web5, path: /srv/shop/cache/twig, opcache: code}}
#   code: {{type: apc, on: web5}}
#   objects: {{type: memcache, servers: "10.0.2.1:11211", namespace: "shop:{{release}}:"}}
#   sessions: {{type: redis, servers: "10.0.2.2:6379", namespace: "shop:cache:"}}
#   pages: {{type: varnish, on: web5, cli: "127.0.0.1:6082", secret_file: /etc/varnish/secret}}

# Where the URLs come from. Without a choice, `cachekit warm` takes all of them.
warmlists:
  top:
    file: warmlists/{warm_list}
    required: true        # each of these must be ok, or the run is no-go
  # all:
  #   sitemap: {site}/sitemap.xml
  # hot:
  #   access_log: /var/log/nginx/access.log
  #   top: 5000

warm:
  # What browsers send decides which copy of a page a cache keeps.
  variants:
    desktop:
      Accept-Encoding: gzip, deflate, br, zstd
    # mobile:
    #   Accept-Encoding: gzip, deflate, br, zstd
    #   User-Agent: Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Mobile

  # `auto` finds what each node bears; a number is the limit for each node.
  concurrency: auto

  # What must be reached to go live. Between `go` and `floor` the run is degraded (exit code 3),
  # beyond `floor` it is no-go (exit code 1).
  gate:
    min_ok: {{go: 100%, floor: 98%}}
    # min_hit: 95%        # the share that must come out of the cache when asked again
    # max_p95: 500ms

# What `cachekit run deploy` does, step by step; `cachekit plan deploy` shows it beforehand.
# plans:
#   deploy:
#     - clear: [views, code]
#     - clear: pages
#     - warm: top
#   nightly:
#     schedule: "0 4 * * *"     # `cachekit schedule render` makes units of it
#     steps:
#       - warm: all
"""

_WARM_LIST = """\
# One URL or path a line, the most important first. Lines that start with # are comments.
/
"""


def write_starter(path: Path, site: str) -> list[Path]:
    """Write a settings file, and a warm list in `warmlists/` beside it; return both paths.

    Raises ConfigError where one of them exists: nothing is overwritten, nothing half written.
    """
    warm_list = path.parent / "warmlists" / "top.txt"
    settings = _SETTINGS.format(site=_checked(site), warm_list=warm_list.name)
    for existing in filter(Path.exists, (path, warm_list)):
        raise ConfigError(
            f"{existing} exists already and is left as it is; move it, or choose "
            "another place with --settings"
        )
    written: list[Path] = []
    try:
        for file, text in ((warm_list, _WARM_LIST), (path, settings)):
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("x", encoding="utf-8") as stream:
                written.append(file)
                stream.write(text)
    except OSError as error:
        for file in written:
            file.unlink()
        raise ConfigError(
            f"{error.filename or path} cannot be written: {error.strerror}"
        ) from error
    return [path, warm_list]


def _checked(site: str) -> str:
    try:
        base = Site(site).base
    except ValueError as error:
        raise ConfigError(f"--site: {error}") from error
    if not _PLAIN_SITE.fullmatch(base) or site.rstrip("/").lower() != base:
        raise ConfigError(
            "--site: expected a base URL without a path, such as https://shop.example"
        )
    return base
