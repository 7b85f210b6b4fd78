"""OPcache and APCu as PHP pages in real pools see them."""

import base64
import json
import mmap
import os
import re
import shlex
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from cachekit.caches import apc as package
from cachekit.caches.apc import Apc
from cachekit.caches.apc.call import program
from cachekit.caches.base import Change, Conditions, Filling, Place, Status, Survey
from cachekit.caches.namespace import prefix_of
from cachekit.deadline import Deadline
from cachekit.errors import (
    CachekitError,
    CommandError,
    RefusedError,
    SourceError,
    UnexpectedReplyError,
    UnreachableError,
)
from cachekit.model import Node, parse_address
from cachekit.outcomes import StepOutcome, judged
from cachekit.scope import EVERYTHING, Kind, Scope
from tests.command import Cachekit
from tests.servers.machine import Machine
from tests.servers.php_fpm import PhpFpm, Pool, as_php
from tests.servers.process import require_program, wait_until
from tests.servers.sshd import SshClient

pytestmark = pytest.mark.server

NODE = Node(name="web1", address=parse_address("127.0.0.1"))
AS_ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not AS_ROOT, reason="starts programs as other users")

HOOK = Path(package.__file__).parent / "hook"

Start = Callable[..., PhpFpm]

# A full segment of which every second entry is deleted: half of it is free, in small pieces.
FRAGMENTS = """
for ($i = 0; $i < 74; $i++) { apcu_store("k$i", str_repeat('x', 100000)); }
for ($i = 0; $i < 74; $i += 2) { apcu_delete("k$i"); }
"""


@pytest.fixture
def fpm_with() -> Iterator[Start]:
    """Start masters; all of `PhpFpm`'s parameters."""
    with ExitStack() as started:
        yield lambda *pools, **more: started.enter_context(PhpFpm(pools=pools or (Pool(),), **more))


@pytest.fixture
def fpm(fpm_with: Start) -> PhpFpm:
    return fpm_with()


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    before = leftovers()
    yield
    # Other tests, in other processes, have theirs for a moment.
    assert wait_until(lambda: not leftovers() - before), leftovers() - before


def leftovers() -> set[str]:
    name = "cachekit-" + "[0-9a-f]" * 32
    return {str(path) for parent in ("/dev/shm", "/tmp") for path in Path(parent).glob(name)}


def cache(*sockets: str, **settings: Any) -> Apc:
    return Apc(**{"on": ("web1",), "sockets": sockets} | settings)


def opcode(*sockets: str, **settings: Any) -> Apc:
    return cache(*sockets, segments=("opcode",), **settings)


def user(*sockets: str, **settings: Any) -> Apc:
    return cache(*sockets, segments=("user",), **settings)


def place_of(apc: Apc) -> Place:
    (place,) = apc.places({"web1": NODE})
    return place


def conditions(seconds: float = 20.0, **more: Any) -> Conditions:
    return Conditions(deadline=Deadline(seconds), state_dir=Path("/nonexistent"), **more)


def clear(apc: Apc, scope: Scope = EVERYTHING, **more: Any) -> Change:
    assert not apc.refusal(scope, conditions(**more))
    return apc.clear(place_of(apc), scope, conditions(**more))


def survey(apc: Apc, scope: Scope = EVERYTHING) -> Survey:
    return apc.survey(place_of(apc), scope, conditions())


def status(apc: Apc) -> Status:
    return apc.status(place_of(apc), conditions())


def prime(apc: Apc, kind: str, value: object, **more: Any) -> Change:
    return apc.prime([place_of(apc)], Filling(kind=kind, value=str(value)), conditions(**more))


def records(tmp_path: Path, *lines: dict[str, Any]) -> Path:
    path = tmp_path / "records.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@contextmanager
def running(fpm: PhpFpm, pool: str = "www") -> Iterator[Callable[[], None]]:
    """Have a page run meanwhile; what is yielded ends it."""
    state = fpm.data_dir / "www" / "running"
    state.touch()
    state.chmod(0o666)
    file = as_php(str(state))
    page = f"file_put_contents({file}, 'x'); while (file_get_contents({file}) == 'x') usleep(9000);"
    thread = threading.Thread(target=fpm.php, args=(page, pool))
    thread.start()
    assert wait_until(lambda: state.read_text() == "x", 20)
    try:
        yield lambda: state.unlink(missing_ok=True)
    finally:
        state.unlink(missing_ok=True)
        thread.join()


# What is shared


def test_the_pools_of_a_master_are_cleared_once_and_masters_one_by_one(fpm_with: Start) -> None:
    both = fpm_with(Pool(), Pool(name="admin", user="nobody", tcp=True))
    other = fpm_with()
    apc = opcode(*both.sockets, *other.sockets)
    change = clear(apc)
    assert (both.restarts, other.restarts) == (1, 1)
    assert len(change.evidence) == 2
    assert "www" in change.evidence[0]
    assert "admin" in change.evidence[0]


def test_the_command_line_has_an_apcu_of_its_own_and_the_pools_one_is_cleared(
    fpm_with: Start,
) -> None:
    both = fpm_with(Pool(), Pool(name="admin", user="nobody"))
    both.put("a", "b", pool="admin")
    assert both.there("a", "b") == {"a", "b"}
    change = clear(user(both.listening("www")))
    assert (change.found, change.removed, change.left) == (2, 2, 0)
    assert not both.there("a", "b", pool="admin")


