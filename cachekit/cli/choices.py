"""Options of the command line as settings: what was said there goes over what the file says."""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import Any, cast

from cachekit.checks import Fault, KeyPath, problems, show_path
from cachekit.errors import ConfigError, Problem
from cachekit.invalidation_settings import Invalidation
from cachekit.model import Node, Variant, parse_address
from cachekit.near_misses import did_you_mean
from cachekit.settings import Settings, WarmList, WarmSettings
from cachekit.sources.reading import listed
from cachekit.sources.url_list import UrlFile, Urls
from cachekit.thresholds import MaxTime, MinShare
from cachekit.warming.soundness import unreadable_files

_PLAIN_KEYS = (
    "concurrency",
    "max_in_flight",
    "rate",
    "max_rate",
    "timeout",
    "retries",
    "max_error_rate",
    "budget",
    "follow",
    "verify",
    "stream",
    "http2",
    "public_sitemap",
    "order",
    "include",
    "exclude",
    "limit",
)
_OPTIONS: Mapping[KeyPath, tuple[str, str]] = {
    ("site",): ("site", "--site"),
    ("allow_hosts",): ("allow_hosts", "--allow-host"),
    ("release",): ("release", "--live"),
    **{("warm", key): (key, f"--{key.replace('_', '-')}") for key in _PLAIN_KEYS},
    ("warm", "tls", "ca_file"): ("ca_file", "--ca-file"),
    ("warm", "gate", "min_ok"): ("min_ok", "--min-ok"),
    ("warm", "gate", "min_hit"): ("min_hit", "--min-hit"),
    ("warm", "gate", "max_p95"): ("max_p95", "--max-p95"),
    ("warm", "gate", "required"): ("required", "--require"),
    ("warm", "headers"): ("headers", "--header"),
    ("warm", "variants"): ("variants", "--variant"),
}
"""The options that are laid over keys: the name of their value, and as users write them."""

_NO_FILE = "no cachekit.yaml here, and $CACHEKIT_SETTINGS is not set; `cachekit init` writes one"
_SOURCES = ("urls", "list_files", "sitemaps", "access_logs")


def settings_of(options: Mapping[str, Any], environ: Mapping[str, str]) -> Settings:
    """Read the settings file, if there is one, and lay the options over it. Raises ConfigError."""
    if options["top"] and not options["access_logs"]:
        raise ConfigError("--top: is about --access-log, and none was given")
    settings = _from_file(options["settings_path"], environ)
    known = settings.warm.variants if settings else {}
    lists = _lists(options, {**known, **_variants(options["variants"])})
    if settings is None and not lists:
        raise ConfigError(
            f"nothing to warm: no --url, --list, --sitemap or --access-log, and {_NO_FILE}"
        )
    site = options["site"] or (settings.site if settings else "") or _site_of(options, lists)
    if settings is None:
        settings = Settings(site=site)
    laid_over = replace(
        settings,
        site=site,
        allow_hosts=(*settings.allow_hosts, *options["allow_hosts"]),
        state_dir=options["state_dir"] or settings.state_dir,
        warmlists=lists or settings.warmlists,
        # Good as they are in the file, but they may name lists that are replaced here.
        plans={},
        invalidation=Invalidation(),
        warm=_warm(settings.warm, options),
    )
    checked(laid_over, options)
    read = [
        name for name in laid_over.warmlists if name in (options["lists"] or laid_over.warmlists)
    ]
    _refuse(unreadable_files(laid_over, read), options)
    return laid_over


def nodes_of(settings: Settings, names: Sequence[str], groups: Sequence[str]) -> list[Node] | None:
    """Choose nodes by name, address or group; None means all. Raises ConfigError."""
    if not names and not groups:
        return None
    chosen = {name: _node(settings, name) for name in names}
    for group in groups:
        members = {name: node for name, node in settings.nodes.items() if group in node.groups}
        if not members:
            known = sorted({group for node in settings.nodes.values() for group in node.groups})
            raise ConfigError(
                f"no node is in group {group}; there are: {', '.join(known) or 'none'}"
            )
        chosen |= members
    return list(chosen.values())


def lists_of(options: Mapping[str, Any]) -> list[str] | None:
    """Choose lists by name; None means all. Raises ConfigError."""
    names: tuple[str, ...] = options["lists"]
    if names and any(options[source] for source in _SOURCES):
        raise ConfigError(
            f"{', '.join(names)}: name lists of the settings, or give --url, --list ... not both"
        )
    return list(names) or None


def variants_of(options: Mapping[str, Any]) -> list[str] | None:
    """Choose variants by name; None means all."""
    return list(dict.fromkeys(text.partition("=")[0] for text in options["variants"])) or None


def state_dir_of(settings: Settings, environ: Mapping[str, str]) -> Path:
    """Find where runs and locks are kept: the machine's own place for root, else the user's."""
    if settings.state_dir:
        return settings.state_dir
    if os.geteuid() == 0:
        return Path("/var/lib/cachekit")
    try:
        base = environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    except RuntimeError as error:
        raise ConfigError(
            "no home directory to keep runs and locks in: give --state-dir"
        ) from error
    return Path(base) / "cachekit"


def checked(settings: Settings, options: Mapping[str, Any]) -> Settings:
    """Check settings over which options were laid. Raises ConfigError with all problems."""
    _refuse(problems(settings), options)
    return settings


def settings_from_file(explicit: Path | None, environ: Mapping[str, str]) -> Settings:
    """Read the settings file, which must be there. Raises ConfigError."""
    settings = _from_file(explicit, environ)
    if settings is None:
        raise ConfigError(_NO_FILE)
    return settings


