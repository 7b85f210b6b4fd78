"""What `cachekit warm` says to its users' mistakes, and each exit code once."""

import os
import subprocess
import sys
from collections import Counter

import pytest

from tests.command import Cachekit
from tests.servers.lying import LyingServer
from tests.servers.memcached import Memcached
from tests.servers.origin import Origin, Page

URL = "http://shop.example/"
NOWHERE = "127.0.0.1:1"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "nothing to warm: no --url"),
        (("--url", "/a", "--node", NOWHERE), "the site is unknown: give --site"),
        (("--url", URL), "no nodes: name some"),
        (("--url", URL, "--node", "http://x"), "--node http://x: expected an address such as"),
        (
            ("--url", URL, "--node", NOWHERE, "--min-ok", "99"),
            "expected a percentage with its sign",
        ),
        (("--url", URL, "--node", NOWHERE, "--concurrency", "many"), "expected auto or a number"),
        (
            ("--url", URL, "--node", NOWHERE, "--timeout", "5 bananas"),
            "expected a duration such as",
        ),
        (("--url", URL, "--node", NOWHERE, "--max-in-flight", "5000"), "1<=x<=400"),
        (
            ("--url", URL, "--node", NOWHERE, "--verify", "off", "--min-hit", "9%"),
            "cachekit: --min-hit: needs the verify pass",
        ),
        (
            ("--url", URL, "--node", NOWHERE, "--header", "Cookie: a=b"),
            "cachekit: --header Cookie: may be sent only with 'personal: true'",
        ),
        (
            ("--url", URL, "--node", NOWHERE, "--variant", "member=Cookie: a=b"),
            "cachekit: --variant member=Cookie: may be sent only",
        ),
        (("--url", URL, "--node", NOWHERE, "--site", "shop"), "cachekit: --site: expected a base"),
        (
            ("--url", URL, "--node", NOWHERE, "--require", "http://other.example/"),
            "cachekit: --require: expected a URL of the site",
        ),
        (
            ("--url", URL, "--node", NOWHERE, "--stream", "--order", "lastmod"),
            "cachekit: --order: a streamed run keeps the order",
        ),
        (
            (
                "--site",
                URL,
                "--list",
                "absent.txt",
                "--access-log",
                "absent.log",
                "--node",
                NOWHERE,
            ),
            "--list absent.txt: absent.txt cannot be read: No such file or directory\n"
            "cachekit: --access-log [0]: absent.log cannot be read",
        ),
        (
            ("--url", URL, "--node", NOWHERE, "--ca-file", "absent.pem"),
            "--ca-file: absent.pem cannot be read",
        ),
        (("--url", URL, "--node", NOWHERE, "--top", "3"), "--top: is about --access-log"),
        (
            ("--url", URL, "--node", NOWHERE, "--dry-run", "--format", "junit"),
            "--format junit: a plan has none",
        ),
        (("--url", URL, "--node", NOWHERE, "--header", "Cookie"), "want `Name: value`"),
        (("--url", URL, "--node", NOWHERE, "--include", "re:("), "--include: expected a regular"),
        (("--url", URL, "--node", NOWHERE, "--variant", "tablet"), "no variant named tablet"),
        (("--url", URL, "--group", "web"), "no node is in group web"),
        (("top", "--url", URL, "--node", NOWHERE), "not both"),
        (("--list", "absent.txt", "--node", NOWHERE), "absent.txt: cannot be read: No such file"),
        (("--url", URL, "--node", NOWHERE, "--settings", "absent.yaml"), "cachekit init"),
    ],
)
def test_mistakes_are_exit_2_with_one_clear_message(
    cachekit: Cachekit, arguments: tuple[str, ...], message: str
) -> None:
    done = cachekit.warm(*arguments)
    assert done.code == 2
    assert message in done.stderr
    assert done.stdout == ""


def test_a_fault_in_a_list_names_its_line(cachekit: Cachekit) -> None:
    (cachekit.folder / "top.yaml").write_text("- /a\n- {url: /, variants: mobile}\n")
    arguments = ("--list", "top.yaml", "--site", URL, "--node", NOWHERE)
    done = cachekit.warm(*arguments)
    assert done.code == 2
    assert "top.yaml:2:22: [1].variants: found 'mobile', expected a variant of" in done.stderr
    known = cachekit.warm(*arguments, "--variant", "mobile=X-Device: mobile", "--dry-run")
    assert known.code == 0, known.stderr