@needs_root
def test_containers_that_began_alike_are_told_apart() -> None:
    # In each the master is process 1, and both memories began in the same second, or nearly.
    with Contained() as one, Contained() as two:
        one.put("a")
        two.put("a")
        assert clear(user(*one.sockets, *two.sockets)).removed == 2
        assert not one.there("a") | two.there("a")


@dataclass(kw_only=True, eq=False)
class Contained(PhpFpm):
    """A master in a container of its own, as far as names and processes go."""

    program: ClassVar[str] = "unshare"

    def argv(self) -> list[str]:
        inner = shlex.join([require_program(PhpFpm.program), *super().argv()])
        named = f"hostname {self.data_dir.name}; exec {inner}"
        return ["--uts", "--pid", "--fork", "--kill-child", "sh", "-c", named]

    def stop(self) -> None:
        """`unshare` waits for what it started, which as process 1 heeds no mere request."""
        if self in self.running:
            self.kill()
        super().stop()


def test_a_glob_of_sockets_and_a_namespace(fpm: PhpFpm) -> None:
    fpm.put("shop:a", "blog:b")
    apc = user(f"{fpm.data_dir}/*.sock", namespace="shop:")
    assert clear(apc).removed == 1
    assert fpm.there("shop:a", "blog:b") == {"blog:b"}
    assert "outside" in apc.refusal(Scope(Kind.KEY, ("blog:b",)), conditions())


def test_releases_have_keys_of_their_own(fpm: PhpFpm, tmp_path: Path) -> None:
    apc = user(*fpm.sockets, namespace="shop:{release}:")
    path = records(tmp_path, {"key": "shop:{release}:menu", "value": 1})
    with pytest.raises(RefusedError, match="which release"):
        prime(apc, "file", path)
    for release in ("r1", "r2"):
        assert prime(apc, "file", path, release=release).stored == 1
    old, new = (prefix_of(apc.namespace, release) + "menu" for release in ("r1", "r2"))
    assert fpm.there(old, new) == {old, new}
    old_release = Scope(Kind.RELEASE, ("r1",))
    assert "rollback" in apc.refusal(old_release, conditions(release="r2", previous="r1"))
    assert clear(apc, old_release, release="r2").removed == 1
    assert fpm.there(old, new) == {new}


@needs_root
def test_pools_are_found_without_being_named(fpm_with: Start) -> None:
    fpm = fpm_with(Pool(), Pool(name="admin", tcp=True))
    details = " ".join(status(user()).details)
    assert all(f"({socket})" in details for socket in fpm.sockets)


def test_a_survey_tells_whom_a_clear_would_hit(fpm_with: Start) -> None:
    fpm = fpm_with(Pool(), Pool(name="admin"))
    fpm.put("a", "b")
    whole = survey(user(*fpm.sockets))
    assert (whole.found, whole.total) == (2, 2)
    assert set(whole.examples) == {"a", "b"}
    assert "admin" in whole.warnings[0]
    assert survey(user(*fpm.sockets), Scope(Kind.KEY, ("a",))).found == 1


# Clearing OPcache


@pytest.mark.parametrize(
    ("style", "before"), [("document_root", "v1 lib1"), ("realpath_root", "v2 lib1")]
)
def test_new_code_runs_after_a_clear_behind_a_flipped_link(
    fpm_with: Start, style: str, before: str
) -> None:
    fpm = fpm_with(Pool(children=1))
    for release in ("1", "2"):
        fpm.write(f"{release}/lib.php", f"<?php echo 'lib{release}';")
        fpm.write(
            f"{release}/index.php",
            f"<?php echo 'v{release} '; include '{fpm.data_dir}/www/current/lib.php';",
        )
    current = fpm.data_dir / "www" / "current"
    current.symlink_to("1")

    def page() -> str:
        home = current if style == "document_root" else current.resolve()
        return fpm.run(home / "index.php").body

    assert page() == "v1 lib1"
    flip(current, "2")
    assert page() == before, "there is nothing to clear"
    change = clear(opcode(*fpm.sockets))
    assert {page() for _ in range(6)} == {"v2 lib2"}
    assert change.evidence
    assert change.left is None


def flip(link: Path, target: str) -> None:
    new = link.with_suffix(".new")
    new.symlink_to(target)
    new.rename(link)


def test_a_deleted_file_stops_to_run_once_it_is_invalidated(fpm_with: Start) -> None:
    fpm = fpm_with(Pool(children=1))
    script = fpm.write("a.php", "<?php echo 'old';")
    fpm.run(script)
    script.unlink()
    assert fpm.run(script).body == "old"
    change = clear(opcode(*fpm.sockets), Scope(Kind.PATH, (str(script),)))
    assert (change.found, change.removed, change.left) == (1, 1, 0)
    assert fpm.run(script).status == 404


def test_a_pending_restart_is_no_success_and_one_that_comes_through_is(fpm: PhpFpm) -> None:
    script = fpm.write("a.php", "<?php echo 1;")
    fpm.run(script)
    with running(fpm) as end:
        with pytest.raises(RefusedError, match=r"web1.*pending, not done"):
            clear(opcode(*fpm.sockets), seconds=1.5)
        assert any("pending" in line for line in status(opcode(*fpm.sockets)).hazards)
        threading.Timer(0.3, end).start()
        assert clear(opcode(*fpm.sockets)).evidence
    assert fpm.restarts == 1, "it was asked for again while it was pending"
    assert fpm.is_cached(script) == [False]


