"""Settings files: what they may say, and how every fault in them is told."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from cachekit import config
from cachekit.config.yaml_text import parse
from cachekit.errors import ConfigError
from cachekit.model import Address, Expect, Variant
from cachekit.sources.access_log import AccessLog
from cachekit.sources.sitemap import Sitemap
from cachekit.sources.table import Table
from cachekit.sources.url_list import ListedUrl, UrlFile, Urls
from cachekit.thresholds import MaxTime, MinShare
from tests.unit.conftest import SITE, Faults, Load, for_editors

DOCUMENT = Path(__file__).parents[2] / "docs" / "settings.md"


class TestForms:
    def test_a_node_is_its_address_or_a_mapping(self, load: Load) -> None:
        nodes = load(
            SITE + "nodes:\n"
            "  a: 10.0.0.1\n"
            "  b: 10.0.0.2:8080\n"
            "  c: {address: '[::1]', ports: {http: 80, https: 8443}, groups: web}\n"
            "  d: {address: unix:/run/x.sock, proxy_protocol: true, groups: [a, b]}\n"
        ).nodes
        assert [node.name for node in nodes.values()] == ["a", "b", "c", "d"]
        assert nodes["a"].address == Address(host="10.0.0.1")
        assert nodes["b"].address == Address(host="10.0.0.2", port=8080)
        assert nodes["c"].ports == {"http": 80, "https": 8443}
        assert nodes["c"].groups == ("web",)
        assert nodes["d"].address == Address(unix_path="/run/x.sock")
        assert nodes["d"].proxy_protocol

    def test_the_key_of_a_warm_list_chooses_its_source(self, load: Load) -> None:
        lists = load(
            SITE + "warmlists:\n"
            "  top: {file: top.txt, limit: 5, required: true}\n"
            "  all: {sitemap: 'https://shop.example/sitemap.xml', include: '*.html'}\n"
            "  hot: {access_log: a.log, top: 10, allow_query: yes}\n"
            "  tab: {table: x.csv, template: '/p/{id}'}\n"
            "  few: {urls: [/a, {url: /b, priority: 1}]}\n"
        ).warmlists
        assert lists["top"].source == UrlFile(file=Path("top.txt"))
        assert (lists["top"].limit, lists["top"].required) == (5, True)
        assert lists["all"].source == Sitemap(sitemap="https://shop.example/sitemap.xml")
        assert lists["all"].include == ("*.html",)
        assert lists["hot"].source == AccessLog(
            access_log=(Path("a.log"),), top=10, allow_query=True
        )
        assert lists["tab"].source == Table(table=Path("x.csv"), template="/p/{id}")
        assert lists["few"].source == Urls(urls=("/a", ListedUrl(url="/b", priority=1.0)))

    def test_a_variant_is_its_headers(self, load: Load) -> None:
        variants = load(
            SITE + "warm: {variants: {m: {User-Agent: Mobile, X-Version: 1.10, X-On: true}, "
            "me: {Cookie: a=b, personal: true}}}"
        ).warm.variants
        assert variants["m"].headers == {
            "User-Agent": "Mobile",
            "X-Version": "1.10",
            "X-On": "true",
        }
        assert not variants["m"].personal
        assert variants["me"].name == "me"
        assert variants["me"].personal

    def test_thresholds_are_exact_and_have_a_short_form(self, load: Load) -> None:
        gate = load(
            SITE + "warm: {gate: {min_ok: {go: 99.9%, floor: 98%}, min_hit: 95%, max_p95: 500ms}}"
        ).warm.gate
        assert gate.min_ok == MinShare(go=Fraction(999, 1000), floor=Fraction(98, 100))
        assert gate.min_hit == MinShare(go=Fraction(95, 100), floor=Fraction(95, 100))
        assert gate.max_p95 == MaxTime(go=0.5, floor=0.5)

    def test_an_empty_section_counts_as_left_out(self, load: Load) -> None:
        settings = load(
            SITE + "nodes:\nwarmlists:\nwarm:\n  variants:\n  include:\n  gate:\n    required:\n"
        )
        assert settings == load(SITE)

    def test_a_yaml_list_is_read_with_the_settings(self, load: Load, tmp_path: Path) -> None:
        (tmp_path / "lists").mkdir()
        (tmp_path / "lists" / "top.yaml").write_text(
            "- /\n- {url: /about, required: yes, expect: {status: 200}}\n"
        )
        source = load(SITE + "warmlists: {top: {file: lists/top.yaml}}").warmlists["top"].source
        about = ListedUrl(url="/about", required=True, expect=Expect(status=(200,)))
        assert source == Urls(urls=("/", about))
        assert config.load_url_list(tmp_path / "lists" / "top.yaml") == source

    def test_relative_paths_start_at_the_folder_of_the_file(self, tmp_path: Path) -> None:
        (tmp_path / "cachekit.yaml").write_text(
            SITE + "state_dir: state\n"
            "warmlists:\n"
            "  a: {file: top.txt}\n"
            "  b: {file: /abs/top.txt}\n"
            "  c: {file: '-'}\n"
            "  d: {sitemap: maps/sitemap.xml}\n"
            "  e: {access_log: [a.log, b.log]}\n"
            "warm: {tls: {ca_file: ca.pem}}\n"
        )
        settings = config.load(tmp_path / "cachekit.yaml", {})
        sources: Any = {name: each.source for name, each in settings.warmlists.items()}
        assert settings.state_dir == tmp_path / "state"
        assert settings.warm.tls.ca_file == tmp_path / "ca.pem"
        assert sources["a"].file == tmp_path / "top.txt"
        assert sources["b"].file == Path("/abs/top.txt")
        assert sources["c"].file == Path("-")
        assert sources["d"].sitemap == tmp_path / "maps/sitemap.xml"
        assert sources["e"].access_log == (tmp_path / "a.log", tmp_path / "b.log")


class TestText:
    """What YAML text means, before any key is looked at."""

    @pytest.mark.parametrize(
        "written",
        ["1:30", "0777", "1_000", "1e3", "0x1F", "1.10", "no", "on", "true", "2020-01-01", ".inf"],
    )
    def test_only_what_reads_back_as_written_is_no_text(self, written: str) -> None:
        assert parse(f"a: {written}", "f", {}).data == {"a": written}

    @pytest.mark.parametrize(
        ("written", "meant"),
        [("5", 5), ("-3", -3), ("1.5", 1.5), ("'5'", "5"), ("~", None), ("", None), ("'~'", "~")],
    )
    def test_numbers_and_nothing(self, written: str, meant: object) -> None:
        assert parse(f"a: {written}", "f", {}).data == {"a": meant}

    def test_numbers_and_words_decode_where_they_are_wanted(self, load: Load) -> None:
        warm = load(SITE + "warm: {follow: yes, http2: off, retries: 007, rate: 1.50}").warm
        assert (warm.follow, warm.http2, warm.retries, warm.rate) == (True, False, 7, 1.5)

    def test_environment(self) -> None:
        text = (
            "a: ${A}\nb: ${NONE:-7}\nc: x${A}y${A}\nd: ${EMPTY:-full}\ne: '{release}'\n"
            "f: $${A}\ng: ${EMPTY}\nh: '${EMPTY}'\ni: ${JS}\nj: ${NULL}\nk: ${NONE:-}\n"
        )
        environment = {"A": "1", "EMPTY": "", "JS": "{x: [1]}\nsite: evil", "NULL": "null"}
        document = parse(text, "f", environment)
        assert document.problems == []
        assert document.data == {
            "a": "1",
            "b": "7",
            "c": "x1y1",
            "d": "full",
            "e": "{release}",
            "f": "${A}",
            "h": "",
            "i": "{x: [1]}\nsite: evil",
            "j": "null",
        }

    def test_numbers_from_the_environment_are_numbers(self, load: Load) -> None:
        assert load(SITE + "warm: {retries: '${N}'}", N="3").warm.retries == 3

    def test_anchors_aliases_and_merge_keys(self) -> None:
        text = "a: &a {x: 1, y: 2}\nb: *a\nc: {<<: *a, y: 3}\nd: {<<: [*a, {x: 9, z: 4}]}\n"
        document = parse(text, "f", {})
        assert document.problems == []
        assert document.data == {
            "a": {"x": 1, "y": 2},
            "b": {"x": 1, "y": 2},
            "c": {"x": 1, "y": 3},
            "d": {"x": 1, "y": 2, "z": 4},
        }

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("a: [1\nb: 2", "f:2:2: not YAML: did not find expected ',' or ']'"),
            ("a:\n\tb: 1", "f:2:1: not YAML: found character that cannot start any token"),
            ("a: b\x01", "f:1:5: not YAML: character U+0001 is not allowed"),
            ("a: 1\n---\nb: 2", "f:2:1: not YAML: but found another document"),
            ("a: *b", "f:1:4: not YAML: found undefined alias"),
            ("? [1]\n: 2", "f:1:3: a key must be a single word"),
            ("a: {<<: 5}", "f:1:5: a: '<<' expects an alias of a mapping, such as *base"),
            ("a: 1\na: 2", "f:2:1: a: repeated key; it stands in line 1 too"),
            (
                "a: ${A} ${B}",
                "f:1:4: a: ${A} and ${B} not set; set it, or write ${A:-default}",
            ),
            (
                "a: ${A",
                "f:1:4: a: found '${', expected ${NAME} or ${NAME:-default}; "
                "write $${ for a plain ${",
            ),
            (
                "a: {b: ${A}}",
                "f:1:9: not YAML: did not find expected ',' or '}'; "
                "a ${NAME} between { } or [ ] needs quotes",
            ),
        ],
    )
    def test_what_is_wrong_with_the_text(self, text: str, message: str) -> None:
        assert [str(problem) for problem in parse(text, "f", {}).problems] == [message]

    @pytest.mark.parametrize(
        "text",
        [
            "a: &a [*a]",
            "a: &a {<<: *a}",
            "a: &a {b: *a}",
            "- " * 30_000,
            "[" * 200_000,
            "a0: &a0 [x]\n" + "".join(f"a{i + 1}: &a{i + 1} [{f'*a{i},' * 9}]\n" for i in range(9)),
        ],
        ids=["list", "merge", "mapping", "dashes", "brackets", "laughs"],
    )
    def test_hostile_nesting_is_refused(self, text: str) -> None:
        (problem,) = parse(text, "f", {}).problems
        # Newer versions of libyaml have a limit of their own, and their own words for it.
        assert re.search("nested too deeply or too large|maximum nesting", problem.message)

    def test_not_utf8(self, tmp_path: Path) -> None:
        (tmp_path / "x.yaml").write_bytes(b"site: https://shop.example\n# caf\xe9\n")
        with pytest.raises(ConfigError, match=r"x.yaml:2:6: not UTF-8"):
            config.load(tmp_path / "x.yaml", {})

    def test_a_byte_order_mark_is_no_fault(self, tmp_path: Path) -> None:
        (tmp_path / "x.yaml").write_bytes(b"\xef\xbb\xbf" + SITE.encode())
        assert config.load(tmp_path / "x.yaml", {}).site == "https://shop.example"


FAULTY = """\
site: shop.example
colour: v1
allow_hosts: https://cdn.example/
nodes:
  web1: 10.0.0.11:99999
  web2: {adress: 10.0.0.12}
  web3: {address: "10.0.0.13:81", ports: {http: 80, htps: 70000}}
  web4:
  web5: {address: "unix:/run/x", ports: {http: 80}, name: x}
  web2: 10.0.0.2