def test_a_fault_of_the_file_keeps_its_key_beside_options(cachekit: Cachekit) -> None:
    (cachekit.folder / "cachekit.yaml").write_text(
        f"site: {URL}\nwarm: {{gate: {{min_hit: 9%}}}}\n"
    )
    done = cachekit.warm("--url", URL, "--node", NOWHERE, "--verify", "off")
    assert done.code == 2
    assert "cachekit: warm.gate.min_hit: needs the verify pass" in done.stderr


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.txt", "# https://docs.example/guide\n\n/a\nhttp://shop.example/b\n"),
        ("list.yaml", "# https://docs.example/guide\n- /a\n- 'http://shop.example/b'\n"),
        ("-", "# https://docs.example/guide\nhttp://shop.example/b\n"),
    ],
)
def test_the_site_is_that_of_the_first_url_and_not_of_a_comment(
    cachekit: Cachekit, name: str, text: str
) -> None:
    (cachekit.folder / name).write_text(text)
    done = cachekit.warm("--list", name, "--node", NOWHERE, "--dry-run", stdin=text)
    assert done.code == 0, done.stderr
    assert done.stdout.startswith("PLAN  http://shop.example\n")


def test_a_dry_run_names_lists_as_they_were_given(cachekit: Cachekit) -> None:
    cachekit.write_list([URL])
    (cachekit.folder / "s.txt").write_text(URL)
    arguments = ("--url", URL, "--list", "list.txt", "--sitemap", "s.txt", "--node", NOWHERE)
    done = cachekit.warm(*arguments, "--site", URL, "--dry-run")
    assert [line for line in done.stdout.splitlines() if line.startswith("from ")] == [
        f"from --url: {URL}",
        "from --list list.txt: list.txt",
        "from --sitemap s.txt: s.txt",
    ]


def test_options_choose_and_order_the_urls(cachekit: Cachekit) -> None:
    urls = {"/low": 0.1, "/high": 0.9, "/mid": 0.5, "/private": 1}
    (cachekit.folder / "list.yaml").write_text(
        "".join(f"- {{url: {url}, priority: {priority}}}\n" for url, priority in urls.items())
    )
    arguments = ("--site", URL, "--list", "list.yaml", "--node", NOWHERE, "--order", "priority")
    done = cachekit.warm(
        *arguments, "--limit", "2", "--exclude", "/priv*", "--dry-run", "--format", "json"
    )
    assert done.report["examples"] == [URL + "high", URL + "mid"]
    assert done.report["cuts"] == {"over the limit": 1, "excluded": 1}


def test_options_turn_off_what_the_file_turns_on(cachekit: Cachekit, origin: Origin) -> None:
    origin.page("/", status=302, headers={"Location": "/to"})
    (cachekit.folder / "cachekit.yaml").write_text(
        f"site: {URL}\nnodes: {{a: '{origin.address}'}}\nwarmlists: {{a: {{urls: [/, /]}}}}\n"
        "warm: {follow: true, stream: true, http2: true, public_sitemap: true}\n"
    )
    on = cachekit.warm("--format", "json")
    assert (on.code, on.report["urls"]) == (0, 2)
    off = cachekit.warm(
        *("--no-follow", "--no-stream", "--no-http2", "--no-public-sitemap", "--format", "json")
    )
    assert (off.code, off.report["urls"]) == (1, 1)


def test_nothing_to_ask_is_never_a_go(cachekit: Cachekit, origin: Origin) -> None:
    done = cachekit.warm("--site", URL, "--url", "http://other.example/", "--node", origin.address)
    assert done.code == 1
    assert "left out: 1 x another host" in done.stdout
    assert "nothing was asked" in done.stdout
    assert not origin.requests


def test_an_unreadable_list_is_a_no_go_that_names_it(cachekit: Cachekit) -> None:
    done = cachekit.warm("--site", URL, "--sitemap", "absent.xml", "--node", NOWHERE)
    assert done.code == 1
    assert "absent.xml: no such file" in done.stderr


