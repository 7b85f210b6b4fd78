"""What is written reads back the same, and no text makes the reader stumble."""

import re
import string
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import MISSING, fields, is_dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cachekit import config
from cachekit.config.yaml_text import parse
from cachekit.errors import ConfigError
from cachekit.model import Address, Expect, Node, Variant, Verdict
from cachekit.settings import (
    Settings,
    Tls,
    VerdictRule,
    WarmList,
    WarmSettings,
)
from cachekit.sources.access_log import AccessLog
from cachekit.sources.sitemap import Sitemap
from cachekit.sources.table import Table
from cachekit.sources.url_list import ListedUrl, UrlFile, Urls
from cachekit.step_settings import KINDS, PlanSettings, ReleaseCheck
from cachekit.thresholds import Gate, MaxTime, MinShare

SITE = "https://shop.example"
EXAMPLE = re.findall(
    r"```yaml\n(.*?)```",
    (Path(__file__).parents[2] / "docs" / "settings.md").read_text(),
    re.DOTALL,
)[-1]

KNOWN = {
    field.name
    for kind in (
        *(Settings, WarmSettings, WarmList, Gate, Tls, Expect, AccessLog, Table, VerdictRule),
        *(PlanSettings, ReleaseCheck, *KINDS.values()),
    )
    for field in fields(kind)
}

# Words that YAML 1.1 takes for something else, and what cachekit gives a meaning of its own.
ODD: tuple[str, ...] = (
    "no",
    "on",
    "true",
    "null",
    "~",
    "1:30",
    "0777",
    "1_000",
    "1.10",
    "1e3",
    "2020-01-01",
)
ODD += ("<<", "=", "", "5", "0x1F", ".inf", "${A}", "$${A}", "a: b", "# x", "- x", "{release}")
texts = st.sampled_from(ODD) | st.text(st.characters(exclude_categories=["C", "Z"]), max_size=12)
names = st.text(string.ascii_letters + "_-.:é", min_size=1, max_size=8) | st.sampled_from(ODD[:16])
header_names = st.text(string.ascii_letters + string.digits + "-_", min_size=1, max_size=10)
headers = st.dictionaries(
    header_names.filter(lambda name: name.lower() not in ("cookie", "authorization", "personal")),
    texts,
    max_size=3,
)
paths = st.sampled_from(["a.txt", "../b", "/abs/c", "-"]).map(Path)
positive = st.integers(1, 10**6)
times = st.integers(1, 10**6).map(lambda milliseconds: milliseconds / 1000)
shares = st.integers(0, 10**5).map(lambda number: Fraction(number, 10**5))
some = st.booleans()


def few(items: st.SearchStrategy[Any], least: int = 0) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(items, min_size=least, max_size=3).map(tuple)