def test_opcache_or_apcu_that_is_off_is_never_cleared(fpm_with: Start) -> None:
    off = fpm_with(ini={"opcache.enable": "0", "apc.enabled": "0"})
    with pytest.raises(RefusedError, match=r"web1.*www.*opcache\.enable=0.*segments: user"):
        clear(opcode(*off.sockets))
    with pytest.raises(RefusedError, match=r"apc\.enabled=0.*segments: opcode"):
        clear(user(*off.sockets))
    with pytest.raises(RefusedError, match=r"apc\.enabled=0"):
        status(user(*off.sockets))


def test_one_master_that_refuses_is_told_after_the_others_are_done(fpm_with: Start) -> None:
    off, on = fpm_with(ini={"apc.enabled": "0"}), fpm_with()
    on.put("a")
    with pytest.raises(RefusedError, match=r"apc\.enabled=0.*done, however: master \d+ .*cleared"):
        clear(user(*off.sockets, *on.sockets))
    assert not on.there("a")
    told = status(user(*off.sockets, *on.sockets))
    assert any("apc.enabled=0" in line for line in told.hazards)


def test_disabled_functions_are_named_or_a_sibling_pool_does_it(fpm_with: Start) -> None:
    disabled = Pool(
        name="tight", admin={"disable_functions": "opcache_reset,apcu_clear_cache,posix_getppid"}
    )
    fpm = fpm_with(disabled, Pool())
    with pytest.raises(RefusedError, match=r"tight.*disable_functions.*opcache_reset"):
        clear(opcode(fpm.listening("tight")))
    with pytest.raises(RefusedError, match=r"tight.*disable_functions.*apcu_clear_cache"):
        clear(user(fpm.listening("tight")))
    fpm.put("a")
    assert clear(cache(*fpm.sockets)).evidence
    assert fpm.restarts == 1
    assert not fpm.there("a")


def test_restrict_api_is_named_and_met_by_tmp(fpm_with: Start) -> None:
    allowed = open_directory("restrict")
    fpm = fpm_with(ini={"opcache.restrict_api": str(allowed)})
    try:
        with pytest.raises(RefusedError, match=rf"restrict_api.*is {allowed}; set `tmp`"):
            clear(opcode(*fpm.sockets))
        assert clear(opcode(*fpm.sockets, tmp=str(allowed))).evidence
        assert not list(allowed.iterdir())
    finally:
        shutil.rmtree(allowed)


def test_open_basedir_is_named_and_met_by_tmp(fpm_with: Start) -> None:
    allowed = open_directory("basedir")
    fpm = fpm_with(Pool(admin={"open_basedir": str(allowed)}))
    try:
        with pytest.raises(RefusedError, match=r"web1.*open_basedir of the pool.*set `tmp`"):
            clear(user(*fpm.sockets))
        assert clear(user(*fpm.sockets, tmp=str(allowed))).evidence
        assert clear(opcode(*fpm.sockets, tmp=str(allowed))).evidence
    finally:
        shutil.rmtree(allowed)


@needs_root
def test_a_chroot_is_named_and_met_by_tmp(fpm_with: Start) -> None:
    jail = open_directory("jail")
    (jail / "run").mkdir(mode=0o755)
    fpm = fpm_with(Pool(settings={"chroot": str(jail)}))
    try:
        with pytest.raises(RefusedError, match=r"does not see /dev/shm.*chroot.*set `tmp`"):
            clear(user(*fpm.sockets))
        change = clear(user(*fpm.sockets, tmp=f"{jail}/run"))
        assert change.left == 0
        assert change.evidence
    finally:
        shutil.rmtree(jail)


def open_directory(name: str) -> Path:
    """Make a directory that pools of any user can come to, unlike those of pytest."""
    path = Path(f"/tmp/ck-{name}-{os.getpid()}-{time.monotonic_ns()}")
    path.mkdir(mode=0o755)
    return path


def test_tmp_must_be_there_and_safe(fpm: PhpFpm, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="/nonexistent is no directory"):
        clear(user(*fpm.sockets, tmp="/nonexistent"))
    tmp_path.chmod(0o777)
    with pytest.raises(RefusedError, match="can be written by others"):
        clear(user(*fpm.sockets, tmp=str(tmp_path)))


@needs_root
def test_preloaded_code_needs_a_reload_which_may_be_set(fpm_with: Start) -> None:
    home = open_directory("preload")
    preloaded = home / "preload.php"
    preloaded.write_text("<?php class Shop { const VERSION = 1; }")
    try:
        fpm = fpm_with(ini={"opcache.preload": str(preloaded), "opcache.preload_user": "www-data"})
        preloaded.write_text("<?php class Shop { const VERSION = 2; }")
        with pytest.raises(RefusedError, match=r"opcache\.preload .*preload\.php.*reload_command"):
            clear(opcode(*fpm.sockets))
        with pytest.raises(RefusedError, match=r"1 scripts stay.*preload\.php.*need a reload"):
            clear(opcode(*fpm.sockets), Scope(Kind.PATH, (str(home),)))
        assert fpm.php("echo Shop::VERSION;") == "1"
        assert any("preload" in line for line in status(opcode(*fpm.sockets)).hazards)
        time.sleep(1.1)  # Clocks of segments count whole seconds.
        change = clear(opcode(*fpm.sockets, reload_command=(f"kill -USR2 {fpm.pid}",)))
        assert fpm.php("echo Shop::VERSION;") == "2"
        assert "new memory" in change.evidence[1]
        assert "APCu" in change.warnings[0]
        assert "process_control_timeout is 0" in change.warnings[1]
    finally:
        shutil.rmtree(home)