def test_a_sitemap_that_no_node_gives_names_every_node(cachekit: Cachekit) -> None:
    done = cachekit.warm("--sitemap", URL + "s.xml", "--node", NOWHERE, "--node", "127.0.0.2:1")
    assert done.code == 1
    assert "through node 127.0.0.1:1: connect" in done.stderr
    assert "through node 127.0.0.2:1: connect" in done.stderr


def test_a_state_directory_that_cannot_be_written(cachekit: Cachekit) -> None:
    (cachekit.folder / "state").write_text("a file")
    done = cachekit.warm("--url", URL, "--node", NOWHERE)
    assert done.code == 2
    assert "choose another --state-dir" in done.stderr


def test_overload_is_waited_out_and_said(cachekit: Cachekit, lying_server: LyingServer) -> None:
    lying_server.lie("/", "too_many_requests", first=1, retry_after="1")
    done = cachekit.warm(
        "--url", URL, "--node", lying_server.address, "--format", "json", "--verify", "off"
    )
    assert done.code == 0, done.stdout
    assert done.report["total"]["fill"]["retries"] == 1
    assert done.report["elapsed"] >= 1


def test_what_hostile_answers_say_cannot_act_on_a_terminal(
    cachekit: Cachekit, origin: Origin
) -> None:
    origin.page("/", status=302, headers={"Location": "http://evil.example/\x1b[31mred"})
    done = cachekit.warm("--url", URL, "--node", origin.address)
    assert done.code == 1
    assert "\x1b" not in done.stdout + done.stderr


def test_passwords_in_urls_are_redacted(cachekit: Cachekit, origin: Origin) -> None:
    url = "http://user:s3cret@shop.example/"
    done = cachekit.warm("--url", url, "--site", URL, "--node", origin.address, "-v")
    written = "".join(p.read_text() for p in cachekit.state_dir.rglob("*") if p.is_file())
    assert "s3cret" not in done.stdout + done.stderr + written
    assert "user name or password in the URL" in done.stdout
    assert not origin.requests


def test_verbose_names_each_failure_as_it_comes(cachekit: Cachekit, origin: Origin) -> None:
    origin.page("/gone", status=410)
    done = cachekit.warm("--url", URL + "gone", "--node", origin.address, "-v")
    assert f"fill {origin.address} {URL}gone: status-410" in done.stderr


def test_quiet_silences_progress_only(cachekit: Cachekit, origin: Origin) -> None:
    done = cachekit.warm("--url", URL, "--node", origin.address, "--quiet")
    assert done.stderr == ""
    assert done.stdout.startswith("GO")


def test_a_reader_that_goes_away_is_no_traceback(cachekit: Cachekit, origin: Origin) -> None:
    command = ("--state-dir", str(cachekit.state_dir), "--url", URL, "--node", origin.address)
    with cachekit.start("warm", *command) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert "Traceback" not in process.stderr.read()
        assert process.wait(20) == 1


def test_every_command_has_help(cachekit: Cachekit) -> None:
    listing = cachekit.run("--help").stdout
    commands = [line.split()[0] for line in listing.partition("Commands:")[2].splitlines() if line]
    assert {"warm", "check", "init", "schema", "demo"} <= set(commands)
    for command in commands:
        assert cachekit.run(command, "--help").code == 0


def test_check_tries_each_node(cachekit: Cachekit, origin: Origin) -> None:
    (cachekit.folder / "cachekit.yaml").write_text(
        f"site: {URL}\nnodes: {{up: '{origin.address}', down: '{NOWHERE}'}}\n"
        "warmlists: {a: {urls: /}}\n"
    )
    done = cachekit.run("check")
    assert done.code == 1
    up, down = done.stdout.splitlines()
    assert up.split()[:3] == ["up", origin.address, "ok"]
    assert "no cache header" in up
    assert down.split()[:3] == ["down", NOWHERE, "FAILED"]
    assert cachekit.run("check", "--node", "up").code == 0


def test_a_mistyped_node_is_no_host_name(cachekit: Cachekit) -> None:
    (cachekit.folder / "cachekit.yaml").write_text(
        f"site: {URL}\nnodes: {{web1: '{NOWHERE}'}}\nwarmlists: {{a: {{urls: /}}}}\n"
    )
    done = cachekit.warm("--node", "web2")
    assert done.code == 2
    assert "--node web2: no node is called so; did you mean 'web1'?" in done.stderr


