"""File caches as readers, writers and nginx see them, through python3 and through perl."""

import contextlib
import http.client
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cachekit.caches.apc import Apc
from cachekit.caches.base import Cache, Change, Conditions, Filling, Place
from cachekit.caches.files import Files, call
from cachekit.deadline import Deadline
from cachekit.errors import CommandError, RefusedError, UnexpectedReplyError
from cachekit.execution import Limits, execute
from cachekit.model import Node, parse_address
from cachekit.outcomes import StepOutcome, judged
from cachekit.plan import Selection, plan_clear
from cachekit.scope import EVERYTHING, Kind, Scope
from cachekit.settings import Settings
from cachekit.transports.ssh import close_masters
from cachekit.warming.stop import Stop
from tests import beside
from tests.beside import Beside
from tests.node_programs import path_with
from tests.servers.nginx import Nginx
from tests.servers.origin import Origin
from tests.servers.php_fpm import PhpFpm
from tests.servers.sshd import SshClient, Sshd

pytestmark = pytest.mark.server

NODE = Node(name="web1", address=parse_address("127.0.0.1"))
# What the tests run on the node, and what unpacks archives there.
TOOLS = ("tar", "gzip", "id", "mkdir", "sleep", "touch", "false", "true")


@pytest.fixture(params=["python3", "perl"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Do the test once with a node that has python3, once with one that has only perl."""
    with tempfile.TemporaryDirectory(prefix="ck-") as folder:
        # What is run as the owner of the cache must be found as well.
        Path(folder).chmod(0o755)
        monkeypatch.setenv("PATH", path_with(Path(folder), "sh", request.param, *TOOLS))
        yield


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A cache of 40 files in four directories, with its marker."""
    top = tmp_path / "srv" / "views"
    fill(top)
    (top / ".cachekit").write_text("made by hand\n")
    return top


def fill(top: Path) -> None:
    for number in range(40):
        file = top / f"d{number % 4}" / f"page{number}.html"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"<p>{number}")


def cache(path: Path | str, on: str = "web1", **settings: Any) -> Files:
    return Files(on=(on,), path=Path(path), **settings)


def place_of(files: Files) -> Place:
    (place,) = files.places({"web1": NODE})
    return place


def conditions(seconds: float = 30.0, **more: Any) -> Conditions:
    more = {"state_dir": Path("/nonexistent"), **more}
    return Conditions(deadline=Deadline(seconds), **more)


def clear(files: Files, scope: Scope = EVERYTHING, **more: Any) -> Change:
    refusal = files.refusal(scope, conditions(**more))
    assert not refusal
    return files.clear(place_of(files), scope, conditions(**more))


def prime(files: Files, kind: str, value: str, **more: Any) -> Change:
    filling = Filling(kind=kind, value=value)
    return files.prime([place_of(files)], filling, conditions(**more))


def names(top: Path) -> set[str]:
    return {
        str(path.relative_to(top)) for path in top.rglob("*") if path.is_symlink() or path.is_file()
    }


def answered(job: dict[str, Any], **options: Any) -> dict[str, Any]:
    """Do a job with seconds of its own, or as another user."""
    sent = call.program(job)
    done = subprocess.run(call.argv(), input=sent, stdout=subprocess.PIPE, check=True, **options)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def names_beside(top: Path) -> list[str]:
    return sorted(path.name for path in top.parent.iterdir() if path != top)


def run(name: str, *arguments: str | Path) -> bool:
    """Run a program of this machine, whatever is left on the node; say whether it worked."""
    program = shutil.which(name, path="/usr/bin:/bin:/usr/sbin:/sbin")
    return (
        program is not None
        and not subprocess.run([program, *arguments], capture_output=True, check=False).returncode
    )


# Everything


@pytest.mark.usefixtures("either")
def test_everything_goes_and_directories_owner_mode_and_marker_stay(root: Path) -> None:
    (root / "d0").chmod(0o2770)
    if os.geteuid() == 0:
        os.chown(root, 33, 33)
        os.chown(root / "d1", 33, 4)
    before = {path: path.stat() for path in (root, *root.iterdir())}
    change = clear(cache(root))
    assert (change.found, change.removed, change.left) == (40, 40, 0)
    assert "exchanged in one step" in change.evidence[0]
    assert not change.warnings
    assert names(root) == {".cachekit"}
    assert (root / ".cachekit").read_text() == "made by hand\n"
    for path, state in before.items():
        now = path.stat()
        assert (now.st_mode, now.st_uid, now.st_gid) == (state.st_mode, state.st_uid, state.st_gid)
    assert names_beside(root) == []


@pytest.mark.usefixtures("either")
def test_a_second_clear_removes_nothing(root: Path) -> None:
    clear(cache(root))
    inode = root.stat().st_ino
    change = clear(cache(root))
    assert (change.found, change.removed, change.left) == (0, 0, 0)
    assert root.stat().st_ino == inode


@pytest.mark.usefixtures("either")
def test_extended_attributes_stay(root: Path) -> None:
    try:
        os.setxattr(root / "d2", "user.note", b"kept")
    except OSError:
        pytest.skip("no extended attributes on this file system")
    clear(cache(root))
    assert os.getxattr(root / "d2", "user.note") == b"kept"


@pytest.mark.usefixtures("either")
def test_readers_see_no_gap(root: Path) -> None:
    with Beside(beside.read, root) as reader:
        for _ in range(10):
            fill(root)
            assert clear(cache(root)).left == 0
    assert set(reader.counts) == {"done"}
    assert reader.counts["done"] > 100


@pytest.mark.usefixtures("either")
def test_a_writer_makes_no_clear_fail(root: Path) -> None:
    with Beside(beside.write, root) as writer:
        for _ in range(5):
            change = clear(cache(root))
            assert change.left == 0
            assert not change.warnings
            assert clear(cache(root), Scope(Kind.GLOB, ("d1/*",))).left == 0
    assert writer.counts["done"] > 100
    # What was being written into the old tree could not be moved into the fresh one.
    assert set(writer.counts) <= {"done", "FileNotFoundError"}
    assert names_beside(root) == []


@pytest.mark.usefixtures("either")
def test_two_clears_at_once_both_succeed(root: Path) -> None:
    changes: list[Change] = []
    threads = [
        threading.Thread(target=lambda: changes.append(clear(cache(root)))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(change.removed or 0 for change in changes) == [0, 0, 40]
    assert names_beside(root) == []


@pytest.mark.usefixtures("either")
def test_links_are_removed_and_never_followed(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    fill(outside)
    kept = names(outside)
    for where in (root / "out", root / "d1" / "out"):
        where.symlink_to(outside)
    (root / "loop").symlink_to(".")
    assert clear(cache(root), Scope(Kind.PATH, ("d1/out/",))).removed == 1
    assert clear(cache(root), Scope(Kind.GLOB, ("**/page3?.html",))).removed == 10
    change = clear(cache(root))
    assert (change.removed, change.left) == (32, 0)
    assert names(outside) == kept


@pytest.mark.usefixtures("either")
def test_names_of_any_bytes(root: Path) -> None:
    for name in ("\udcff\udcfe", "é", "a\nb", "-rf", '"\\$(x)', "12"):
        (root / "d0" / name).write_text("x")
    files = cache(root)
    survey = files.survey(place_of(files), Scope(Kind.PATH, ("d0/12",)), conditions())
    assert (survey.found, survey.examples) == (1, ("d0/12",))
    for name in ("é", "\udcff\udcfe", "a\nb"):
        assert clear(files, Scope(Kind.PATH, (f"d0/{name}",))).removed == 1, name
    assert clear(files, Scope(Kind.GLOB, ("d0/-*", 'd0/"*'))).removed == 2
    assert clear(files).removed == 41


# Some


@pytest.mark.parametrize(
    ("scope", "removed"),
    [
        (Scope(Kind.PATH, ("d1",)), 10),
        (Scope(Kind.PATH, ("d1/page1.html", "d2/page2.html", "nowhere")), 2),
        (Scope(Kind.GLOB, ("page*",)), 0),
        (Scope(Kind.GLOB, ("d?/page1.html",)), 1),
        (Scope(Kind.GLOB, ("**/page[12].html",)), 2),
        (Scope(Kind.OLDER_THAN, ("1h",)), 20),
    ],
)
@pytest.mark.usefixtures("either")
def test_a_scope_spares_the_others(root: Path, scope: Scope, removed: int) -> None:
    hour_ago = time.time() - 3700
    for folder in ("d0", "d1"):
        for file in (root / folder).iterdir():
            os.utime(file, (hour_ago, hour_ago))
    files = cache(root)
    survey = files.survey(place_of(files), scope, conditions())
    assert (survey.found, survey.total) == (removed, 40)
    assert len(names(root)) == 41
    change = clear(files, scope)
    assert (change.found, change.removed, change.left) == (removed, removed, 0)
    assert len(names(root)) == 41 - removed
    assert clear(files, scope).removed == 0
    assert {path.name for path in root.iterdir()} == {"d0", "d1", "d2", "d3", ".cachekit"}


@pytest.mark.parametrize(
    "scope", [Scope(Kind.GLOB, ("[",)), Scope(Kind.GLOB, ("pge*",)), Scope(Kind.PATH, ("nowhere",))]
)
@pytest.mark.usefixtures("either")
def test_what_matches_nothing_shows_what_is_there(root: Path, scope: Scope) -> None:
    files = cache(root)
    change = clear(files, scope)
    survey = files.survey(place_of(files), scope, conditions())
    assert (change.removed, change.left, survey.found) == (0, 0, 0)
    for warnings in (change.warnings, survey.warnings):
        assert re.search(r"nothing matches; .* looks like d\d/page\d+\.html, ", warnings[0])
    assert len(names(root)) == 41


@pytest.mark.usefixtures("either")
def test_an_age_that_selects_nothing_and_an_empty_cache_are_no_mistakes(root: Path) -> None:
    assert clear(cache(root), Scope(Kind.OLDER_THAN, ("1h",))).warnings == ()
    clear(cache(root))
    assert clear(cache(root), Scope(Kind.GLOB, ("d1/*",))).warnings == ()


@pytest.mark.usefixtures("either")
def test_an_absolute_path_below_the_root_is_taken(root: Path) -> None:
    assert clear(cache(root), Scope(Kind.PATH, (f"{root}/d1/page1.html",))).removed == 1


@pytest.mark.usefixtures("either")
def test_what_others_remove_meanwhile_is_no_failure(root: Path) -> None:
    with Beside(beside.sweep, root) as other:
        for _ in range(5):
            warnings = clear(cache(root), Scope(Kind.GLOB, ("**/page*",))).warnings
            assert not any("cannot be removed" in each for each in warnings)
    assert set(other.counts) == {"done"}


@pytest.mark.usefixtures("either")
def test_what_cannot_be_removed_is_named(root: Path) -> None:
    stuck = root / "d1" / "page1.html"
    if not run("chattr", "+i", stuck):
        pytest.skip("files cannot be made immutable here")
    try:
        some = clear(cache(root), Scope(Kind.PATH, ("d1",)))
        assert (some.removed, some.left) == (9, 1)
        assert "d1/page1.html cannot be removed" in some.warnings[0]
        everything = clear(cache(root))
        assert everything.left == 0
        assert "unused but still there" in everything.warnings[0]
    finally:
        for path in root.parent.rglob("page1.html"):
            assert run("chattr", "-i", path)
    assert not clear(cache(root)).warnings
    assert names_beside(root) == []


@pytest.fixture
def layered(tmp_path: Path) -> Iterator[Path]:
    """A directory of two layers, as a container's; below it, a cache is in the lower one."""
    for name in ("low", "high", "work", "both"):
        (tmp_path / name).mkdir()
    fill(tmp_path / "low" / "srv" / "views")
    layers = f"lowerdir={tmp_path}/low,upperdir={tmp_path}/high,workdir={tmp_path}/work"
    if not run("mount", "-t", "overlay", "overlay", "-o", layers, tmp_path / "both"):
        pytest.skip("no layers can be mounted here")
    yield tmp_path / "both"
    assert run("umount", tmp_path / "both")


@pytest.mark.usefixtures("either")
def test_a_directory_in_a_lower_layer_is_cleared_file_by_file(layered: Path) -> None:
    files = cache(layered / "srv" / "views", adopt=True)
    with pytest.raises(RefusedError, match=r"--glob '\*\*/\*'"):
        clear(files)
    assert names_beside(layered / "srv" / "views") == []
    assert clear(files, Scope(Kind.GLOB, ("**/*",))).removed == 40


@pytest.mark.usefixtures("either")
def test_where_links_do_not_count_directories_they_are_kept_all_the_same(layered: Path) -> None:
    top = layered / "srv" / "others"
    (top / "a" / "b" / "c").mkdir(parents=True)
    (top / "a" / "page").touch()
    assert (layered / "srv").stat().st_nlink == 1
    assert clear(cache(top, adopt=True)).removed == 1
    assert (top / "a" / "b" / "c").is_dir()


EVERY_FILE = {"everything": False, "by_key": False, "match": [".*"]}


@pytest.mark.usefixtures("either")
def test_a_time_that_is_used_up_is_no_success(root: Path) -> None:
    files = cache(root)
    job = {**files._job("clear", str(root)), **EVERY_FILE}
    with pytest.raises(CommandError, match="web1: the time was used up; nothing was changed"):
        call.checked(place_of(files), answered({**job, "seconds": 0.0}))
    assert len(names(root)) == 41


@pytest.mark.usefixtures("either")
def test_a_clear_that_is_late_has_failed_and_says_how_far_it_came(root: Path) -> None:
    for number in range(3000):
        (root / f"e{number}").mkdir()
        (root / f"e{number}" / "page").touch()
    files = cache(root)
    job = {**files._job("clear", str(root)), **EVERY_FILE}
    for doubling in range(12):
        # It looks at its clock at each directory: it ends among them, wherever that is.
        answer = answered({**job, "seconds": 0.002 * 2**doubling})
        if answer["removed"]:
            break
    assert len(names(root)) == 3041 - answer["removed"]
    said = rf"web1: the time was used up; {answer['removed']:,} files went, others may be left"
    with pytest.raises(CommandError, match=said):
        call.checked(place_of(files), answer)


@pytest.mark.usefixtures("either")
def test_a_release_is_cleared_in_its_own_directory(tmp_path: Path) -> None:
    for release in ("r1", "r2"):
        fill(tmp_path / release / "cache")
    files = cache(tmp_path / "{release}" / "cache", adopt=True)
    assert "live or kept" in files.refusal(
        Scope(Kind.RELEASE, ("r1",)), conditions(release="r2", previous="r1")
    )
    change = clear(files, Scope(Kind.RELEASE, ("r1", "r0")), release="r2")
    assert (change.found, change.removed, change.left) == (40, 40, 0)
    assert len(names(tmp_path / "r2")) == 40
    refusal = files.refusal(EVERYTHING, conditions(release="r2"))
    assert "r2 is live or kept for rollback; --force" in refusal
    assert clear(files, release="r2", force=True).removed == 40


# The root


def refused(files: Files) -> str:
    with pytest.raises(RefusedError) as caught:
        clear(files)
    assert str(caught.value).startswith("web1: ")
    return str(caught.value)


@pytest.mark.usefixtures("either")
def test_a_directory_that_nobody_declared_is_refused(root: Path) -> None:
    (root / ".cachekit").unlink()
    files = cache(root)
    assert "adopt: true" in refused(files)
    assert "holds no file .cachekit" in files.status(place_of(files), conditions()).hazards[0]
    (root / ".cachekit").symlink_to("d1/page1.html")
    assert "adopt: true" in refused(files)
    assert len(names(root)) == 41
    assert clear(replace(files, adopt=True)).removed == 40


@pytest.mark.usefixtures("either")
def test_a_link_is_refused_with_and_without_a_slash(root: Path) -> None:
    link = root.parent / "link"
    link.symlink_to(root)
    for path in (str(link), f"{link}/", f"{link}/."):
        assert "symbolic link" in refused(cache(path, adopt=True))
    assert len(names(root)) == 41


@pytest.mark.usefixtures("either")
def test_a_directory_of_the_system_behind_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "way").symlink_to("/var")
    assert "of the system" in refused(cache(tmp_path / "way" / "lib", adopt=True))


@pytest.mark.usefixtures("either")
def test_a_home_directory_is_refused() -> None:
    home = Path("~").expanduser()
    with contextlib.suppress(ValueError):
        assert "home" in refused(cache(home, adopt=True))


@pytest.mark.usefixtures("either")
def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "no directory" in refused(cache(tmp_path / "nowhere"))
    (tmp_path / "file").touch()
    assert "no directory" in refused(cache(tmp_path / "file"))


@pytest.mark.usefixtures("either")
def test_another_owner_is_refused(root: Path) -> None:
    assert "not to nobody" in refused(cache(root, owner="nobody"))
    assert clear(cache(root, owner=root.owner())).removed == 40


@pytest.mark.parametrize("where", [".", "d1"])
@pytest.mark.usefixtures("either")
def test_a_mount_at_or_below_the_root_is_refused(root: Path, where: str) -> None:
    point = root / where
    if not run("mount", "--bind", root / "d2", point):
        pytest.skip("nothing can be mounted here")
    try:
        assert "is a mount" in refused(cache(root, adopt=True))
    finally:
        assert run("umount", point)
    assert len(names(root)) == 41


def test_a_node_without_both_is_told(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", path_with(tmp_path, "sh"))
    assert "neither python3 nor perl" in refused(cache(root))


# Crashes, and what stays beside the root


@pytest.mark.usefixtures("either")
def test_what_a_killed_run_left_is_collected(root: Path) -> None:
    left = ".views.cachekit-new-1234567890123456-abcdef"
    fill(root.parent / left)
    (root.parent / ".views.cachekit-link-1234567890123456-abcdef").symlink_to(left)
    neighbour = root.parent / ".views2.cachekit-new-1234567890123456-abcdef"
    neighbour.mkdir()
    files = cache(root)
    assert left in files.status(place_of(files), conditions()).hazards[0]
    assert clear(files, Scope(Kind.PATH, ("d1",))).removed == 10
    assert names_beside(root) == [neighbour.name]


def kill_in_mid_clear(root: Path) -> None:
    """Kill a clear as soon as it has put something beside the root, before or after the swap."""
    job = {**cache(root)._job("clear", str(root)), "everything": True, "seconds": 30.0}
    process = subprocess.Popen(
        call.argv(), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
    )
    assert process.stdin is not None
    process.stdin.write(call.program(job))
    process.stdin.close()
    while not names_beside(root) and process.poll() is None:
        pass
    process.kill()
    process.wait()


@pytest.mark.usefixtures("either")
def test_a_clear_that_is_killed_is_finished_by_the_next(root: Path) -> None:
    # Where it was too quick to be caught, once more.
    while not names_beside(root):
        for number in range(5000):
            (root / "d0" / str(number)).touch()
        kill_in_mid_clear(root)
    (left,) = names_beside(root)
    files = cache(root)
    assert left in files.status(place_of(files), conditions()).hazards[0]
    assert clear(files).left == 0
    assert names(root) == {".cachekit"}
    assert names_beside(root) == []


@pytest.mark.usefixtures("either")
def test_a_run_that_is_killed_changes_nothing(root: Path) -> None:
    files = cache(root)
    with pytest.raises(UnexpectedReplyError, match="ended with"):
        prime(files, "command", "sh -c 'touch $CACHEKIT_DIR/half; kill -9 $PPID'")
    assert len(names(root)) == 41
    assert len(names_beside(root)) == 1
    assert clear(files).removed == 40
    assert names_beside(root) == []


# A shared tree, where nothing can be exchanged


@pytest.mark.usefixtures("either")
def test_a_shared_tree_becomes_a_link_that_is_flipped(root: Path) -> None:
    files = cache(root, shared=True)
    first = clear(files)
    assert (first.removed, first.left) == (40, 0)
    assert "nothing was there" in first.warnings[0]
    assert root.is_symlink()
    assert names(root.resolve()) == {".cachekit"}
    with Beside(beside.read, root) as reader:
        for _ in range(3):
            fill(root)
            change = clear(files)
            assert (change.removed, change.left, change.warnings) == (40, 0, ())
            assert "flipped" in change.evidence[0]
    assert set(reader.counts) == {"done"}
    assert names_beside(root) == [root.resolve().name]
    # The link is ours, so it stays good without `shared`.
    fill(root)
    assert clear(cache(root)).removed == 40


def test_a_shared_tree_has_one_place() -> None:
    nodes = {name: replace(NODE, name=name, groups=("web",)) for name in ("web1", "web2")}
    assert len(cache("/srv/x/views", on="web").places(nodes)) == 2
    (place,) = cache("/srv/x/views", on="web", shared=True).places(nodes)
    assert place.name == "web1"


# Over SSH


@pytest.fixture
def ssh_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Node]]:
    """Two nodes that are reached by real sshds."""
    folder = tmp_path / "ssh"
    folder.mkdir()
    client = SshClient(folder)
    monkeypatch.setenv(*client.setting)
    with (
        Sshd(client=client, name="web1", host="127.0.0.2") as one,
        Sshd(client=client, name="web2", host="127.0.0.3") as two,
    ):
        yield {
            each.name: replace(NODE, name=each.name, ssh=each.name, groups=("web",))
            for each in (one, two)
        }
        close_masters()


def test_over_ssh_as_on_this_machine(ssh_nodes: dict[str, Node], root: Path) -> None:
    (root / "d0" / "it's a\n\udcff $(x)").touch()
    files = cache(root, on="web")
    one, two = files.places(ssh_nodes)
    path = Scope(Kind.PATH, ("d0/it's a\n\udcff $(x)", "d1"))
    assert files.survey(two, path, conditions()).found == 11
    assert files.clear(one, path, conditions()).removed == 11
    assert files.clear(two, EVERYTHING, conditions()).removed == 30
    built = Filling(kind="command", value="sh -c 'echo new > \"$CACHEKIT_DIR/it is\"'")
    assert files.prime([one], built, conditions()).stored == 1
    assert files.status(two, conditions()).items == 1
    assert (root / "it is").read_text() == "new\n"


def test_a_shared_tree_is_cleared_by_one_node_and_compiled_anew_by_all(
    ssh_nodes: dict[str, Node], root: Path
) -> None:
    caches: Mapping[str, Cache] = {
        "views": cache(root, on="web", shared=True, opcache="code"),
        "code": Apc(on=("web",)),
    }
    settings = Settings(site="http://shop.example", nodes=ssh_nodes, caches=caches)
    plan = plan_clear(settings, Selection(caches=("views",)), EVERYTHING, conditions())
    assert [(step.name.partition("/")[0], step.place) for step in plan.steps] == [
        ("views", "web1"),
        ("code", "web1"),
        ("code", "web2"),
    ]
    assert plan.steps[1].scope == Scope(Kind.PATH, (str(root.parent),))


# Prime


@pytest.fixture
def open_root(root: Path) -> Iterator[Path]:
    """A cache that its owner can reach, who is another user where the tests run as root."""
    with tempfile.TemporaryDirectory(prefix="ck-") as folder:
        Path(folder).chmod(0o755)
        top = root.rename(Path(folder) / "views")
        if os.geteuid() == 0:
            os.chown(top, 33, 33)
        yield top


@pytest.mark.usefixtures("either")
def test_prime_by_a_command(open_root: Path) -> None:
    root = open_root
    command = "sh -c 'cd $CACHEKIT_DIR; mkdir t; echo new > t/a; id -u > u'"
    with Beside(beside.look, root) as reader:
        change = prime(cache(root), "command", command)
    assert set(reader.counts) == {"done"}
    assert (change.found, change.stored, change.left) == (2, 2, 0)
    assert names(root) == {".cachekit", "t/a", "u"}
    assert int((root / "u").read_text()) == root.stat().st_uid == (root / "t/a").stat().st_uid
    (kept,) = names_beside(root)
    assert kept in change.evidence[1]
    assert len(names(root.parent / kept)) == 41


@pytest.mark.parametrize("command", ["false", "true", "sh -c 'echo broken; exit 3'", "/nowhere"])
@pytest.mark.usefixtures("either")
def test_a_build_that_fails_leaves_all_as_it_was(root: Path, command: str) -> None:
    with pytest.raises((RefusedError, CommandError)):
        prime(cache(root), "command", command)
    assert len(names(root)) == 41
    assert names_beside(root) == []


@pytest.mark.usefixtures("either")
def test_a_build_that_hangs_ends_with_the_deadline(root: Path) -> None:
    with pytest.raises(CommandError, match="nothing was changed"):
        prime(cache(root), "command", "sleep 60", seconds=4.0)
    assert names_beside(root) == []


@pytest.mark.usefixtures("either")
def test_prime_from_a_directory_and_back(root: Path, tmp_path: Path) -> None:
    built = tmp_path / "built"
    for number in range(5):
        (built / "sub").mkdir(parents=True, exist_ok=True)
        (built / "sub" / f"{number}.php").write_text("<?php")
    files = cache(root)
    old = names(root)
    change = prime(files, "path", str(built))
    assert (change.stored, change.left) == (5, 0)
    assert names(root) == {".cachekit", *names(built)}
    assert "PHP" in files.status(place_of(files), conditions()).hazards[0]
    (kept,) = names_beside(root)
    with Beside(beside.look, root) as reader:
        back = prime(files, "path", str(root.parent / kept))
    assert set(reader.counts) == {"done"}
    assert (back.stored, back.left) == (40, 0)
    assert names(root) == old
    assert len(names_beside(root)) == 1


@pytest.mark.usefixtures("either")
def test_as_many_trees_are_kept_as_wished(root: Path) -> None:
    for keep, kept in ((2, 1), (2, 2), (2, 2), (1, 1), (0, 0)):
        change = prime(cache(root, keep=keep), "command", "sh -c '>$CACHEKIT_DIR/new'")
        assert not change.warnings
        assert len(names_beside(root)) == kept
    fill(root)
    prime(cache(root), "command", "sh -c '>$CACHEKIT_DIR/new'")
    clear(cache(root))
    assert "-kept-" in names_beside(root)[0]


@pytest.mark.usefixtures("either")
def test_prime_from_an_archive(root: Path, tmp_path: Path) -> None:
    built = tmp_path / "built"
    fill(built)
    with tarfile.open(tmp_path / "built.tar.gz", "w:gz") as archive:
        archive.add(built, ".")
    assert prime(cache(root), "path", str(tmp_path / "built.tar.gz")).stored == 40
    assert names(root) == {".cachekit", *names(built)}
    assert (root / "d1/page1.html").stat().st_uid == root.stat().st_uid


@pytest.mark.usefixtures("either")
def test_prime_makes_a_directory_that_is_not_there(tmp_path: Path) -> None:
    files = cache(tmp_path / "{release}" / "cache")
    (tmp_path / "r1").mkdir()
    change = prime(files, "command", "sh -c '>$CACHEKIT_DIR/new'", release="r1")
    assert change.stored == 1
    assert names(tmp_path / "r1" / "cache") == {".cachekit", "new"}


@pytest.mark.usefixtures("either")
def test_an_owner_that_the_node_does_not_know_is_refused(tmp_path: Path) -> None:
    files = cache(tmp_path / "views", owner="nobody-at-all")
    with pytest.raises(RefusedError, match="no user is called nobody-at-all"):
        prime(files, "command", "sh -c '>$CACHEKIT_DIR/new'")
    assert not (tmp_path / "views").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="runs a program as another user")
@pytest.mark.usefixtures("either")
def test_a_user_without_a_name_clears_what_is_theirs(open_root: Path) -> None:
    for path in (open_root.parent, open_root, *open_root.iterdir()):
        os.chown(path, 54321, 54321)
    job = {**cache(open_root)._job("clear", str(open_root)), "everything": True, "seconds": 30.0}
    nobody = {"user": 54321, "group": 54321, "extra_groups": ()}
    assert answered(job, **nobody)["removed"] == 40
    os.chown(open_root / "d1", 54322, 54321)
    (open_root / "d0" / "new").touch()
    assert "run as their owner or as root" in answered(job, **nobody)["refused"]
    assert names(open_root) == {".cachekit", "d0/new"}


@pytest.mark.usefixtures("either")
def test_a_shared_tree_is_primed_and_rolled_back_by_its_link(root: Path) -> None:
    files = cache(root, shared=True)
    assert prime(files, "command", "sh -c '>$CACHEKIT_DIR/new'").left == 0
    kept = next(name for name in names_beside(root) if "-kept-" in name)
    assert prime(files, "path", str(root.parent / kept)).stored == 40
    assert len(names(root.resolve())) == 41
    assert clear(files).removed == 40


# Files of PHP


@pytest.mark.parametrize("way", ["views", "current/views"])
def test_php_runs_the_new_file_after_the_disk_was_cleared(way: str, tmp_path: Path) -> None:
    with PhpFpm() as fpm:
        file = fpm.write("r1/views/menu.php", "<?php return 'old';")
        (fpm.data_dir / "www" / "r1" / "current").symlink_to(".")
        top = fpm.data_dir / "www" / "r1" / way
        show = f"echo @include '{top}/menu.php';"
        assert fpm.php(show) == "old"
        file.write_text("<?php return 'new';")
        assert fpm.php(show) == "old"
        caches: Mapping[str, Cache] = {
            "views": cache(top, adopt=True, opcache="code"),
            "code": Apc(on=("web1",), sockets=fpm.sockets, segments=("opcode",)),
        }
        settings = Settings(site="http://shop.example", nodes={"web1": NODE}, caches=caches)
        given = conditions(state_dir=tmp_path)
        plan = plan_clear(settings, Selection(caches=("views",)), EVERYTHING, given)
        report = execute(plan, given, limits=Limits(), stop=Stop(None))
        assert report.outcome is StepOutcome.DONE, report
        assert fpm.php(show) == ""
        fpm.write("r1/views/menu.php", "<?php return 'new';")
        assert fpm.php(show) == "new"


# nginx

SITE = "https://shop.example/"


def ask(node: Nginx, target: str, language: str = "") -> str:
    """Give the cache status that a client sees."""
    client = http.client.HTTPConnection(node.host, node.port, timeout=10.0)
    try:
        client.request("GET", target, headers={"Host": "shop.example", "Accept-Language": language})
        response = client.getresponse()
        response.read()
        return response.headers["X-Cache-Status"]
    finally:
        client.close()


@pytest.fixture
def pages(origin: Origin, nginx_node: Callable[..., Nginx]) -> Nginx:
    """A node that has five pages, one of them in two languages."""
    for target in ("/vary", "/vary?x=1", "/plain", "/other/1", "/other/2"):
        headers = {"Vary": "Accept-Language"} if target == "/vary" else {}
        origin.page(target, body=target, headers=headers)
    node = nginx_node()
    states(node)
    assert set(states(node).values()) == {"HIT"}
    return node


TARGETS = ("/vary de", "/vary en", "/vary?x=1", "/plain", "/other/1", "/other/2")


def states(node: Nginx) -> dict[str, str]:
    return {each: ask(node, *each.split()) for each in TARGETS}


@pytest.mark.parametrize(
    ("scope", "key", "gone"),
    [
        (Scope(Kind.URL, ("https://shop.example/vary",)), None, {"/vary de", "/vary en"}),
        (Scope(Kind.URL, ("http://SHOP.example/plain",)), "{scheme}://{host}{uri}", {"/plain"}),
        (Scope(Kind.URL, ("https://shop.example/plain",)), "{scheme}://{host}{uri}", set()),
        (Scope(Kind.URL_PREFIX, ("https://shop.example/other/",)), None, {"/other/1", "/other/2"}),
        (Scope(Kind.URL, ("/vary", "/other/2")), None, {"/vary de", "/vary en", "/other/2"}),
        (Scope(Kind.URL_PREFIX, ("/vary",)), None, {"/vary de", "/vary en", "/vary?x=1"}),
        (Scope(Kind.URL_REGEX, (r"^/other/\d$",)), None, {"/other/1", "/other/2"}),
        (Scope(Kind.URL_REGEX, ("^/vary$",)), "{scheme}://{host}{uri}", {"/vary de", "/vary en"}),
        (Scope(Kind.URL_REGEX, (r"\?x=1", "(?i)^/PLAIN")), None, {"/vary?x=1", "/plain"}),
        (Scope(Kind.URL_REGEX, ("shop",)), None, set()),
        (Scope(Kind.KEY, ("http://shop.example/vary",)), None, {"/vary de", "/vary en"}),
        (Scope(Kind.PREFIX, ("http://shop.example/vary?",)), None, {"/vary?x=1"}),
        (EVERYTHING, None, set(TARGETS)),
    ],
)
@pytest.mark.usefixtures("either")
def test_nginx_fetches_anew_what_was_cleared_and_only_that(
    pages: Nginx, scope: Scope, key: str | None, gone: set[str]
) -> None:
    files = cache(pages.cache_dir, format="nginx", key=key, adopt=True)
    survey = files.survey(place_of(files), scope, conditions(site=SITE))
    assert (survey.found, survey.total) == (len(gone), 6)
    change = clear(files, scope, site=SITE)
    assert (change.found, change.removed, change.left) == (len(gone), len(gone), 0)
    if not gone:
        (warning,) = change.warnings
        assert "http://shop.example/" in warning
    now = states(pages)
    assert {target for target, state in now.items() if state == "MISS"} == gone
    assert set(now.values()) <= {"HIT", "MISS"}
    assert set(states(pages).values()) == {"HIT"}


@pytest.mark.usefixtures("either")
def test_nginx_pages_of_other_hosts_are_spared_by_paths_and_regexes(pages: Nginx) -> None:
    files = cache(pages.cache_dir, format="nginx", adopt=True)
    for scope in (Scope(Kind.URL_REGEX, ("^/",)), Scope(Kind.URL_PREFIX, ("/",))):
        for other in ("other.example", "example", "evilshop.example"):
            change = clear(files, scope, site=f"http://{other}")
            assert change.removed == 0
            assert judged(change)[0] is StepOutcome.UNKNOWN
            survey = files.survey(place_of(files), scope, conditions(site=f"http://{other}"))
            for warnings in (change.warnings, survey.warnings):
                assert f"no key of this cache has the host {other}: " in warnings[-1]
    assert clear(files, Scope(Kind.URL_REGEX, ("^/",)), site=SITE).removed == 6


@pytest.mark.usefixtures("either")
def test_one_nginx_page_of_a_host_among_many_others_shows_how_keys_look(root: Path) -> None:
    for number, host in enumerate([*["other.example"] * 20, "shop.example"]):
        entry = root / f"{number:032x}"
        entry.write_text(f"\nKEY: http://{host}/{number}\n")
    files = cache(root, format="nginx")
    assert clear(files, Scope(Kind.URL, ("/gone",)), site=SITE).left == 0
    assert clear(files, Scope(Kind.URL, ("http://third.example/",))).left is None


@pytest.mark.usefixtures("either")
def test_nginx_files_that_are_no_entries_are_spared(pages: Nginx) -> None:
    (pages.cache_dir / "notes.txt").write_text("\nKEY: http://shop.example/plain\n")
    shutil.copy(pages.cache_dir / "notes.txt", pages.cache_dir / ("0" * 32 + ".0000000001"))
    files = cache(pages.cache_dir, format="nginx", adopt=True)
    assert clear(files, Scope(Kind.URL_PREFIX, ("http://shop.example",))).removed == 6
    assert len(names(pages.cache_dir)) == 2