def test_a_reload_that_does_not_happen_is_no_success(fpm: PhpFpm) -> None:
    with pytest.raises(RefusedError, match="not seen to have happened: www"):
        clear(opcode(*fpm.sockets, reload_command=("true",)), seconds=2.0)
    with pytest.raises(CommandError, match="status 3: no rights"):
        clear(opcode(*fpm.sockets, reload_command=("sh", "-c", "echo no rights; exit 3")))


def test_a_reload_says_nothing_of_pools_that_could_not_be_asked(fpm: PhpFpm) -> None:
    time.sleep(1.1)  # As above.
    apc = opcode(*fpm.sockets, "/nonexistent.sock", reload_command=(f"kill -USR2 {fpm.pid}",))
    with pytest.raises(UnreachableError, match=r"nonexistent.*done, however: .*every pool has new"):
        clear(apc)


def test_compiled_files_of_file_cache_go_as_well(fpm_with: Start) -> None:
    store = open_directory("filecache")
    store.chmod(0o777)
    try:
        fpm = fpm_with(ini={"opcache.file_cache": str(store)})
        script = fpm.write("a.php", "<?php echo 'one';")
        other = fpm.write("b.php", "<?php echo 'one';")
        assert [fpm.run(each).body for each in (script, other)] == ["one", "one"]
        assert len(list(store.rglob("?.php.bin"))) == 2
        for each in (script, other):
            each.write_text("<?php echo 'two';")
        change = clear(opcode(*fpm.sockets), Scope(Kind.PATH, (str(script),)))
        assert not any(script.name in file.name for file in store.rglob("*.bin"))
        assert [fpm.run(each).body for each in (script, other)] == ["two", "one"]
        change = clear(opcode(*fpm.sockets))
        assert "opcache.file_cache" in change.evidence[1]
        assert fpm.run(other).body == "two"
    finally:
        shutil.rmtree(store)


@needs_root
def test_compiled_files_that_stay_are_no_success(fpm_with: Start) -> None:
    store = open_directory("filecache")
    store.chmod(0o777)
    try:
        fpm = fpm_with(ini={"opcache.file_cache": str(store)})
        fpm.run(fpm.write("a.php", "<?php echo 'one';"))
        for directory in [path.parent for path in store.rglob("*.bin")]:
            os.chown(directory, 0, 0)
            directory.chmod(0o755)
        with pytest.raises(RefusedError, match=r"compiled files in opcache\.file_cache"):
            clear(opcode(*fpm.sockets))
    finally:
        shutil.rmtree(store)


def test_memory_wasted_by_invalidation_is_told(fpm_with: Start) -> None:
    fpm = fpm_with(ini={"opcache.max_wasted_percentage": "1"})
    filler = "".join(f"function f{n}() {{ return [{n}, 'x{n}']; }}\n" for n in range(600))
    script = fpm.write("big.php", f"<?php\n{filler}")
    fpm.run(script)
    change = clear(opcode(*fpm.sockets), Scope(Kind.PATH, (str(script),)))
    assert "wasted" in change.warnings[0]
    assert any("wasted" in line for line in status(opcode(*fpm.sockets)).hazards)


# Priming OPcache


def test_a_directory_is_compiled_and_the_first_request_is_a_hit(fpm: PhpFpm) -> None:
    scripts = [fpm.write(f"app/{n}/s{n}.php", f"<?php echo {n};") for n in range(250)]
    fpm.write("app/notes.txt", "no PHP")
    change = prime(opcode(*fpm.sockets), "path", fpm.data_dir / "www" / "app")
    assert (change.found, change.stored, change.present, change.left) == (250, 250, 0, 0)
    assert all(fpm.is_cached(*scripts))
    change = prime(opcode(*fpm.sockets), "path", fpm.data_dir / "www" / "app")
    assert (change.stored, change.present, change.left) == (0, 250, 0)


def test_each_file_gets_its_verdict(fpm: PhpFpm) -> None:
    good = fpm.write("good.php", "<?php function twice() {}")
    twin = fpm.write("twin.php", "<?php function twice() {}")
    broken = fpm.write("broken.php", "<?php\nfunction {")
    link = fpm.data_dir / "www" / "link.php"
    link.symlink_to(good)
    listed = [str(path) for path in (good, twin, broken, link, "/nonexistent.php", "")]
    files = fpm.write("files.txt", "\n".join(listed))
    change = prime(opcode(*fpm.sockets), "path", files)
    assert (change.found, change.stored, change.left) == (4, 2, 2)
    assert judged(change)[0] is StepOutcome.FAILED
    told = "\n".join(change.warnings)
    assert "broken.php: ParseError: syntax error" in told
    assert "line 2" in told
    assert "/nonexistent.php: no such file" in told
    assert fpm.is_cached(good, twin) == [True, True]


def test_files_of_a_moment_ago_are_tried_again(fpm_with: Start) -> None:
    fpm = fpm_with(ini={"opcache.file_update_protection": "1"})
    script = fpm.write("new.php", "<?php echo 1;", age=0)
    change = prime(opcode(*fpm.sockets), "path", script)
    assert (change.stored, change.left) == (1, 0)
    assert fpm.is_cached(script) == [True]


def test_files_of_a_moment_ago_fail_when_there_is_no_time_to_wait(fpm_with: Start) -> None:
    fpm = fpm_with(ini={"opcache.file_update_protection": "60"})
    change = prime(opcode(*fpm.sockets), "path", fpm.write("new.php", "<?php ", age=0))
    assert change.left == 1
    assert "file_update_protection" in change.warnings[0]


