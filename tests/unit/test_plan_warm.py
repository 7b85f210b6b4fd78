"""What a run would ask is refused before anything is asked, where it cannot work."""

import os
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from cachekit.errors import ConfigError, SourceError
from cachekit.model import Address, Expect, Node, Site, Variant, Verdict, parse_address
from cachekit.replay import place_of
from cachekit.settings import Settings, Tls, VerdictRule, WarmList, WarmSettings
from cachekit.sources.access_log import AccessLog
from cachekit.sources.base import Source
from cachekit.sources.sitemap import Sitemap
from cachekit.sources.table import Table
from cachekit.sources.url_list import UrlFile, Urls
from cachekit.warming.plan import WarmPlan, plan_warm
from cachekit.warming.stop import Stop

NODES = {"web1": Node(name="web1", address=Address("127.0.0.1", 1))}


def settings(warm: WarmSettings | None = None, **sources: Source) -> Settings:
    lists = sources or {"top": Urls(urls=("/",))}
    return Settings(
        site="https://shop.example",
        nodes=NODES,
        warmlists={name: WarmList(source=source) for name, source in lists.items()},
        warm=warm or WarmSettings(),
    )


def errors_of(chosen: Settings, **options: list[str]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        plan_warm(chosen, **options)  # type: ignore[arg-type]
    return list(map(str, caught.value.problems))


class TestSettingsMadeInPython:
    def test_a_bad_site(self) -> None:
        assert errors_of(replace(settings(), site="shop.example")) == [
            "site: expected a base URL such as https://shop.example"
        ]

    def test_all_that_is_wrong_is_told_at_once(self) -> None:
        warm = WarmSettings(headers={"Cookie": "SECRET"}, max_in_flight=5000, concurrency=0)
        assert errors_of(settings(warm)) == [
            "warm.concurrency: expected a number from 1 to 400",
            "warm.max_in_flight: expected a number from 1 to 400",
            "warm.headers.Cookie: may be sent only with 'personal: true';"
            " put it into a variant that has it",
        ]


def node(name: str, address: str, **ports: int) -> Node:
    return Node(name=name, address=parse_address(address), ports=ports)


class TestNodesOfOnePlace:
    def test_each_place_is_named_once(self) -> None:
        nodes = [
            node("a", "10.0.0.11"),
            node("b", "10.0.0.11:443"),
            node("c", "WEB.example:8443"),
            node("d", "web.example", https=8443),
            node("e", "unix:/run/a.sock"),
            node("f", "unix:/run/a.sock"),
        ]
        with pytest.raises(ConfigError) as caught:
            plan_warm(settings(), nodes=nodes)
        assert list(map(str, caught.value.problems)) == [
            "nodes: a and b are one place, 10.0.0.11:443; name it once",
            "nodes: c and d are one place, web.example:8443; name it once",
            "nodes: e and f are one place, unix:/run/a.sock; name it once",
        ]

    def test_instances_of_one_host_are_places_of_their_own(self) -> None:
        nodes = [
            node("a", "10.0.0.11", https=8001),
            node("b", "10.0.0.11", https=8002),
            node("c", "10.0.0.11", http=8001),
        ]
        assert plan_warm(settings(), nodes=nodes).nodes == tuple(nodes)

    def test_the_port_is_that_of_the_site_where_the_node_has_none(self) -> None:
        assert place_of(node("a", "10.0.0.11"), Site("http://shop.example:81")) == "10.0.0.11:81"


class TestFiles:
    def test_those_that_are_missing_are_told_with_their_keys(self, tmp_path: Path) -> None:
        there = tmp_path / "there.txt"
        there.write_text("/\n")
        gone = tmp_path / "gone"
        tls = Tls(ca_file=gone, client_certificate=tmp_path, client_key=there)
        sources: dict[str, Source] = {
            "miss": UrlFile(file=gone),
            "log": AccessLog(access_log=(there, gone)),
            "rows": Table(table=gone, template="/{id}"),
            "map": Sitemap(sitemap=gone),
            "found": UrlFile(file=there),
            "stdin": UrlFile(file=Path("-")),
        }
        missing = f"{gone} cannot be read: No such file or directory"
        assert errors_of(settings(WarmSettings(tls=tls), **sources)) == [
            f"warm.tls.ca_file: {missing}",
            f"warm.tls.client_certificate: {tmp_path} cannot be read: it is a directory",
            f"warmlists.miss.file: {missing}",
            f"warmlists.log.access_log[1]: {missing}",
            f"warmlists.rows.table: {missing}",
            f"warmlists.map.sitemap: {missing}",
        ]

    def test_lists_that_were_not_chosen_do_not_matter(self, tmp_path: Path) -> None:
        chosen = settings(top=Urls(urls=("/",)), gone=UrlFile(file=tmp_path / "gone"))
        assert len(plan_warm(chosen, lists=["top"]).urls) == 1

    def test_a_pipe_is_not_opened_before_it_is_read(self, tmp_path: Path) -> None:
        reader, writer = os.pipe()
        os.write(writer, b"/a\n")
        os.close(writer)
        plan = plan_warm(settings(top=UrlFile(file=Path(f"/dev/fd/{reader}"))))
        os.close(reader)
        assert [url for url, _ in plan.urls] == [b"https://shop.example/a"]


def planned(warm: WarmSettings, **options: object) -> WarmPlan:
    return plan_warm(settings(replace(warm, **options)))  # type: ignore[arg-type]


class TestKey:
    @pytest.mark.parametrize(
        "change",
        [
            {"expect": Expect(status=(200,))},
            {"headers": {"X-Warming": "2"}},
            {"follow": True},
            {"verdicts": (VerdictRule(header="X", matches="y", verdict=Verdict.HIT),)},
            {"variants": {"mobile": Variant(name="mobile")}},
        ],
        ids=lambda change: next(iter(change)),
    )
    def test_runs_that_judge_otherwise_are_not_resumed(self, change: dict[str, object]) -> None:
        warm = WarmSettings(headers={"X-Warming": "1"})
        assert planned(warm, **change).key != planned(warm).key

    @pytest.mark.parametrize(
        "change",
        [
            {"headers": {"B": "2", "A": "1"}},
            {"concurrency": 7, "timeout": 3.0, "retries": 1, "verify": Fraction(0)},
            {"variants": {"me": Variant(name="me", headers={"Cookie": "new"}, personal=True)}},
        ],
    )
    def test_pace_and_secrets_make_no_other_run(self, change: dict[str, object]) -> None:
        warm = WarmSettings(
            headers={"A": "1", "B": "2"},
            variants={"me": Variant(name="me", headers={"Cookie": "old"}, personal=True)},
        )
        assert planned(warm, **change).key == planned(warm).key


def test_planning_asks_nothing_once_the_run_is_to_stop() -> None:
    stop = Stop(None)
    stop.request("stopped by SIGTERM")
    chosen = settings(all=Sitemap(sitemap="https://shop.example/sitemap.xml"))
    with pytest.raises(SourceError, match="not fetched: stopped by SIGTERM"):
        plan_warm(chosen, stop=stop)
