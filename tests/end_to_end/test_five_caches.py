"""All five caches of two nodes, by one settings file over ssh, as a PHP page shows them."""

import http.client
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.command import Cachekit
from tests.servers.machine import Machine
from tests.servers.memcached import Memcached
from tests.servers.nginx import FastCgiNginx
from tests.servers.php_fpm import PhpFpm
from tests.servers.process import ServerProcess
from tests.servers.redis import RedisServer
from tests.servers.sshd import SshClient
from tests.servers.varnish import Varnish, clearable

pytestmark = [pytest.mark.server, pytest.mark.end_to_end]

# Every value is kept where a cache keeps it; one that is missing is made from what is deployed.
PAGE = """<?php
$deployed = trim(file_get_contents('/srv/shop/DEPLOYED'));
$memcached = new Memcached();
$memcached->addServer('127.0.0.1', 11211);
$redis = stream_socket_client('tcp://127.0.0.1:6379');
function redis($redis, string ...$words): ?string {
    fwrite($redis, '*' . count($words) . "\\r\\n");
    foreach ($words as $word) {
        fwrite($redis, '$' . strlen($word) . "\\r\\n$word\\r\\n");
    }
    $line = rtrim(fgets($redis));
    return $line[0] === '$' && $line !== '$-1' ? rtrim(fgets($redis)) : null;
}
function kept(mixed $value, callable $keep): string {
    global $deployed;
    if ($value === null || $value === false) {
        $keep($deployed);
        return $deployed;
    }
    return $value;
}
$view = '/srv/shop/cache/menu.php';
if (!is_file($view)) {
    file_put_contents($view, "<?php return '$deployed';");
}
header('Cache-Control: max-age=3600');
header('Content-Type: application/json');
echo json_encode([
    'code' => include '/srv/shop/www/code.php',
    'view' => include $view,
    'object' => kept($memcached->get('shop:o'), fn($v) => $memcached->set('shop:o', $v)),
    'session' => kept(redis($redis, 'GET', 'shop:s'), fn($v) => redis($redis, 'SET', 'shop:s', $v)),
    'menu' => kept(apcu_fetch('shop:m'), fn($v) => apcu_store('shop:m', $v)),
]);
"""

SETTINGS = """\
site: http://shop.example
nodes:
  web1: {address: "127.0.0.1:8080", ssh: web1, groups: [web]}
  web2: {address: "127.0.0.1:8080", ssh: web2, groups: [web]}
caches:
  views: {type: files, on: web, path: /srv/shop/cache, opcache: code}
  code: {type: apc, on: web}
  objects1: &objects {type: memcache, servers: "127.0.0.1:11211", via: web1, exclusive: true}
  objects2: {<<: *objects, via: web2}
  sessions1: &sessions {type: redis, servers: "127.0.0.1:6379", via: web1, exclusive: true}
  sessions2: {<<: *sessions, via: web2}
  pages: {type: varnish, on: web, cli: "127.0.0.1:6082", secret_file: /srv/shop/secret}
"""

MEMCACHED, REDIS = "127.0.0.1:11211", "127.0.0.1:6379"
KEYED = ("code", "objects1", "objects2", "sessions1", "sessions2")
STORED = ("object", "session", "menu")


@dataclass(frozen=True)
class Web:
    """One node of the site, with everything that a page meets on its way."""

    machine: Machine
    varnish: Varnish

    @property
    def shop(self) -> Path:
        return self.machine.srv / "shop"

    def deploy(self, release: str) -> None:
        """Change what values are made from, and no cache."""
        (self.shop / "DEPLOYED").write_text(release)
        (self.shop / "www" / "code.php").write_text(f"<?php return '{release}';")

    def page(self) -> dict[str, str]:
        """Tell which release each value of the page is of, as a visitor sees it."""
        values: dict[str, str] = json.loads(self.machine.inside(self._get))
        return values

    def _get(self) -> bytes:
        client = http.client.HTTPConnection("127.0.0.1", self.varnish.port, timeout=20)
        try:
            client.request("GET", "/", headers={"Host": "shop.example"})
            answer = client.getresponse()
            body = answer.read()
            assert answer.status == 200, body
            return body
        finally:
            client.close()


@pytest.fixture
def webs(cachekit: Cachekit, tmp_path: Path) -> Iterator[list[Web]]:
    client = SshClient(tmp_path)
    cachekit.environment.update([client.setting])
    (cachekit.folder / "cachekit.yaml").write_text(SETTINGS)
    with ExitStack() as stack:
        yield [_web(stack, name, client) for name in ("web1", "web2")]