def test_what_cannot_be_compiled_at_all_is_refused(fpm: PhpFpm) -> None:
    with pytest.raises(RefusedError, match="/nonexistent cannot be read on the node"):
        prime(opcode(*fpm.sockets), "path", "/nonexistent")
    with pytest.raises(RefusedError, match="absolute path"):
        prime(opcode(*fpm.sockets), "path", "app")
    empty = fpm.data_dir / "www" / "empty"
    empty.mkdir()
    assert judged(prime(opcode(*fpm.sockets), "path", empty))[0] is StepOutcome.FAILED


# Priming APCu


def test_records_are_read_by_pages_as_what_they_were(fpm: PhpFpm, tmp_path: Path) -> None:
    values = {"a": 1, "b": [1.0, None, {"é": True}], "c": "text", "7": None, "f": False}
    path = records(
        tmp_path,
        {"cachekit": 1},
        *({"key": key, "value": value} for key, value in values.items()),
        {"key": "raw\n", "value_base64": base64.b64encode(b"\x00\xff").decode(), "flags": 4},
        {"key": "short", "value": 1, "ttl": 100},
        {"key": "past", "value": 1, "expires_at": time.time() - 5},
    )
    change = prime(user(*fpm.sockets), "file", path)
    assert (change.found, change.stored, change.skipped, change.left) == (8, 7, 1, 0)
    read = json.loads(
        fpm.php(f"echo json_encode(array_map('apcu_fetch', {as_php(list(values))}));")
    )
    assert read == list(values.values())
    assert fpm.php('echo bin2hex(apcu_fetch("raw\\n"));') == "00ff"
    assert 98 <= int(fpm.php("echo apcu_key_info('short')['ttl'];")) <= 101
    assert fpm.there("past") == set()


def test_every_master_gets_every_record(fpm_with: Start, tmp_path: Path) -> None:
    one, two = fpm_with(), fpm_with()
    path = records(tmp_path, *({"key": f"k{n}", "value": "x" * 500} for n in range(2000)))
    change = prime(user(*one.sockets, *two.sockets, namespace="k"), "command", f"cat {path}")
    assert (change.found, change.stored, change.left) == (4000, 4000, 0)
    assert one.there("k1999")
    assert two.there("k0")


def test_more_than_one_call_can_carry_is_primed_by_several(fpm_with: Start, tmp_path: Path) -> None:
    fpm = fpm_with(ini={"apc.shm_size": "64M"})
    lines = ({"key": f"k{n}", "value": "x" * 100_000} for n in range(300))
    change = prime(user(*fpm.sockets), "file", records(tmp_path, *lines))
    assert (change.found, change.stored, change.left) == (300, 300, 0)
    assert fpm.there("k0", "k299") == {"k0", "k299"}


def test_more_than_fits_fails_and_throws_nothing_out(fpm: PhpFpm, tmp_path: Path) -> None:
    fpm.put("mine")
    path = records(tmp_path, *({"key": f"k{n}", "value": "x" * 1000} for n in range(12_000)))
    change = prime(user(*fpm.sockets), "file", path)
    assert judged(change)[0] is StepOutcome.FAILED
    assert change.stored is not None
    assert change.left == 12_000 - change.stored > 0
    assert "apc.shm_size" in change.warnings[0]
    assert fpm.there("mine", "k0") == {"mine", "k0"}
    with pytest.raises(RefusedError, match="ran full or was cleared while it was primed"):
        prime(user(*fpm.sockets), "file", path, force=True)
    assert any("ran full" in line for line in status(user(*fpm.sockets)).hazards)


def test_a_value_larger_than_the_segment_does_not_empty_it(fpm: PhpFpm, tmp_path: Path) -> None:
    fpm.put("mine")
    path = records(tmp_path, {"key": "k", "value": "x" * (9 << 20)})
    assert prime(user(*fpm.sockets), "file", path).left == 1
    assert fpm.there("mine") == {"mine"}


def test_tables_take_more_room_than_they_are_long(fpm_with: Start, tmp_path: Path) -> None:
    fpm = fpm_with(ini={"apc.serializer": "default"})
    fpm.put("mine")
    tables = [{} if n % 2 else {"a": [n]} for n in range(100)]
    lines = ({"key": f"k{n}", "value": [tables] * 3} for n in range(400))
    change = prime(user(*fpm.sockets), "file", records(tmp_path, *lines))
    assert change.left
    assert "apc.shm_size" in change.warnings[0]
    assert fpm.there("mine", "k0") == {"mine", "k0"}


def test_a_value_larger_than_any_free_piece_throws_nothing_out(fpm: PhpFpm, tmp_path: Path) -> None:
    fpm.php(FRAGMENTS)
    path = records(tmp_path, {"key": "k", "value": "x" * (2 << 20)})
    change = prime(user(*fpm.sockets), "file", path)
    assert change.left == 1
    assert fpm.there("k1", "k73") == {"k1", "k73"}