warmlists:
  top: {file: top.txt, lmit: 1, limit: 0}
  none: {limit: x}
  two: {file: a.txt, sitemap: b.xml, variants: [moblie]}
  typo: {sitmap: b.xml}
  log: {access_log: x.log, topp: 5, include: "re:(", expect: {status: 20}}
  tab: {table: x.csv, template: none, headers: {Cookie: a=SECRET}}
  gone: {file: gone.yaml}
  bare: top.txt
  listed: {file: list.yaml}
warm:
  headers: {Authorization: Bearer SECRET, "X:": a, X-Ok: "SECRET\\nc"}
  variants:
    mobile: {cookie: SECRET}
    desk: {User-Agent: {a: SECRET}}
    tab: SECRET
    me: {cookie: SECRET, personal: true}
  concurrency: 1000
  max_in_flight: 401
  rate: 0
  retries: ${SECRET}
  retires: 3
  timeout: 1:30
  verify: off
  order: priorty
  http2: maybe
  gate:
    min_ok: {go: 99%, floor: 100%}
    min_hit: 95%
    max_p50: 99.9%
    max_p95: {go: 2s, floor: 1s}
    max_p99: {go: 2s}
  expect: {matches: "["}
  verdicts:
    - {header: "X-Cache:", matches: "(", verdict: hit}
  tls: {client_key: k.pem}
