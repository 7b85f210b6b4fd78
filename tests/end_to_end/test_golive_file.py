"""file: what looks for it sees it whole or not at all, and has time to notice."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cachekit.caches.base import Conditions
from cachekit.deadline import Deadline
from cachekit.errors import CommandError
from cachekit.golive.base import Standing
from cachekit.golive.file import File
from cachekit.model import Node, parse_address
from tests.servers.balanced import Balanced, Traffic
from tests.servers.loop_server import Received
from tests.servers.origin import Page
from tests.servers.process import wait_until
from tests.shelves import conditions

pytestmark = [pytest.mark.server, pytest.mark.end_to_end]

HERE = Node(name="web1", address=parse_address("127.0.0.1"))


def soon(seconds: float = 60, release: str = "") -> Conditions:
    return conditions(deadline=Deadline(seconds), release=release)


@pytest.fixture
def balanced(tmp_path: Path) -> Iterator[Balanced]:
    """Two nodes whose health check is that of a readiness file, `tmp_path/NODE`."""
    with Balanced(check_path="/up") as balanced:
        for name, origin in balanced.origins.items():
            path = tmp_path / name

            def up(_: Received, path: Path = path) -> Page:
                return Page(status=200 if path.exists() else 503)

            path.touch()
            origin.answer_with("/up", up)
        yield balanced


def test_no_visitor_is_lost_and_none_reaches_a_node_that_is_out(
    balanced: Balanced, tmp_path: Path
) -> None:
    actor, (node, _) = File(path=f"{tmp_path}/{{node}}", noticed_within=5.0), balanced.nodes
    origin = balanced.origins[node.name]
    with Traffic(balanced.haproxy) as traffic:
        assert actor.take_out(node, soon()).standing is Standing.OUT
        visits, seen = origin.count("/page"), traffic.seen
        assert wait_until(lambda: traffic.seen > seen + 100, 30)
        assert origin.count("/page") == visits
        assert actor.put_in(node, soon()).standing is Standing.IN
        assert wait_until(lambda: origin.count("/page") > visits + 20, 30)
    assert traffic.failed == {}


class TestFile:
    def test_it_says_what_was_put_in(self, tmp_path: Path) -> None:
        path = tmp_path / "ready"
        turn = File(path=str(path), noticed_within=0.0).put_in(HERE, soon(release="r42"))
        release, since, by = path.read_text().splitlines()
        assert release == "release: r42"
        assert since.startswith("since: 20")
        assert by == "by: cachekit"
        assert turn.evidence == (f"{path} is there: {release}, {since}, {by}",)

    def test_others_can_read_it(self, tmp_path: Path) -> None:
        before = os.umask(0o077)
        try:
            File(path=f"{tmp_path}/ready", noticed_within=0.0).put_in(HERE, soon())
        finally:
            os.umask(before)
        assert (tmp_path / "ready").stat().st_mode & 0o777 == 0o644

    def test_whoever_reads_it_never_sees_a_part(self, tmp_path: Path) -> None:
        path, actor = tmp_path / "ready", File(path=f"{tmp_path}/ready", noticed_within=0.0)
        actor.put_in(HERE, soon(release="r0"))
        ends, parts = threading.Event(), list[str]()

        def read() -> None:
            while not ends.is_set():
                text = path.read_text()
                if not (text.startswith("release: r") and text.endswith("by: cachekit\n")):
                    parts.append(text)

        reader = threading.Thread(target=read)
        reader.start()
        for number in range(30):
            actor.put_in(HERE, soon(release=f"r{number}"))
        ends.set()
        reader.join()
        assert parts == []
        assert [each.name for each in tmp_path.iterdir()] == ["ready"]

    def test_a_name_that_a_shell_would_read_otherwise(self, tmp_path: Path) -> None:
        folder = tmp_path / "-$(touch x) ' it"
        folder.mkdir()
        actor = File(path=f"{folder}/*", noticed_within=0.0)
        actor.put_in(HERE, soon())
        assert [each.name for each in folder.iterdir()] == ["*"]
        assert actor.take_out(HERE, soon()).standing is Standing.OUT
        assert list(folder.iterdir()) == []

    def test_a_link_that_leads_nowhere_is_there(self, tmp_path: Path) -> None:
        path = tmp_path / "ready"
        path.symlink_to("/nonexistent")
        actor = File(path=str(path), noticed_within=0.0)
        with pytest.raises(CommandError, match=r"node web1: .*ready: .*No such file"):
            actor.standing(HERE, soon())
        assert actor.put_in(HERE, soon()).standing is Standing.IN
        assert not path.is_symlink()


class TestFaults:
    def test_a_folder_stands_there(self, tmp_path: Path) -> None:
        (tmp_path / "ready").mkdir()
        actor = File(path=f"{tmp_path}/ready", noticed_within=0.0)
        with pytest.raises(CommandError, match=r"node web1: /.*/ready: it is a folder"):
            actor.put_in(HERE, soon())
        with pytest.raises(CommandError, match=r"ready.*Is a directory"):
            actor.take_out(HERE, soon())
        assert list((tmp_path / "ready").iterdir()) == []

    def test_its_folder_is_not_there(self, tmp_path: Path) -> None:
        actor = File(path=f"{tmp_path}/rnu/ready", noticed_within=0.0)
        for act in (actor.put_in, actor.take_out, actor.standing):
            with pytest.raises(CommandError, match=r"node web1: .*/rnu/ready: .*can't cd"):
                act(HERE, soon())

    def test_a_deadline_too_short_to_be_noticed(self, tmp_path: Path) -> None:
        turn = File(path=f"{tmp_path}/ready", noticed_within=600.0).put_in(HERE, soon(2))
        assert turn.standing is Standing.UNKNOWN
        assert "less than noticed_within 10 min 00 s: the deadline is too short" in turn.warnings[0]