def test_of_two_records_of_one_key_the_later_one_counts(fpm: PhpFpm, tmp_path: Path) -> None:
    path = records(tmp_path, {"key": "7", "value": "one"}, {"key": "7", "value": "two"})
    change = prime(user(*fpm.sockets), "file", path)
    assert (change.found, change.stored, change.left) == (2, 1, 0)
    assert fpm.php("echo apcu_fetch('7');") == "two"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (r'{"key": "a", "value": "\ud800"}', "half of a surrogate pair"),
        ('{"key": "a", "value": NaN}', "NaN is no number of JSON"),
        ('{"key": "a", "value": 1, "tll": 5}', "unknown field 'tll'"),
        ('{"key": "", "value": 1}', "expected `key`"),
        ('{"key": "a"}', "expected one of `value` and `value_base64`"),
        ('{"key": "a", "value": 1, "value_base64": ""}', "expected one of `value`"),
        ('{"key": "a", "value_base64": "!"}', "base64"),
        ('{"key": "a", "value": 1, "ttl": "1"}', "expected `ttl` to be a number"),
        ('{"key": "a", "value": 1, "ttl": -1}', "expected `ttl` to be seconds"),
        ('{"key": "a", "value": 1, "ttl": 0}', "`ttl` is 0; leave it out"),
        ('{"key": "a", "value": 1, "ttl": 1, "expires_at": 1}', "expected one of `ttl`"),
        ('["a", 1]', "expected a JSON object"),
        ('{"key": "a", "value": 1', "delimiter"),
        ('{"key": "b", "value": 1}', "the key b is outside of the namespace a"),
    ],
)
def test_a_record_that_cannot_be_stored_is_named_and_none_is_stored(
    fpm: PhpFpm, tmp_path: Path, line: str, says: str
) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text('{"cachekit": 1}\n{"key": "a1", "value": 1}\n\n' + line)
    with pytest.raises(SourceError, match=rf"records\.jsonl:4: .*{re.escape(says)}"):
        prime(user(*fpm.sockets, namespace="a"), "file", path)
    assert not fpm.there("a1")


def test_nothing_to_store_and_another_version_are_no_success(fpm: PhpFpm, tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text("")
    assert judged(prime(user(*fpm.sockets), "file", path))[0] is StepOutcome.FAILED
    path.write_text('{"cachekit": 2}')
    with pytest.raises(SourceError, match=r"jsonl:1: version 2"):
        prime(user(*fpm.sockets), "file", path)


def test_what_a_live_writer_stored_stays_unless_it_is_to_be_replaced(
    fpm: PhpFpm, tmp_path: Path
) -> None:
    fpm.put("a")
    path = records(tmp_path, {"key": "a", "value": "new"}, {"key": "b", "value": "new"})
    change = prime(user(*fpm.sockets), "file", path)
    assert (change.found, change.stored, change.present, change.left) == (2, 1, 1, 0)
    assert fpm.php("echo apcu_fetch('a');") == "old"
    change = prime(user(*fpm.sockets, overwrite=True), "file", path)
    assert (change.found, change.stored, change.present, change.left) == (2, 2, 0, 0)
    assert fpm.php("echo apcu_fetch('a');") == "new"


# Commands


def test_own_commands_run_with_php_after_it_and_their_output_is_told(
    fpm: PhpFpm, tmp_path: Path
) -> None:
    script = tmp_path / "own.php"
    script.write_text("<?php echo 'done ', $argv[1]; exit((int) $argv[1]);")
    apc = cache(*fpm.sockets, clear_command=(f"{script} 0",), prime_command=(str(script), "3"))
    told = {name: clear(part) for name, part in apc.parts().items()}
    assert told["user"].evidence[-1].endswith("ended well: done 0")
    assert "done 0" not in "".join(told["opcode"].evidence)
    with pytest.raises(CommandError, match="status 3: done 3"):
        prime(apc, "file", records(tmp_path, {"key": "a", "value": 1}))
    assert fpm.there("a")


def test_a_command_is_ended_by_the_deadline(fpm: PhpFpm, tmp_path: Path) -> None:
    script = tmp_path / "own.php"
    script.write_text("<?php sleep(60);")
    with pytest.raises(CommandError, match="not done within 1 s"):
        clear(user(*fpm.sockets, clear_command=(str(script),)), seconds=1.0)


# What goes wrong


def test_what_is_not_there_is_named(fpm: PhpFpm) -> None:
    for path in ("/nonexistent.sock", "/nonexistent/*.sock"):
        with pytest.raises(UnreachableError, match=r"web1: .*nonexistent.*no such socket"):
            clear(user(path))
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:1: .*refused"):
        clear(user("127.0.0.1:1"))
    with pytest.raises(CommandError, match=r"web1.*/nonexistent/php"):
        clear(user(*fpm.sockets, php="/nonexistent/php"))
    with pytest.raises(UnexpectedReplyError, match="web1: true -n ended with 0: silence"):
        clear(user(*fpm.sockets, php="true"))


@needs_root
def test_another_user_needs_rights_to_the_socket_and_nothing_else(
    fpm_with: Start,
) -> None:
    fpm = fpm_with(Pool(settings={"listen.mode": "0660", "listen.group": "nogroup"}))
    setpriv = f"{require_program('setpriv')} --clear-groups --reuid=65534 --regid"
    script = fpm.write("php", f'#!/bin/sh\nexec {setpriv}=33 {require_program("php")} "$@"\n')
    script.chmod(0o755)
    with pytest.raises(UnreachableError, match=r"www\.sock: Permission denied; .*listen\.group"):
        clear(user(*fpm.sockets, php=str(script)))
    script.write_text(script.read_text().replace("=33", "=65534"))
    fpm.put("a")
    assert clear(user(*fpm.sockets, php=str(script))).removed == 1


def test_a_busy_pool_is_named_and_the_others_are_done(fpm_with: Start) -> None:
    busy, free = fpm_with(Pool(name="busy", children=1)), fpm_with()
    free.put("a")
    with (
        running(busy, "busy"),
        pytest.raises(UnreachableError, match=r"busy\.sock: no answer in time.*done, however"),
    ):
        clear(user(*busy.sockets, *free.sockets), seconds=3.0)
    assert not free.there("a")
    # What still waited in the busy pool's queue found no file any more.
    busy.put("b", pool="busy")
    assert busy.there("b", pool="busy")


def test_workers_that_have_only_just_begun_are_not_harmed(fpm_with: Start) -> None:
    # fpm_get_status() crashes the one that calls it, until its siblings have all begun.
    for _ in range(3):
        fpm = fpm_with(Pool(children=30))
        assert "pool www" in next(iter(status(user(*fpm.sockets)).details))
        assert "SIGSEGV" not in (fpm.data_dir / "fpm.log").read_text()


def test_a_worker_that_was_polluted_is_not_trusted(fpm_with: Start) -> None:
    polluted = Pool(admin={"auto_prepend_file": "php://input", "allow_url_include": "1"})
    fpm = fpm_with(polluted)
    with pytest.raises(UnexpectedReplyError, match="printed something before the answer"):
        clear(user(*fpm.sockets))


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak FastCGI"),
        (b"", "closed before the answer"),
        (b"\x01\x06\x00\x01\x00\x04\x00\x00\r\n\r\n\x01\x03\x00\x01\x00\x00\x00\x00", "else"),
        (None, "no answer in time"),
    ],
    ids=["http", "closed", "empty", "silent"],
)
def test_what_is_no_pool_is_told(answer: bytes | None, says: str) -> None:
    with listener(answer) as address, pytest.raises(CachekitError, match=f"{address}: .*{says}"):
        clear(user(address), seconds=2.0)


