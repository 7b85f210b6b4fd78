"""A settings document → Settings; whatever is wrong with it is found in one pass."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from cachekit import checks, registry
from cachekit.caches.base import Cache
from cachekit.checks import KeyPath
from cachekit.config.document import Document
from cachekit.config.pieces import NOTHING, decode, keys_of
from cachekit.config.plans import as_written, decode_plan
from cachekit.golive.base import GoLive
from cachekit.model import Node, Variant
from cachekit.near_misses import did_you_mean, nearest
from cachekit.settings import Settings, VerdictRule, WarmList, WarmSettings
from cachekit.sources.base import Source
from cachekit.sources.reading import STANDARD_INPUT
from cachekit.sources.url_list import ListedUrl, UrlFile, Urls
from cachekit.step_settings import PlanSettings

T = TypeVar("T")

YAML_LISTS = (".yaml", ".yml")
_ANY_RULE = {"header": "any", "matches": "", "verdict": "unknown"}

OpenList = Callable[[Path], Document]
"""Reads the YAML file of a warm list."""


def decode_settings(document: Document, folder: Path, open_list: OpenList) -> Settings:
    """Decode a settings file; relative paths start at `folder`.

    Where the document reports problems afterwards, the settings are not fit for use.
    """
    decoding = _Decoding(document, folder, open_list)
    settings = decoding.settings()
    for path, message in checks.problems(decoding.fit_for_checks(settings)):
        decoding.report(path, message)
    return settings


def decode_urls(document: Document) -> Urls:
    """Decode a YAML warm list: URLs, or mappings of a URL and what sets it apart."""
    listed = [] if document.data is None else document.data
    if not isinstance(listed, list):
        document.report((), "expected a list of URLs")
        return Urls(urls=())
    return _urls(listed, (), document.report)


def _urls(listed: list[object], path: KeyPath, report: Callable[..., None]) -> Urls:
    """Decode URLs one by one, so that no fault hides another."""
    urls = []
    for index, item in enumerate(listed):
        url, faults = decode(str | ListedUrl, item)
        for fault in faults:
            report((*path, index, *fault.path), fault.message, at_key=fault.at_key)
        urls.append(url or "")
    return Urls(urls=tuple(urls))


class _Decoding:
    """One pass over a settings file, piece by piece, so that no fault hides another."""

    def __init__(self, document: Document, folder: Path, open_list: OpenList) -> None:
        self.document = document
        self.folder = folder
        self.open_list = open_list
        self.lists: dict[KeyPath, Document] = {}
        self.is_complete = True

    def report(self, path: KeyPath, message: str, *, at_key: bool = False) -> None:
        """Report a fault in the file that holds the key path."""
        for length in range(len(path)):
            if listed := self.lists.get(path[:length]):
                listed.report(path[length:], message, at_key=at_key)
                return
        if path[:1] == ("plans",):
            path = as_written(self.document.data, path)
        self.document.report(path, message, at_key=at_key)

    def fit_for_checks(self, settings: Settings) -> Settings:
        """Leave out what names others while some are missing: it is not to blame for that."""
        return settings if self.is_complete else replace(settings, plans={}, release_check=None)

    def settings(self) -> Settings:
        """Decode the sections one by one, and what stands beside them."""
        data = self.document.data
        rest = _without(data, ["nodes", "caches", "warmlists", "warm", "golive", "plans"])
        decoded = self._piece(Settings, rest, ())
        if decoded is None:
            self.document.mute(("site",))
        settings: Settings = _rooted(decoded or Settings(site=""), self.folder)
        return replace(
            settings,
            nodes=self._named(("nodes",), _get(data, "nodes"), self._node),
            caches=self._named(("caches",), _get(data, "caches"), self._cache),
            warmlists=self._named(("warmlists",), _get(data, "warmlists"), self._warm_list),
            warm=self._warm(_get(data, "warm")),
            golive=self._named(("golive",), _get(data, "golive"), self._actor),
            plans=self._named(("plans",), _get(data, "plans"), self._plan),
        )

    def _node(self, path: KeyPath, data: object) -> Node | None:
        written = data if isinstance(data, Mapping) else {"address": data}
        node: Node | None = self._piece(Node, written, path, {"name": path[-1]})
        return node

    def _cache(self, path: KeyPath, data: object) -> Cache | None:
        cache: Cache | None = self._typed(registry.CACHES, path, data)
        return cache

    def _actor(self, path: KeyPath, data: object) -> GoLive | None:
        actor: GoLive | None = self._typed(registry.GOLIVE, path, data)
        return actor

    def _typed(self, group: str, path: KeyPath, data: object) -> Any:
        """Decode what its `type` chooses among what is installed."""
        known = registry.names(group)
        kind = _get(data, "type")
        if kind not in known:
            near = did_you_mean(str(kind), known) if kind else ""
            place = (*path, "type") if kind else path
            self.report(place, f"expected `type:` to be one of {', '.join(known)}{near}")
            return None
        try:
            adapter = registry.load(group, kind)
        except (ImportError, AttributeError) as error:
            self.report((*path, "type"), f"the type {kind!r} is broken: {error}")
            return None
        piece = self._piece(adapter, _without(data, ["type"]), path, also_known=["type"])
        return _rooted(piece, self.folder)

    def _plan(self, path: KeyPath, data: object) -> PlanSettings:
        return decode_plan(path, data, self.report)

    def _warm(self, data: object) -> WarmSettings:
        variants = self._named(("warm", "variants"), _get(data, "variants"), self._variant)
        listed = _get(data, "verdicts")
        rules = listed if isinstance(listed, list) else []
        apart = ["variants", "verdicts"] if rules else ["variants"]
        warm = self._piece(WarmSettings, _without(data, apart), ("warm",))
        settings: WarmSettings = _rooted(warm or WarmSettings(), self.folder)
        verdicts = tuple(self._rule(index, rule) for index, rule in enumerate(rules))
        return replace(settings, variants=variants, verdicts=verdicts)

    def _rule(self, index: int, data: object) -> VerdictRule:
        """Decode a rule; what is faulty is stood in for, so that the rest of it is checked, too."""
        rule: VerdictRule | None = self._piece(VerdictRule, data, ("warm", "verdicts", index))
        if rule is not None:
            return rule
        written = data if isinstance(data, Mapping) else {}
        sound = {k: v for k, v in written.items() if not decode(VerdictRule, _ANY_RULE | {k: v})[1]}
        stand_in: VerdictRule = decode(VerdictRule, _ANY_RULE | sound)[0]
        return stand_in

    def _variant(self, path: KeyPath, data: object) -> Variant:
        personal = _get(data, "personal")
        written = {"headers": _without(data, ["personal"]), "personal": personal or False}
        variant, faults = decode(Variant, written, {"name": path[-1]})
        for fault in faults:
            inside = fault.path[1:] if fault.path[0] == "headers" else fault.path
            self.report((*path, *inside), fault.message, at_key=fault.at_key)
        return variant or Variant(name=str(path[-1]))  # lists that name it are not to blame

    def _warm_list(self, path: KeyPath, data: object) -> WarmList | None:
        if not isinstance(data, Mapping):
            self.report(path, f"expected a mapping with one of {', '.join(_sources())}")
            return None
        chosen = _chosen(data)
        own = {key for name in chosen or _sources() for key in _keys(name)}
        written = {key: value for key, value in data.items() if key in own}
        source = self._source(path, chosen[0], written) if len(chosen) == 1 else None
        given = {"source": source or Urls(urls=())}
        known = own.union(_sources())
        warm_list: WarmList | None = self._piece(WarmList, _without(data, own), path, given, known)
        self._check_choice(path, data, chosen)
        return warm_list

    def _check_choice(self, path: KeyPath, data: Mapping[str, object], chosen: list[str]) -> None:
        if len(chosen) > 1:
            message = f"found {' and '.join(chosen)}, expected one source of URLs for each list"
            self.report((*path, chosen[1]), message, at_key=True)
        # A misspelt source is reported as an unknown key with its near miss.
        elif not chosen and not _misspells_source(data):
            self.report(path, f"found no source of URLs, expected one of {', '.join(_sources())}")

    def _source(self, path: KeyPath, name: str, data: Mapping[str, object]) -> Source | None:
        try:
            kind = registry.load(registry.SOURCES, name)
        except (ImportError, AttributeError) as error:
            self.report((*path, name), f"the source {name!r} is broken: {error}", at_key=True)
            return None
        if name == "urls" and isinstance(listed := data[name], list):
            return _urls(listed, (*path, name), self.report)
        if name == "sitemap" and isinstance(at := data[name], str) and "://" not in at:
            data = {**data, name: Path(at)}
        decoded, faults = decode(kind, data)
        for fault in faults:
            inside = fault.path or (name,)  # what is wrong with the whole, say at its main key
            self.report((*path, *inside), fault.message, at_key=fault.at_key)
        source: Source | None = _rooted(decoded, self.folder)
        if isinstance(source, UrlFile) and source.file.suffix in YAML_LISTS:
            return self._listed(path, source.file)
        return source

    def _listed(self, path: KeyPath, file: Path) -> Urls | None:
        try:
            document = self.open_list(file)
        except OSError as error:
            self.report((*path, "file"), f"{file} cannot be read: {error.strerror}")
            return None
        self.lists[(*path, "urls")] = document
        return decode_urls(document)

    def _named(
        self, path: KeyPath, data: object, decode_one: Callable[[KeyPath, object], T | None]
    ) -> dict[str, T]:
        if not isinstance(data, Mapping):
            if data is not None:
                self.report(path, "expected a mapping of names")
            return {}
        decoded = {name: decode_one((*path, name), item) for name, item in data.items()}
        found = {name: item for name, item in decoded.items() if item is not None}
        self.is_complete &= len(found) == len(decoded)
        return found

    def _piece(
        self,
        kind: Any,
        data: object,
        path: KeyPath,
        given: Mapping[str, object] = NOTHING,
        also_known: Iterable[str] = (),
    ) -> Any:
        value, faults = decode(kind, {} if data is None else data, given, also_known)
        for fault in faults:
            self.report((*path, *fault.path), fault.message, at_key=fault.at_key)
        return value


def _sources() -> tuple[str, ...]:
    return registry.names(registry.SOURCES)


def _chosen(data: Mapping[str, object]) -> list[str]:
    """Find the sources that a warm list names; a key may belong to another source as well."""
    named = [key for key in data if key in _sources()]
    return [
        name
        for name in named
        if not any(name in _keys(other) and other not in _keys(name) for other in named)
    ]


def _misspells_source(data: Iterable[str]) -> bool:
    known = keys_of(WarmList).union(*map(_keys, _sources()))
    return any(key not in known and nearest(key, known) in _sources() for key in data)


def _keys(source: str) -> set[str]:
    try:
        return keys_of(registry.load(registry.SOURCES, source)) | {source}
    except (ImportError, AttributeError):
        return {source}


def _rooted(value: Any, folder: Path) -> Any:
    """Let every relative path in decoded settings start at a folder; `-` is standard input."""
    if isinstance(value, Path):
        return value if value == STANDARD_INPUT else folder / value
    if type(value) is tuple:
        return tuple(_rooted(item, folder) for item in value)
    if not is_dataclass(value) or isinstance(value, type):
        return value
    rooted = {field.name: _rooted(getattr(value, field.name), folder) for field in fields(value)}
    return replace(value, **{key: new for key, new in rooted.items() if new != getattr(value, key)})


def _get(data: object, key: str) -> Any:
    return data.get(key) if isinstance(data, Mapping) else None


def _without(data: object, keys: Iterable[str]) -> object:
    if not isinstance(data, Mapping):
        return data
    return {key: value for key, value in data.items() if key not in keys}