def _web(stack: ExitStack, name: str, client: SshClient) -> Web:
    machine = stack.enter_context(Machine(name=name, client=client))
    shop = machine.srv / "shop"
    for folder in ("www", "cache", "build"):
        (shop / folder).mkdir(parents=True)
    # The pool's user writes views.
    (shop / "cache").chmod(0o777)
    (shop / "cache" / ".cachekit").touch()
    (shop / "www" / "index.php").write_text(PAGE)

    def run(server: ServerProcess) -> None:
        server.machine = machine
        stack.enter_context(server)

    fpm = PhpFpm(ini={"opcache.file_update_protection": "0"})
    run(fpm)
    nginx = FastCgiNginx(port=8000, script="/srv/shop/www/index.php", socket=fpm.listening())
    run(nginx)
    run(Memcached(port=11211))
    run(RedisServer(port=6379))
    varnish = Varnish(port=8080, origin=nginx.address, vcl=clearable(), cli=True, cli_port=6082)
    run(varnish)
    (shop / "secret").write_bytes(varnish.secret_file.read_bytes())
    web = Web(machine, varnish)
    web.deploy("r1")
    assert set(web.page().values()) == {"r1"}
    return web


def all_of(release: str) -> dict[str, str]:
    return dict.fromkeys(("code", "view", *STORED), release)


def test_everything_is_cleared_inside_out_on_both_nodes(
    cachekit: Cachekit, webs: list[Web]
) -> None:
    for web in webs:
        web.deploy("r2")
    looked = cachekit.run("clear", "--everything", "--dry-run")
    assert looked.code == 0, looked.stdout
    assert [web.page() for web in webs] == [all_of("r1")] * 2

    cleared = cachekit.run("clear", "--everything", "--yes", "--format", "json")
    assert cleared.code == 0, cleared.stdout
    layers = [step["layer"] for step in cleared.report["steps"]]
    assert layers == sorted(layers)
    assert set(layers) == {10, 20, 30, 35, 50}
    assert [web.page() for web in webs] == [all_of("r2")] * 2


def test_what_is_primed_is_what_the_page_shows(
    cachekit: Cachekit, webs: list[Web], tmp_path: Path
) -> None:
    keys = {"object": "shop:o", "session": "shop:s", "menu": "shop:m"}
    lines = [json.dumps({"key": keys[name], "value": "primed"}) + "\n" for name in STORED]
    records = tmp_path / "records.jsonl"
    records.write_text("".join(lines))
    assert cachekit.run("clear", *KEYED, "--prefix", "shop:", "--yes").code == 0
    primed = cachekit.run("prime", *KEYED, "--from", f"file:{records}")
    assert primed.code == 0, primed.stdout

    for web in webs:
        (web.shop / "build" / "menu.php").write_text("<?php return 'built';")
    built = cachekit.run("prime", "views", "--from", "path:/srv/shop/build")
    assert built.code == 0, built.stdout
    assert "code/opcode at web1 is added: views makes it stale" in built.stdout

    assert [web.page() for web in webs] == [all_of("r1")] * 2, "the edge still has the old page"
    assert cachekit.run("clear", "pages", "--url", "/", "--yes").code == 0
    wanted = {"code": "r1", "view": "built", **dict.fromkeys(STORED, "primed")}
    assert [web.page() for web in webs] == [wanted] * 2


@pytest.mark.usefixtures("webs")
def test_a_status_shows_all_of_them(cachekit: Cachekit) -> None:
    status = cachekit.run("status", "--format", "json")
    assert status.code == 0, status.stdout
    told = {(step["cache"], step["place"]): step["found"] for step in status.report["steps"]}
    stored = ("views", "web2"), ("objects1", MEMCACHED), ("sessions2", REDIS), ("code/user", "web1")
    assert [told[each]["items"] for each in stored] == [1, 1, 1, 1]
    assert told["code/opcode", "web1"]["version"].startswith("8.2")
    assert told["pages", "web2"]["version"]


def test_a_node_that_is_down_fails_alone_and_stops_the_outer_layers(
    cachekit: Cachekit, webs: list[Web]
) -> None:
    for web in webs:
        web.deploy("r2")
    webs[1].machine.refuse_logins()
    done = cachekit.run("clear", "views", "pages", "--everything", "--yes", "--format", "json")
    assert done.code == 1
    outcomes = {(s["cache"], s["place"]): s["outcome"] for s in done.report["steps"]}
    assert outcomes["views", "web1"] == "done"
    assert outcomes["views", "web2"] == "failed"
    assert outcomes["pages", "web1"] == "skipped"
    going = cachekit.run("clear", "views", "code", "pages", "--everything", "--yes", "--keep-going")
    assert going.code == 1
    assert "Permission denied" in going.stdout
    assert webs[0].page()["view"] == webs[0].page()["code"] == "r2"
    assert webs[1].page() == all_of("r1")