@pytest.mark.server
def test_check_asks_each_cache_for_its_state(cachekit: Cachekit, origin: Origin) -> None:
    with Memcached() as up, Memcached() as down:
        (cachekit.folder / "cachekit.yaml").write_text(
            f"site: {URL}\nnodes: {{web1: '{origin.address}'}}\nwarmlists: {{a: {{urls: /}}}}\n"
            f"caches: {{one: {{type: memcache, servers: '{up.address}'}},"
            f" two: {{type: memcache, servers: '{down.address}'}}}}\n"
        )
        assert cachekit.run("check").code == 0
        down.stop()
        done = cachekit.run("check")
        assert done.code == 1
        assert f"two at {down.address}" in done.stdout
        assert "is it running there?" in done.stdout
        assert cachekit.run("check", "--node", "web1").code == 0


@pytest.mark.parametrize(
    ("nodes", "source", "message"),
    [
        ("{a: 127.0.0.1}", "{file: absent.txt}", "warmlists.a.file: "),
        (
            "{a: 127.0.0.1, b: '127.0.0.1:80'}",
            "{urls: /}",
            "nodes: a and b are one place, 127.0.0.1:80; name it once",
        ),
    ],
)
def test_check_calls_nothing_valid_that_cannot_be_warmed(
    cachekit: Cachekit, nodes: str, source: str, message: str
) -> None:
    (cachekit.folder / "cachekit.yaml").write_text(
        f"site: {URL}\nnodes: {nodes}\nwarmlists: {{a: {source}}}\n"
    )
    done = cachekit.run("check")
    assert done.code == 2
    assert message in done.stderr
    assert "valid" not in done.stderr


def test_check_of_nothing_says_what_is_missing(cachekit: Cachekit) -> None:
    (cachekit.folder / "cachekit.yaml").write_text(f"site: {URL}\nwarmlists: {{a: {{urls: /}}}}\n")
    done = cachekit.run("check")
    assert done.code == 2
    assert "no nodes: name some under `nodes:`" in done.stderr


def test_check_of_caches_without_nodes_asks_the_caches(cachekit: Cachekit) -> None:
    (cachekit.folder / "cachekit.yaml").write_text(
        f"site: {URL}\ncaches: {{one: {{type: memcache, servers: '{NOWHERE}'}}}}\n"
    )
    done = cachekit.run("check")
    assert done.code == 1
    assert done.stdout.startswith("FAILED  status")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become a user that does not exist")
def test_a_user_without_a_home_is_asked_for_a_state_directory() -> None:
    program = (
        "import os\n"
        "from cachekit.cli.choices import state_dir_of\n"
        "from cachekit.errors import ConfigError\n"
        "from cachekit.settings import Settings\n"
        "os.setuid(54321)\n"
        "del os.environ['HOME']\n"
        "try:\n"
        "    state_dir_of(Settings(site='http://shop.example'), {})\n"
        "except ConfigError as error:\n"
        "    print(error)\n"
    )
    environment = os.environ | {"HOME": "/nowhere"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert "give --state-dir" in done.stdout, done.stderr


def test_a_sample_is_another_on_each_node_and_tells_how_little_it_proves(
    cachekit: Cachekit, origin: Origin
) -> None:
    urls = cachekit.write_list([f"{URL}{number}" for number in range(200)])
    with Origin(host="127.0.0.2") as other:
        for node in (origin, other):
            node.default = lambda _: Page(headers={"X-Cache": "HIT"})
        nodes = ("--node", origin.address, "--node", other.address)
        done = cachekit.warm(
            *("--list", str(urls), *nodes, "--format", "json"),
            *("--verify", "sample:10%", "--min-hit", "99%"),
        )
        first, second = (
            {target for target, count in Counter(node.targets()).items() if count == 2}
            for node in (origin, other)
        )
    assert done.code == 0, done.stderr
    assert first
    assert second - first
    (warning,) = done.report["warnings"]
    assert warning.startswith("the sample meets min_hit of 99%, but proves only ")