def test_a_pool_that_ends_while_it_is_written_to_does_not_end_the_hook(tmp_path: Path) -> None:
    facts = {"pool": "www", "php": "8", "master": 1, "opcode": 1, "user": 1}

    def answer(request: bytes) -> bytes:
        """Tell the probe what it wants to hear, and hang up on everything else."""
        nonce = re.search(rb"CACHEKIT_NONCE([0-9a-f]{32})", request)
        if nonce is None or b"probe" not in request:
            return b""
        body = b"\r\n\r\nCACHEKIT1 %b %b" % (nonce[1], json.dumps(facts).encode())
        return (
            struct.pack(">BBHHxx", 1, 6, 1, len(body)) + body + struct.pack(">BBHHxx", 1, 3, 1, 0)
        )

    path = records(tmp_path, {"key": "k", "value": "x" * (8 << 20)})
    with (
        listener(answer) as address,
        pytest.raises(UnreachableError, match="closed before the answer"),
    ):
        prime(user(address), "file", path)


@contextmanager
def listener(answer: Callable[[bytes], bytes] | bytes | None) -> Iterator[str]:
    """Listen, read a little of each request, and answer; None keeps silent."""
    with socket.create_server(("127.0.0.1", 0)) as server, ExitStack() as held:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                held.enter_context(connection)
                if answer is not None:
                    request = connection.recv(65536)
                    connection.sendall(answer if isinstance(answer, bytes) else answer(request))
                    connection.shutdown(socket.SHUT_RDWR)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


@needs_root
def test_mod_php_is_told_in_the_place_of_fpm_or_beside_it(fpm: PhpFpm, tmp_path: Path) -> None:
    library = tmp_path / "libphp8.2.so"
    library.write_bytes(bytes(mmap.PAGESIZE))
    code = (
        "import mmap, sys, time; file = open(sys.argv[1], 'r+b');"
        "mapped = mmap.mmap(file.fileno(), 0); print(1, flush=True); time.sleep(60)"
    )
    apache = subprocess.Popen(
        ["apache2", "-c", code, str(library)], executable=sys.executable, stdout=subprocess.PIPE
    )
    with apache:
        assert apache.stdout
        apache.stdout.readline()
        try:
            with pytest.raises(UnreachableError, match=r"inside Apache.*graceful"):
                clear(user("/nonexistent.sock"))
            assert any("inside Apache" in line for line in status(user()).hazards)
            assert not any("inside Apache" in line for line in status(user(*fpm.sockets)).hazards)
        finally:
            apache.kill()


# Nothing left behind


def test_the_hook_is_nowhere_in_opcache_even_without_update_protection(fpm_with: Start) -> None:
    fpm = fpm_with(ini={"opcache.file_update_protection": "0"})
    for _ in range(3):
        status(cache(*fpm.sockets))
    scripts = json.loads(
        fpm.php(
            "echo json_encode(array_filter(array_keys(opcache_get_status()['scripts']),"
            " 'opcache_is_script_cached'));"
        )
    )
    assert not [path for path in scripts if "cachekit-" in path]
    wasted = int(fpm.php("echo opcache_get_status()['memory_usage']['wasted_memory'];"))
    assert wasted < 50_000, "looking on must not fill it"


def test_without_the_nonce_the_hook_is_not_there(fpm: PhpFpm) -> None:
    hook = fpm.write(f"{'a' * 32}.php", (HOOK / "pool" / "gate.php").read_text())
    fpm.write("pool.php", "<?php namespace Cachekit; class Pool { static function main() {} }")
    fpm.put("a")
    page = fpm.run(hook, body=b'{"op":"user.clear"}')
    assert (page.status, page.body) == (404, "")
    assert fpm.there("a")