def maybe(items: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | items


def ordered(items: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.tuples(items, items).map(sorted)


at_least = ordered(shares).map(lambda pair: MinShare(floor=pair[0], go=pair[1]))
at_most = ordered(times).map(lambda pair: MaxTime(go=pair[0], floor=pair[1]))
expects = st.builds(
    Expect,
    status=maybe(few(st.integers(100, 599))),
    contains=maybe(few(texts)),
    matches=maybe(texts.map(re.escape)),
    not_contains=maybe(few(texts)),
    max_time=maybe(times),
)
hosts = st.sampled_from(["10.0.0.1", "web1.example", "[::1]"])
ports = st.integers(1, 65535)
addresses = st.builds(Address, host=hosts, port=maybe(ports)) | st.sampled_from(
    ["/run/x.sock", "/a b"]
).map(lambda path: Address(unix_path=path))


@st.composite
def nodes(draw: st.DrawFn, name: str) -> Node:
    address = draw(addresses)
    is_free = address.host and address.port is None
    schemes = st.sampled_from(["http", "https"])
    return Node(
        name=name,
        address=address,
        groups=draw(few(texts)),
        ports=draw(st.dictionaries(schemes, ports)) if is_free else {},
        proxy_protocol=draw(some),
    )


def sources(variants: list[str]) -> st.SearchStrategy[Any]:
    listed = st.builds(
        ListedUrl,
        url=texts,
        priority=maybe(st.floats(0, 1)),
        required=some,
        cacheable=some,
        variants=maybe(few(st.sampled_from(variants))) if variants else st.none(),
        expect=maybe(expects),
    )
    return st.one_of(
        st.builds(UrlFile, file=paths),
        st.builds(Urls, urls=few(texts | listed)),
        st.builds(Sitemap, sitemap=st.just(f"{SITE}/sitemap.xml"), max_sitemaps=positive),
        st.builds(
            AccessLog,
            access_log=few(paths),
            top=maybe(positive),
            bots=some,
            allow_query=some | few(texts),
            allow=few(texts.map(re.escape).map(re.compile)),
        ),
        st.builds(Table, table=paths, template=st.just("/p/{id}")),
    )


def warm_lists(variants: list[str]) -> st.SearchStrategy[WarmList]:
    return st.builds(
        WarmList,
        source=sources(variants),
        include=few(texts.filter(lambda text: not text.startswith("re:"))),
        exclude=few(texts.map(lambda text: "re:" + re.escape(text))),
        limit=maybe(positive),
        required=some,
        cacheable=some,
        variants=maybe(few(st.sampled_from(variants))) if variants else st.none(),
        expect=maybe(expects),
        headers=headers,
        personal=some,
    )


def warm_settings(variants: list[str]) -> st.SearchStrategy[WarmSettings]:
    named = {
        name: st.builds(Variant, name=st.just(name), headers=headers, personal=some)
        for name in variants
    }
    rules = st.builds(
        VerdictRule,
        header=header_names,
        matches=texts.map(re.escape),
        verdict=st.sampled_from(Verdict),
        reason=maybe(texts),
    )
    return st.builds(
        WarmSettings,
        headers=headers,
        variants=st.fixed_dictionaries(named),
        expect=expects,
        concurrency=st.integers(1, 400) | st.just("auto"),
        max_in_flight=st.integers(1, 400),
        rate=maybe(st.floats(0.001, 1e6)),
        timeout=times,
        max_body=positive,
        retries=st.integers(0, 10),
        max_error_rate=shares,
        budget=maybe(times),
        follow=some,
        verify=shares.filter(bool),
        verdicts=few(rules),
        gate=st.builds(
            Gate,
            min_ok=at_least,
            min_hit=maybe(at_least),
            max_p95=maybe(at_most),
            required=few(st.just("/a")),
        ),
        tls=st.builds(Tls, verify=some, ca_file=maybe(paths)),
        order=st.sampled_from(["file", "priority", "lastmod"]),
        limit=maybe(positive),
    )


@st.composite
def all_settings(draw: st.DrawFn) -> Settings:
    variants = draw(st.lists(names, unique=True, max_size=3))
    return Settings(
        site=SITE,
        allow_hosts=draw(few(st.sampled_from(["www.shop.example", "cdn.example:8443"]))),
        state_dir=draw(maybe(paths)),
        nodes={name: draw(nodes(name)) for name in draw(st.lists(names, unique=True, max_size=3))},
        warmlists=draw(st.dictionaries(names, warm_lists(variants), max_size=3)),
        warm=draw(warm_settings(variants)),
    )


def written(value: Any) -> Any:
    """Put decoded settings back into the words of the file."""
    if isinstance(value, Verdict | Address | Path):
        return str(value)
    if isinstance(value, Fraction):
        return f"{value.numerator * 10**6 // value.denominator / 10**4:f}%"
    if isinstance(value, re.Pattern | str):
        text: str = value if isinstance(value, str) else value.pattern
        return text.replace("${", "$${")
    if isinstance(value, tuple):
        return [written(item) for item in value]
    if isinstance(value, Mapping):
        return {key: written(item) for key, item in value.items()}
    return _keys_of(value) if is_dataclass(value) else value


def _keys_of(value: Any) -> dict[str, Any]:
    keys = {
        field.name: written(getattr(value, field.name))
        for field in fields(value)
        if not (getattr(value, field.name) is None and field.default is not MISSING)
    }
    if isinstance(value, Variant):
        return {**keys["headers"], "personal": keys["personal"]}
    if isinstance(value, WarmList):
        return {**keys.pop("source"), **keys}
    if isinstance(value, WarmSettings):
        keys["verify"] = "all" if value.verify == 1 else f"sample:{keys['verify']}"
    if isinstance(value, Node):
        del keys["name"]
    return keys


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Name a settings file in the working directory, so that paths stay as they are written."""
    monkeypatch.chdir(tmp_path)
    return Path("cachekit.yaml")


def examples(number: int) -> settings:
    # The fixture may be shared: each example writes the file anew.
    shared = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    return settings(max_examples=number, deadline=None, suppress_health_check=shared)


@given(chosen=all_settings(), flow=some)
@examples(100)
def test_what_is_written_reads_back(file: Path, chosen: Settings, flow: bool) -> None:
    text = yaml.safe_dump(written(chosen), default_flow_style=flow, allow_unicode=True)
    file.write_text(text, encoding="utf-8")
    assert config.load(file, {}) == chosen


@given(texts)
def test_any_text_survives_in_quotes(text: str) -> None:
    document = parse(yaml.safe_dump({"a": [text.replace("${", "$${")]}), "f", {})
    assert (document.data, document.problems) == ({"a": [text]}, [])


@given(
    raw=st.binary(max_size=60)
    | st.text("[]{}:,-&*!|>'\"%@` \n\tab0${}<<", max_size=60).map(str.encode)
)
@examples(300)
def test_no_bytes_make_the_reader_stumble(file: Path, raw: bytes) -> None:
    file.write_bytes(raw)
    with pytest.raises(ConfigError):
        config.load(file, {})


@given(data=st.data())
@examples(100)
def test_no_damage_makes_the_reader_stumble(file: Path, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(EXAMPLE)))
    end = data.draw(st.integers(start, min(start + 20, len(EXAMPLE))))
    put = data.draw(st.text("[]{}:,-&*!'\" \n#a0$\x00é", max_size=4))
    file.write_text(EXAMPLE[:start] + put + EXAMPLE[end:], encoding="utf-8")
    with suppress(ConfigError):
        config.load(file, {})


@given(data=st.data())
@examples(100)
def test_a_misspelt_key_is_found_where_it_stands(file: Path, data: st.DataObject) -> None:
    keys = [
        match for match in re.finditer(r"(?<=[ {])([a-z_]{5,})(?=: )", EXAMPLE) if match[1] in KNOWN
    ]
    key = data.draw(st.sampled_from(keys))
    cut = data.draw(st.integers(1, len(key[1]) - 2))
    misspelt = key[1][:cut] + key[1][cut + 1 :]
    file.write_text(EXAMPLE[: key.start()] + misspelt + EXAMPLE[key.end() :], encoding="utf-8")
    line = EXAMPLE.count("\n", 0, key.start()) + 1
    column = key.start() - EXAMPLE.rfind("\n", 0, key.start())
    with pytest.raises(ConfigError) as caught:
        config.load(file, {})
    told = [str(problem) for problem in caught.value.problems]
    assert any(
        each.startswith(f"cachekit.yaml:{line}:{column}: ")
        and each.endswith(f"{misspelt}: unknown key; did you mean {key[1]!r}?")
        for each in told
    ), told