def _refuse(faults: Iterable[Fault], options: Mapping[str, Any]) -> None:
    if found := [Problem(_where(path, options), message) for path, message in faults]:
        raise ConfigError(found)


def _where(path: KeyPath, options: Mapping[str, Any]) -> str:
    """Name a key as it was given: by its option, or as it stands in the settings file.

    The file alone was found good when it was read: what is wrong now, an option brought in.
    """
    if path[0] == "warmlists" and str(path[1]).startswith("--"):
        return f"{path[1]} {show_path(path[3:])}".rstrip()
    for key, (name, option) in _OPTIONS.items():
        if path[: len(key)] == key and options.get(name) not in (None, ()):
            narrower = (part for part in path[len(key) :] if isinstance(part, str))
            return f"{option} {'='.join(narrower)}".rstrip()
    return show_path(path)


def _from_file(explicit: Path | None, environ: Mapping[str, str]) -> Settings | None:
    from cachekit import config

    path = config.find(explicit, environ)
    return config.load(path, environ) if path else None


def _lists(options: Mapping[str, Any], variants: Mapping[str, Variant]) -> dict[str, WarmList]:
    """Make lists of what options name; each is called as it was given."""
    found: dict[str, Any] = {}
    if options["urls"]:
        found["--url"] = Urls(urls=options["urls"])
    for path in options["list_files"]:
        found[f"--list {path}"] = _url_file(path, variants)
    for location in options["sitemaps"]:
        from cachekit.sources.sitemap import Sitemap

        sitemap = Sitemap(sitemap=location)
        found[f"--sitemap {sitemap.describe()}"] = sitemap
    if options["access_logs"]:
        from cachekit.sources.access_log import AccessLog

        found["--access-log"] = AccessLog(access_log=options["access_logs"], top=options["top"])
    return {name: WarmList(source=source) for name, source in found.items()}


def _url_file(path: Path, variants: Mapping[str, Variant]) -> UrlFile | Urls:
    if path.suffix not in (".yaml", ".yml"):
        return UrlFile(file=path)
    from cachekit import config

    return config.load_url_list(path, variants=variants)


def _site_of(options: Mapping[str, Any], lists: Mapping[str, WarmList]) -> str:
    """Take scheme and host of the first URL that has them."""
    for text in _given_urls(options, lists):
        scheme, separator, rest = text.partition("://")
        if separator and scheme.lower() in ("http", "https"):
            return f"{scheme}://{rest.partition('/')[0].partition('?')[0].rpartition('@')[2]}"
    raise ConfigError(
        "the site is unknown: give --site, a settings file with `site:`, or a URL with its host"
    )


def _given_urls(options: Mapping[str, Any], lists: Mapping[str, WarmList]) -> Iterator[str]:
    yield from options["urls"]
    yield from options["sitemaps"]
    for path in options["list_files"]:
        source = lists[f"--list {path}"].source
        if isinstance(source, Urls):
            yield from (url if isinstance(url, str) else url.url for url in source.urls)
        else:
            lines = BytesIO(_head(path))
            yield from (line.decode(errors="replace") for line in listed(str(path), lines))


def _head(path: Path) -> bytes:
    """Look at the beginning of a list without taking anything from stdin."""
    if path == Path("-"):
        return cast("BufferedReader", sys.stdin.buffer).peek(4096)
    try:
        with path.open("rb") as file:
            return file.read(4096)
    except OSError as error:
        raise ConfigError(f"--list {path}: cannot be read: {error.strerror}") from error


def _node(settings: Settings, name: str) -> Node:
    if name in settings.nodes:
        return settings.nodes[name]
    is_word = not set(name) & set(".:[/")
    if is_word and (hint := did_you_mean(name, settings.nodes)):
        raise ConfigError(f"--node {name}: no node is called so{hint}; or as an address, {name}:80")
    try:
        return Node(name=name, address=parse_address(name))
    except ValueError as error:
        known = ", ".join(settings.nodes) or "none"
        raise ConfigError(f"--node {name}: {error}; nodes of the settings: {known}") from error


def _warm(warm: WarmSettings, options: Mapping[str, Any]) -> WarmSettings:
    said = {key: options[key] for key in _PLAIN_KEYS if options[key] not in (None, ())}
    tls = warm.tls
    if options["insecure"]:
        tls = replace(tls, verify=False)
    if options["ca_file"]:
        tls = replace(tls, ca_file=options["ca_file"])
    gate = warm.gate
    if options["min_ok"] is not None:
        gate = replace(gate, min_ok=MinShare(go=options["min_ok"], floor=options["min_ok"]))
    if options["min_hit"] is not None:
        gate = replace(gate, min_hit=MinShare(go=options["min_hit"], floor=options["min_hit"]))
    if options["max_p95"] is not None:
        gate = replace(gate, max_p95=MaxTime(go=options["max_p95"], floor=options["max_p95"]))
    gate = replace(gate, required=(*gate.required, *options["required"]))
    headers = {**warm.headers, **dict(map(_header, options["headers"]))}
    variants = {**warm.variants, **_variants(options["variants"])}
    return replace(warm, tls=tls, gate=gate, headers=headers, variants=variants, **said)


def _variants(texts: Sequence[str]) -> dict[str, Variant]:
    """Read NAME=Header: value; the same name again adds a header."""
    found: dict[str, Variant] = {}
    for text in texts:
        name, separator, header = text.partition("=")
        if separator:
            known = found.get(name, Variant(name=name))
            found[name] = replace(known, headers={**known.headers, **dict([_header(header)])})
    return found


def _header(text: str) -> tuple[str, str]:
    name, separator, value = text.partition(":")
    if not separator or not name.strip():
        raise ConfigError("--header and --variant want `Name: value`")
    return name.strip(), value.strip()