@needs_root
@pytest.mark.parametrize("name", ["root", "www-data"])
def test_leftovers_of_killed_runs_are_swept_and_nothing_else(fpm_with: Start, name: str) -> None:
    fpm = fpm_with(Pool(settings={"listen.mode": "0666"}))
    home = open_directory("sweep")
    home.chmod(0o1777)
    old, young, foreign = (home / f"cachekit-{letter * 32}" for letter in "abc")
    named = home / "cachekit-mine"
    then = time.time() - 3600
    for directory in (old, young, foreign, named):
        directory.mkdir()
        (directory / f"{'d' * 32}.php").write_text("<?php")
        shutil.chown(directory, "nobody" if directory == foreign else name)
        if directory != young:
            os.utime(directory, (then, then))
    try:
        as_user = f"{require_program('setpriv')} --clear-groups --reuid={name} --regid={name} php"
        assert clear(user(*fpm.sockets, tmp=str(home), php=as_user)).evidence
        assert {path.name for path in home.iterdir()} == {young.name, foreign.name, named.name}
    finally:
        shutil.rmtree(home)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_hook_that_is_ended_tidies_up(fpm_with: Start, number: int) -> None:
    fpm = fpm_with(Pool(children=1))
    home = open_directory("ended")
    job = {
        "nonce": "d" * 32,
        "seconds": 20.0,
        "sockets": fpm.sockets,
        "tmp": str(home),
    }
    with running(fpm):
        hook = subprocess.Popen([require_program("php"), "-n"], stdin=subprocess.PIPE)
        with hook:
            assert hook.stdin
            hook.stdin.write(program(job, []))
            hook.stdin.close()
            assert wait_until(lambda: any(home.rglob("*.php")))
            (directory,) = home.iterdir()
            assert wait_until(lambda: len([*directory.iterdir()]) == 2)
            file, other = sorted(directory.iterdir())
            assert other.name == "pool.php"
            assert stat.S_IMODE(directory.stat().st_mode) == 0o711
            assert file.stem == job["nonce"]
            assert job["nonce"] not in directory.name, "others can list it"
            assert stat.S_IMODE(file.stat().st_mode) == 0o644
            hook.send_signal(number)
    home.rmdir()


# Nodes

SETTINGS = """\
site: http://shop.example
nodes:
  web1: {address: "127.0.0.1", ssh: web1, groups: [web]}
  web2: {address: "127.0.0.1", ssh: web2, groups: [web]}
caches:
  code: {type: apc, on: web}
"""


@needs_root
@pytest.mark.end_to_end
def test_of_two_nodes_over_ssh_one_is_down(cachekit: Cachekit, tmp_path: Path) -> None:
    client = SshClient(tmp_path)
    cachekit.environment.update([client.setting])
    (cachekit.folder / "cachekit.yaml").write_text(SETTINGS)
    path = records(tmp_path, {"key": "a", "value": "x" * 100_000}, {"key": "b", "value": 1})
    with ExitStack() as started:
        names = ("web1", "web2")
        webs = [started.enter_context(Machine(name=name, client=client)) for name in names]
        fpms = [started.enter_context(PhpFpm(machine=web)) for web in webs]
        primed = cachekit.run("prime", "code", "--from", f"file:{path}")
        assert primed.code == 0, primed.stdout
        assert [fpm.there("a", "b") for fpm in fpms] == [{"a", "b"}] * 2
        webs[1].refuse_logins()
        cleared = cachekit.run("clear", "code", "--key", "a", "--yes", "--format", "json")
        assert cleared.code == 1
        outcomes = {step["place"]: step["outcome"] for step in cleared.report["steps"]}
        assert outcomes == {"web1": "done", "web2": "failed"}
        assert [fpm.there("a", "b") for fpm in fpms] == [{"b"}, {"a", "b"}]
        planned = cachekit.run("plan", "clear", "code", "--everything", "--node", "web1")
        assert planned.code == 0, planned.stdout
        assert fpms[0].there("b")
        assert fpms[0].restarts == 0


# Status


def test_status_tells_how_full_they_are_and_how_they_fare(fpm: PhpFpm) -> None:
    script = fpm.write("a.php", "<?php echo 1;")
    for _ in range(3):
        fpm.run(script)
    fpm.put("a", "b")
    fpm.php("apcu_fetch('a'); apcu_fetch('none');")
    bytecode, entries = (status(part) for part in cache(*fpm.sockets).parts().values())
    assert (bytecode.items, bytecode.hits) == (1, 2)
    assert bytecode.capacity == 16 << 20
    assert bytecode.version is not None
    assert bytecode.version.startswith("8.")
    assert (entries.items, entries.hits, entries.misses, entries.evictions) == (2, 1, 1, 0)
    assert 0 < (entries.size or 0) < (entries.capacity or 0)
    assert not (bytecode.hazards + entries.hazards)


def test_status_warns_of_what_is_nearly_full(fpm: PhpFpm) -> None:
    fpm.php("for ($i = 0; $i < 76; $i++) apcu_store(\"k$i\", str_repeat('x', 100000));")
    (hazard,) = status(user(*fpm.sockets)).hazards
    assert "nearly full" in hazard


def test_status_warns_of_fragments(fpm: PhpFpm) -> None:
    fpm.php(FRAGMENTS)
    (hazard,) = status(user(*fpm.sockets)).hazards
    assert "fragmented" in hazard