"""

FAULTY_LIST = """\
- /
- {url: /b, priorty: 1, variants: [moblie]}
- {url: /c, expect: {status: abc}}
- [x]
"""

FAULTS = """\
cachekit.yaml:1:7: site: found 'shop.example', expected a base URL such as https://shop.example
cachekit.yaml:2:1: colour: unknown key
cachekit.yaml:3:14: allow_hosts: found 'https://cdn.example/', expected a host name such as www.shop.example
cachekit.yaml:5:9: nodes.web1: found '10.0.0.11:99999', expected an address such as 10.0.0.11, web1:8443, [::1]:80 or unix:/path
cachekit.yaml:6:10: nodes.web2.adress: unknown key; did you mean 'address'?
cachekit.yaml:7:42: nodes.web3.ports: the address has a port already; write it in one place
cachekit.yaml:7:59: nodes.web3.ports.htps: unknown scheme, expected http or https
cachekit.yaml:8:8: nodes.web4: found nothing, expected an address such as 10.0.0.11, web1:8443, [::1]:80 or unix:/path
cachekit.yaml:9:41: nodes.web5.ports: a unix socket has no ports; remove one of the two
cachekit.yaml:9:53: nodes.web5.name: unknown key
cachekit.yaml:10:3: nodes.web2: repeated key; it stands in line 6 too
cachekit.yaml:12:24: warmlists.top.lmit: unknown key; did you mean 'limit'?
cachekit.yaml:12:40: warmlists.top.limit: found 0, expected a number of at least 1
cachekit.yaml:13:9: warmlists.none: found no source of URLs, expected one of access_log, file, sitemap, table, urls
cachekit.yaml:13:17: warmlists.none.limit: found 'x', expected a whole number
cachekit.yaml:14:22: warmlists.two.sitemap: found file and sitemap, expected one source of URLs for each list
cachekit.yaml:14:49: warmlists.two.variants[0]: found 'moblie', expected a variant of warm.variants; did you mean 'mobile'?
cachekit.yaml:15:10: warmlists.typo.sitmap: unknown key; did you mean 'sitemap'?
cachekit.yaml:16:28: warmlists.log.topp: unknown key; did you mean 'top'?
cachekit.yaml:16:46: warmlists.log.include: found 're:(', expected a regular expression: missing ), unterminated subpattern at position 0
cachekit.yaml:16:71: warmlists.log.expect.status: found 20, expected a number from 100 to 599
cachekit.yaml:17:16: warmlists.tab.table: not valid: expected a template with columns, such as /product/{id}
cachekit.yaml:17:57: warmlists.tab.headers.Cookie: may be sent only with 'personal: true'; add it to this list
cachekit.yaml:18:16: warmlists.gone.file: gone.yaml cannot be read: No such file or directory
cachekit.yaml:19:9: warmlists.bare: found 'top.txt', expected a mapping with one of access_log, file, sitemap, table, urls
cachekit.yaml:22:28: warm.headers.Authorization: may be sent only with 'personal: true'; put it into a variant that has it
cachekit.yaml:22:49: warm.headers.'X:': the name of a header has no spaces and no colon
cachekit.yaml:22:58: warm.headers.X-Ok: a header's value must be one line, without space around it
cachekit.yaml:24:22: warm.variants.mobile.cookie: may be sent only with 'personal: true'; add it to this variant
cachekit.yaml:25:24: warm.variants.desk.User-Agent: found a mapping, expected text
cachekit.yaml:26:10: warm.variants.tab: found a value that is not shown, expected a mapping
cachekit.yaml:28:16: warm.concurrency: found 1000, expected auto or a number from 1 to 400
cachekit.yaml:29:18: warm.max_in_flight: found 401, expected a number from 1 to 400
cachekit.yaml:30:9: warm.rate: found 0, expected more than 0
cachekit.yaml:31:12: warm.retries: found the value of ${SECRET}, expected a whole number
cachekit.yaml:32:3: warm.retires: unknown key; did you mean 'retries'?
cachekit.yaml:33:12: warm.timeout: found '1:30', expected a duration such as 500ms, 30s, 2m or 1h
cachekit.yaml:35:10: warm.order: found 'priorty', expected file, priority or lastmod
cachekit.yaml:36:10: warm.http2: found 'maybe', expected true or false
cachekit.yaml:38:30: warm.gate.min_ok.floor: found '100%', expected at most the share of 'go'
cachekit.yaml:39:14: warm.gate.min_hit: needs the verify pass, but 'verify' is off
cachekit.yaml:40:14: warm.gate.max_p50: found '99.9%', expected a duration such as 500ms, 30s, 2m or 1h
cachekit.yaml:41:30: warm.gate.max_p95.floor: found '1s', expected at least the time of 'go'
cachekit.yaml:42:5: warm.gate.max_p99.floor: missing; this key is required
cachekit.yaml:43:21: warm.expect.matches: found '[', expected a regular expression: unterminated character set at position 0
cachekit.yaml:45:16: warm.verdicts[0].header: the name of a header has no spaces and no colon
cachekit.yaml:45:37: warm.verdicts[0].matches: found '(', expected a regular expression: missing ), unterminated subpattern at position 0
cachekit.yaml:46:21: warm.tls.client_key: a key without its client_certificate is of no use
list.yaml:2:13: [1].priorty: unknown key; did you mean 'priority'?
list.yaml:2:36: [1].variants[0]: found 'moblie', expected a variant of warm.variants; did you mean 'mobile'?
list.yaml:3:30: [2].expect.status: found 'abc', expected a whole number
list.yaml:4:3: [3]: found a list, expected text or a mapping
"""  # noqa: E501 - messages as they are shown


class TestFaults:
    def test_all_are_reported_at_once_and_in_place(self, faults: Faults, tmp_path: Path) -> None:
        (tmp_path / "list.yaml").write_text(FAULTY_LIST)
        assert faults(FAULTY, SECRET="hunter2 SECRET") == FAULTS.splitlines()

    def test_a_faulty_item_hides_no_other_nor_what_stands_beside(self, faults: Faults) -> None:
        text = SITE + (
            "warmlists:\n"
            "  a: {urls: [{url: /a, priority: x}, {url: /b, variants: nope}]}\n"
            "warm:\n"
            "  verdicts:\n"
            "    - {header: 'a b', matches: '(', verdict: hitt}\n"
            "    - {header: 'a b', matches: '('}\n"
            "    - {header: 'a b', matches: [1], verdict: hit, x: 1}\n"
            "    - 7\n"
        )
        assert [fault.split(": ")[1] for fault in faults(text)] == [
            "warmlists.a.urls[0].priority",
            "warmlists.a.urls[1].variants",
            "warm.verdicts[0].header",
            "warm.verdicts[0].matches",
            "warm.verdicts[0].verdict",
            "warm.verdicts[1].verdict",
            "warm.verdicts[1].header",
            "warm.verdicts[1].matches",
            "warm.verdicts[2].header",
            "warm.verdicts[2].matches",
            "warm.verdicts[2].x",
            "warm.verdicts[3]",
        ]

    def test_secrets_are_never_told(self, faults: Faults, tmp_path: Path) -> None:
        (tmp_path / "list.yaml").write_text(FAULTY_LIST)
        told = "\n".join(faults(FAULTY, SECRET="hunter2 SECRET")).replace("${SECRET}", "")
        assert "SECRET" not in told
        assert "hunter2" not in told

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "1:1: site: missing; this key is required"),
            ("nodes: {}", "1:1: site: missing; this key is required"),
            ("- a", "1:1: found a list, expected a mapping"),
            ("stie: https://shop.example", "1:1: stie: unknown key; did you mean 'site'?"),
            (
                "site: https://u:SECRET@shop.example",
                "1:7: site: found 'https://***@shop.example', "
                "expected a base URL such as https://shop.example",
            ),
            (
                "site: https://shop.example/de",
                "1:7: site: found 'https://shop.example/de', "
                "expected a base URL without a path, such as https://shop.example",
            ),
            (
                SITE + "release: r5538728\nprevious: r37701321",
                "2:10: release: has the same token as r37701321: choose another id",
            ),
            (
                SITE + "release: r42\nprevious: r42",
                "3:11: previous: is the live release itself; expected the one before it, or none",
            ),
            (
                SITE + 'release: "r\\x07"',
                "2:10: release: found 'r\\x07', expected an id of characters that print",
            ),
            (
                SITE + "caches: {a: {type: redis, servers: h, namespace: 's:{relase}:'}}",
                "2:50: caches.a.namespace: unknown placeholder {relase}; did you mean {release}?",
            ),
            (
                SITE + "caches: {a: {type: redis, servers: h, namespace: 's:'}, "
                "b: {type: redis, servers: h, namespace: 's:{release}:'}}",
                "2:97: caches.b.namespace: lies within that of a, whose clears would reach it",
            ),
            (SITE + "nodes: [a]", "2:8: nodes: found a list, expected a mapping of names"),
            (SITE + "warm: 3", "2:7: warm: found 3, expected a mapping"),
            (
                SITE + "warm: {retries: true}",
                "2:17: warm.retries: found 'true', expected a whole number",
            ),
            (
                SITE + "warm: {rate: .inf}",
                "2:14: warm.rate: found '.inf', expected a number",
            ),
            (
                SITE + "warm: {gate: {min_hit: 99.9}}",
                "2:24: warm.gate.min_hit: found 99.9, "
                "expected a percentage with its sign, such as 99.9%",
            ),
            (
                SITE + "warm: {gate: {required: [/ok, 'http://other/x']}}",
                "2:31: warm.gate.required[1]: found 'http://other/x', "
                "expected a URL of the site: another host",
            ),
            (
                SITE + "warm: {stream: yes, order: lastmod}",
                "2:28: warm.order: a streamed run keeps the order of its lists, which is 'file'",
            ),
            (
                SITE + "warmlists: {a: {urls: [/a, {url: /b, verdict: 1}]}}",
                "2:38: warmlists.a.urls[1].verdict: unknown key",
            ),
            (
                SITE + "warmlists: {a: {urls: /, variants: x}}",
                "2:36: warmlists.a.variants: found 'x', "
                "expected a variant of warm.variants, but it has none",
            ),
            (
                SITE + "warmlists: {a: {access_log: x, allow_query: {a: 1}}}",
                "2:45: warmlists.a.allow_query: found a mapping, expected true or false or a list",
            ),
        ],
    )
    def test_one_fault(self, faults: Faults, text: str, message: str) -> None:
        assert faults(text) == [f"cachekit.yaml:{message}"]

    def test_a_merged_fault_names_both_places(self, faults: Faults) -> None:
        text = SITE + "nodes:\n  a: &a {address: 'b c', prot: 1}\n  b: {<<: *a}\n"
        first, second = [fault for fault in faults(text) if "nodes.b." in fault]
        assert re.fullmatch(r"cachekit\.yaml:3:19: .*address: .* \(brought in at line 4\)", first)
        assert re.fullmatch(r"cachekit\.yaml:3:26: .*prot: .* \(brought in at line 4\)", second)

    def test_long_and_odd_values_are_cut_and_escaped(self, faults: Faults) -> None:
        (fault,) = faults(SITE + 'warm: {timeout: "\\e[31m' + "x" * 500 + '"}')
        assert "found '\\x1b[31m" in fault
        assert len(fault) < 200

    def test_keys_with_dots_are_quoted(self, faults: Faults) -> None:
        (fault,) = faults(SITE + "nodes: {web1.example: {address: a, x: 1}}")
        assert "nodes.'web1.example'.x: unknown key" in fault

    def test_a_broken_list_file_is_told_in_its_place(self, faults: Faults, tmp_path: Path) -> None:
        (tmp_path / "l.yaml").write_text("a: [")
        (tmp_path / "m.yaml").write_text("a: b")
        assert [
            fault.split(" (")[0]
            for fault in faults(
                SITE + "warmlists: {a: {file: l.yaml}, b: {file: l.yaml}, c: {file: m.yaml}}"
            )
        ] == [
            "l.yaml:2:1: not YAML: did not find expected node content",
            "m.yaml:1:1: found a mapping, expected a list of URLs",
        ]

    def test_the_list_of_the_command_line_has_its_own_faults(self, tmp_path: Path) -> None:
        (tmp_path / "l.yaml").write_text("- {url: /a, x: 1}\n")
        with pytest.raises(ConfigError, match=r"l\.yaml:1:13: \[0\]\.x: unknown key"):
            config.load_url_list(tmp_path / "l.yaml")
        with pytest.raises(ConfigError, match=r"gone\.yaml cannot be read: No such file"):
            config.load_url_list(tmp_path / "gone.yaml")

    def test_what_cannot_work_in_such_a_list_is_told_in_its_place(self, tmp_path: Path) -> None:
        (tmp_path / "l.yaml").write_text(
            "- /\n- {url: /a, variants: moblie}\n- {url: /b, expect: {status: 99}}\n"
        )
        mobile = {"mobile": Variant(name="mobile")}
        with pytest.raises(ConfigError) as caught:
            config.load_url_list(tmp_path / "l.yaml", variants=mobile)
        assert str(caught.value).replace(f"{tmp_path}/", "").splitlines() == [
            "l.yaml:2:23: [1].variants: found 'moblie', expected a variant of warm.variants;"
            " did you mean 'mobile'?",
            "l.yaml:3:30: [2].expect.status: found 99, expected a number from 100 to 599",
        ]
        with pytest.raises(ConfigError) as caught:
            config.load_url_list(tmp_path / "l.yaml")
        assert len(caught.value.problems) == 1


class TestFinding:
    def test_in_order(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        other, named = tmp_path / "other.yaml", tmp_path / "named.yaml"
        other.touch()
        named.touch()
        environ = {"CACHEKIT_SETTINGS": str(named)}
        assert config.find(None, {}) is None
        assert config.find(None, environ) == named
        (tmp_path / "cachekit.yaml").touch()
        assert config.find(None, environ) == Path("cachekit.yaml")
        assert config.find(other, environ) == other

    def test_a_named_file_must_exist(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(ConfigError, match=r"--settings names no\.yaml, which does not exist"):
            config.find(Path("no.yaml"), {})
        with pytest.raises(ConfigError, match=r"\$CACHEKIT_SETTINGS names no.yaml"):
            config.find(None, {"CACHEKIT_SETTINGS": "no.yaml"})

    def test_a_missing_file_says_what_to_do(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"No such file or directory; .*: cachekit init"):
            config.load(tmp_path / "cachekit.yaml", {})
        with pytest.raises(ConfigError, match=r"cannot be read: Is a directory$"):
            config.load(tmp_path, {})


def _examples() -> list[str]:
    return re.findall(r"```yaml\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)


class TestSchema:
    @pytest.mark.parametrize("text", _examples())
    def test_examples_of_the_documentation(self, load: Load, schema: Any, text: str) -> None:
        load(text)
        jsonschema.validate(for_editors(text), schema)

    def test_the_starter_file(self, schema: Any, tmp_path: Path) -> None:
        path, _ = config.write_starter(tmp_path / "cachekit.yaml", "https://shop.example")
        jsonschema.validate(for_editors(path.read_text()), schema)

    @pytest.mark.parametrize(
        "text",
        [
            "nodes: {a: {address: x, adress: y}}",
            "nodes: {a: 5}",
            "warmlists: {a: {file: x, sitemap: y}}",
            "warmlists: {a: {limit: 1}}",
            "warmlists: {a: {table: x}}",
            "warmlists: {a: {file: x, source: y}}",
            "warm: {gate: {min_hit: 99.9}}",
            "warm: {gate: {max_p95: 10%}}",
            "warm: {timeout: '1:30'}",
            "warm: {retires: 1}",
            "warm: {order: random}",
            "warm: {variants: {a: text}}",
        ],
    )
    def test_faults_that_editors_show(self, faults: Faults, schema: Any, text: str) -> None:
        assert faults(SITE + text)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(for_editors(SITE + text), schema)

    @pytest.mark.parametrize(
        "text",
        [
            "warm: {retries: '${N:-3}', follow: yes, max_error_rate: 0, order: '${O:-file}'}",
            "warm: {headers: {X-Version: 2, X-On: true}, gate: {min_hit: '${M:-90%}'}}",
            "nodes: {a: '${A:-10.0.0.1}'}",
        ],
    )
    def test_what_the_loader_accepts(self, load: Load, schema: Any, text: str) -> None:
        load(SITE + text)
        jsonschema.validate(for_editors(SITE + text), schema)

    def test_defaults_fit_their_own_description(self, schema: Any) -> None:
        warm = schema["$defs"]["WarmSettings"]["properties"]
        shown = {key: value["default"] for key, value in warm.items() if "default" in value}
        assert shown["timeout"] == "60s"
        assert shown["max_error_rate"] == "50%"
        assert shown["max_body"] == "64M"
        assert shown["verify"] == "all"
        for key, default in shown.items():
            jsonschema.validate(default, {**warm[key], "$defs": schema["$defs"]})


class TestStarter:
    def test_it_loads(self, tmp_path: Path) -> None:
        written = config.write_starter(tmp_path / "new" / "cachekit.yaml", "https://x.example/")
        assert written == [
            tmp_path / "new" / "cachekit.yaml",
            tmp_path / "new" / "warmlists" / "top.txt",
        ]
        settings = config.load(written[0], {})
        assert settings.site == "https://x.example"
        assert list(settings.nodes) == ["web1", "web2"]
        assert settings.warmlists["top"].source == UrlFile(file=written[1])

    def test_its_comments_are_settings_too(self, load: Load, tmp_path: Path) -> None:
        path, _ = config.write_starter(tmp_path / "c.yaml", "https://x.example")
        lines = path.read_text().splitlines()
        uncommented = [re.sub(r"^( *)# ( *(- |[a-z][\w-]*:))", r"\1\2", line) for line in lines]
        settings = load("\n".join(uncommented), RELEASE="r2")
        assert list(settings.nodes) == ["web1", "web2", "web3", "web4", "web5"]
        assert list(settings.caches) == ["views", "code", "objects", "sessions", "pages"]
        assert list(settings.warmlists) == ["top", "all", "hot"]
        assert list(settings.plans) == ["deploy", "nightly"]
        assert settings.warm.gate.max_p95 == MaxTime(go=0.5, floor=0.5)

    @pytest.mark.parametrize("existing", ["cachekit.yaml", "warmlists/top.txt"])
    def test_nothing_is_overwritten(self, tmp_path: Path, existing: str) -> None:
        file = tmp_path / existing
        file.parent.mkdir(exist_ok=True)
        file.write_text("mine")
        with pytest.raises(ConfigError, match=f"{existing} exists already"):
            config.write_starter(tmp_path / "cachekit.yaml", "https://x.example")
        assert file.read_text() == "mine"
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == [file]

    def test_nothing_is_left_half_written(self, tmp_path: Path) -> None:
        (tmp_path / "warmlists").write_text("a file in the way")
        with pytest.raises(ConfigError, match="warmlists cannot be written: File exists"):
            config.write_starter(tmp_path / "cachekit.yaml", "https://x.example")
        assert not (tmp_path / "cachekit.yaml").exists()

    @pytest.mark.parametrize(
        "site", ["x.example", "https://x.example/a", 'https://x"y', "https://"]
    )
    def test_a_bad_site_is_refused(self, tmp_path: Path, site: str) -> None:
        with pytest.raises(ConfigError, match="--site: expected a base URL"):
            config.write_starter(tmp_path / "cachekit.yaml", site)
        assert not list(tmp_path.iterdir())


THIRD_PARTY = """
from dataclasses import dataclass
from pathlib import Path

