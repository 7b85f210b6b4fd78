"""What `cachekit warm` says to its users' mistakes, and each exit code once."""

import pytest

from tests.command import Cachekit
from tests.servers.lying import LyingServer
from tests.servers.memcached import Memcached
from tests.servers.origin import Origin

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
            "needs the verify pass",
        ),
        (("--url", URL, "--node", NOWHERE, "--header", "Cookie: a=b"), "personal"),
        (("--url", URL, "--node", NOWHERE, "--header", "Cookie"), "want `Name: value`"),
        (("--url", URL, "--node", NOWHERE, "--include", "re:("), "regular expression"),
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