@dataclass(frozen=True, kw_only=True)
class Feed:
    feed: str
    depth: int = 1
    file: Path | None = None

    def __post_init__(self):
        if self.feed.startswith("bad"):
            raise ValueError(f"no such feed: {self.feed}")

    def entries(self, surroundings):
        yield from ()

    def describe(self):
        return self.feed
"""


class TestThirdPartySource:
    @pytest.fixture
    def run(self, tmp_path: Path) -> Callable[[str], str]:
        """Load settings in a process of its own, where a package brings a source."""
        site_packages = tmp_path / "site-packages"
        information = site_packages / "feeds-1.0.dist-info"
        information.mkdir(parents=True)
        (site_packages / "feeds.py").write_text(THIRD_PARTY)
        (information / "METADATA").write_text("Metadata-Version: 2.1\nName: feeds\nVersion: 1.0\n")
        (information / "entry_points.txt").write_text(
            "[cachekit.sources]\nfeed = feeds:Feed\nbroken = feeds:Missing\n"
        )

        def run_text(text: str) -> str:
            (tmp_path / "cachekit.yaml").write_text(SITE + text)
            program = (
                "from pathlib import Path; from cachekit import config\n"
                "from cachekit.errors import ConfigError\n"
                "try: print(config.load(Path('cachekit.yaml'), {}).warmlists['a'])\n"
                "except ConfigError as error: print(error)\n"
                "lists = config.json_schema()['properties']['warmlists']\n"
                "assert [each for each in lists['additionalProperties']['anyOf']\n"
                "        if 'depth' in each['properties'] and 'limit' in each['properties']]\n"
            )
            done = subprocess.run(
                [sys.executable, "-c", program],
                check=True,
                capture_output=True,
                text=True,
                cwd=tmp_path,
                env={**os.environ, "PYTHONPATH": str(site_packages)},
            )
            return done.stdout.strip()

        return run_text

    def test_it_just_works(self, run: Callable[[str], str]) -> None:
        shown = run("warmlists: {a: {feed: x, depth: 2, limit: 3, file: x.txt}}")
        assert "Feed(feed='x', depth=2, file=PosixPath('x.txt'))" in shown
        assert "limit=3" in shown

    def test_its_faults_are_told_like_all_others(self, run: Callable[[str], str]) -> None:
        assert run("warmlists: {a: {feed: x, depht: 2, depth: y}}").splitlines() == [
            "cachekit.yaml:2:26: warmlists.a.depht: unknown key; did you mean 'depth'?",
            "cachekit.yaml:2:43: warmlists.a.depth: found 'y', expected a whole number",
        ]

    def test_its_own_complaints_do_not_quote_values(self, run: Callable[[str], str]) -> None:
        assert run("warmlists: {a: {feed: '${NONE:-bad SECRET}'}}") == (
            "cachekit.yaml:2:23: warmlists.a.feed: not valid: no such feed: …"
        )

    def test_a_broken_one_is_told(self, run: Callable[[str], str]) -> None:
        assert run("warmlists: {a: {broken: x}}") == (
            "cachekit.yaml:2:17: warmlists.a.broken: the source 'broken' is broken: "
            "module 'feeds' has no attribute 'Missing'"
        )


def test_a_thousand_nodes_and_lists_load_quickly(load: Load) -> None:
    load(SITE + "warm: {retries: 1}")
    text = SITE + "nodes:\n"
    text += "".join(f"  n{i}: {{address: 10.0.0.{i % 250}, groups: [web]}}\n" for i in range(1000))
    text += "warmlists:\n"
    text += "".join(f"  l{i}: {{file: l{i}.txt, limit: {i + 1}}}\n" for i in range(1000))
    started = time.perf_counter()
    assert len(load(text).warmlists) == 1000
    assert time.perf_counter() - started < 2  # about 0.15 s where nothing else runs


def test_finding_a_file_costs_no_heavy_import() -> None:
    program = (
        "import sys; from cachekit import config; config.find(None, {}); "
        "sys.exit(bool({'pydantic', 'yaml'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd="/")
