"""What a run has done so far, on disk."""

import json
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from cachekit.errors import JournalError
from cachekit.events import VERIFY, TargetDone
from cachekit.model import Verdict
from cachekit.warming import journal
from cachekit.warming.journal import Journal
from tests.pieces import done_of


def started(state_dir: Path, key: str = "key", digest: str = "digest", **facts: Any) -> Journal:
    return journal.start(state_dir, key, digest, facts)


def recorded(record: journal.Journal) -> list[TargetDone]:
    return [done for alike in record.records() for done in alike]


def test_what_was_recorded_is_read_again(tmp_path: Path) -> None:
    record = started(tmp_path)
    plain = done_of(ordinal=7, variant='mo"bile', seconds=0.25, retries=1)
    notable = done_of(
        pass_name=VERIFY, ordinal=8, ok=False, verdict=Verdict.ERROR, status=503, required=True,
        reasons=("status-503",), detail="x-cache: \udcff\x1b", counts_for_hit=False,
    )  # fmt: skip
    record.add([plain])
    record.add_notable(notable)
    record.close()
    found = recorded(journal.resume(tmp_path, "key", "digest"))
    first, second = sorted(found, key=lambda done: done.ordinal)
    assert asdict(first) == asdict(replace(plain, url=b""))
    assert asdict(second) == asdict(notable)


def test_targets_that_are_alike_share_a_line_and_are_told_apart(tmp_path: Path) -> None:
    record = started(tmp_path)
    one, other = (done_of(node=name).asked for name in ("web1", 'we"b2'))
    kinds: list[dict[str, Any]] = [
        {"asked": one},
        {"asked": done_of(variant="mobile").asked},
        {"asked": one, "status": 204},
        {"asked": one, "verdict": Verdict.HIT},
        {"asked": one, "retries": 1},
    ]
    dones = [
        [
            replace(done_of(ordinal=2 * place + again, seconds=0.001 * place), **kind)
            for again in (0, 1)
        ]
        for place, kind in enumerate(kinds)
    ]
    assert len({journal.likeness(done) for alike in dones for done in alike}) == len(kinds)
    of_nodes = [
        replace(done_of(ordinal=ordinal), asked=asked)
        for asked in (one, other, one)
        for ordinal in (20, 21)
    ]
    assert len({journal.likeness(done) for done in of_nodes}) == 1
    dones.append(of_nodes)
    for alike in dones:
        record.add(alike)
    record.close()
    found = recorded(journal.resume(tmp_path, "key", "digest"))
    expected = [replace(done, url=b"") for alike in dones for done in alike]
    assert list(map(asdict, found)) == list(map(asdict, expected))
    assert (record.folder / "targets.jsonl").read_bytes().count(b"\n") == len(dones)


def test_lines_reach_the_kernel_with_each_flush(tmp_path: Path) -> None:
    record = started(tmp_path)
    record.add([done_of()])
    record.flush()
    assert len(list(record.records())) == 1
    record.add([done_of(ordinal=1)])
    assert len(list(record.records())) == 1
    record.close()


@pytest.mark.parametrize("torn", [b"[", b'[["fill", "", true, 200, "mi', b'[["fill"', b"\xff\xfe"])
def test_a_torn_last_line_is_asked_again_and_spoils_nothing(tmp_path: Path, torn: bytes) -> None:
    record = started(tmp_path)
    record.add([done_of(ordinal=1)])
    record.close()
    lines = record.folder / "targets.jsonl"
    with lines.open("ab") as file:
        file.write(torn)
    again = journal.resume(tmp_path, "key", "digest")
    again.add_notable(done_of(ordinal=2))
    again.close()
    found = journal.resume(tmp_path, "key", "digest")
    assert [done.ordinal for done in recorded(found)] == [1, 2]
    found.close()


@pytest.mark.parametrize(
    "line",
    [
        b"{}",
        b"5",
        b"null",
        b"[]",
        b'["fill"]',
        b"\0" * 40,
        b'["a","b","c",1,1,"?",1,1,1]',
        b'[["fill","",true,200,"?",0],"web1",[1],[1]]',
        b'[["fill","",true,200,"miss",0],["web1"],[1,2],[1,1]]',
        b'[["fill","",true,200,"miss",0],"web1",[],[]]',
    ],
)
def test_a_damaged_line_is_skipped(tmp_path: Path, line: bytes) -> None:
    record = started(tmp_path)
    record.add_notable(done_of(ordinal=1))
    record.flush()
    with (record.folder / "targets.jsonl").open("ab") as file:
        file.write(line + b"\n")
    record.add_notable(done_of(ordinal=2))
    record.close()
    assert [done.ordinal for done in recorded(record)] == [1, 2]


def test_the_newest_unfinished_run_of_the_same_key_is_resumed(tmp_path: Path) -> None:
    oldest, newest, finished, other = (
        started(tmp_path, key) for key in ("key", "key", "key", "other")
    )
    finished.finish("go")
    for record in (oldest, newest, finished, other):
        record.close()
    again = journal.resume(tmp_path, "key", "digest")
    assert again.name in {oldest.name, newest.name}
    assert again.name == max(oldest.name, newest.name)
    again.finish("no-go")
    again.close()
    journal.resume(tmp_path, "key", "digest").close()


def test_nothing_to_resume_says_so(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="no unfinished run"):
        journal.resume(tmp_path / "never-used", "key", "digest")
    record = started(tmp_path)
    record.finish("go")
    record.close()
    with pytest.raises(JournalError, match="no unfinished run"):
        journal.resume(tmp_path, "key", "digest")
    with pytest.raises(JournalError, match="no unfinished run"):
        journal.resume(tmp_path, "another", "digest")


def test_a_changed_list_cannot_be_resumed(tmp_path: Path) -> None:
    started(tmp_path).close()
    with pytest.raises(JournalError, match="the list of URLs has changed") as caught:
        journal.resume(tmp_path, "key", "another")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("text", ["", "{", "[]", '{"cachekit": 99}', "\udcff"])
def test_a_damaged_run_is_not_resumed(tmp_path: Path, text: str) -> None:
    record = started(tmp_path)
    record.close()
    (record.folder / "run.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(JournalError, match="no unfinished run"):
        journal.resume(tmp_path, "key", "digest")


def test_runs_are_told_apart_and_their_facts_kept(tmp_path: Path) -> None:
    one, two = started(tmp_path, site="http://shop.example"), started(tmp_path)
    assert one.name != two.name
    run = json.loads((one.folder / "run.json").read_text())
    assert (run["site"], run["state"], run["key"]) == ("http://shop.example", "running", "key")
    one.finish("degraded")
    run = json.loads((one.folder / "run.json").read_text())
    assert (run["state"], run["outcome"]) == ("finished", "degraded")
    one.close()
    two.close()


def age(folder: Path, *, days: float, state: str) -> None:
    run = json.loads((folder / "run.json").read_text())
    run |= {"started": time.time() - days * 86400, "state": state}
    (folder / "run.json").write_text(json.dumps(run))


def test_old_runs_are_forgotten_but_not_what_can_still_be_resumed(tmp_path: Path) -> None:
    folders = []
    for number in range(24):
        record = started(tmp_path)
        record.close()
        # A name of its own age; the newest twenty are kept in any case.
        folder = record.folder.rename(tmp_path / "runs" / f"20200101T0000{number:02d}Z-1")
        folders.append(folder)
    age(folders[0], days=3, state="finished")
    age(folders[1], days=3, state="running")
    age(folders[2], days=8, state="running")
    (folders[3] / "run.json").write_text("damaged")
    started(tmp_path).close()
    assert [folder.name for folder in folders if not folder.exists()] == [
        folders[n].name for n in (0, 2, 3)
    ]


def test_no_secret_reaches_the_disk(tmp_path: Path) -> None:
    record = started(tmp_path)
    record.add_notable(done_of(url=b"http://user:secret@shop.example/"))
    record.add([done_of(url=b"http://user:secret@shop.example/")])
    record.close()
    text = "".join(path.read_text() for path in record.folder.iterdir())
    assert "secret" not in text
    assert record.folder.stat().st_mode & 0o077 == 0
    assert (record.folder / "targets.jsonl").stat().st_mode & 0o077 == 0


def test_a_place_that_cannot_be_written_is_an_error_with_advice(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(JournalError, match="choose another --state-dir"):
        started(file / "below")


def test_a_full_disk_is_an_error_with_advice(tmp_path: Path) -> None:
    record = started(tmp_path)
    record.close()
    (record.folder / "targets.jsonl").unlink()
    (record.folder / "targets.jsonl").symlink_to("/dev/full")
    full = Journal(record.folder, record.run)
    full.add([done_of()])
    with pytest.raises(JournalError, match="No space left on device"):
        full.flush()
    full.close()


def finished(state_dir: Path, outcome: str, **facts: Any) -> Journal:
    record = started(state_dir, **facts)
    record.finish(outcome)
    record.close()
    return record


def test_the_last_good_run_is_of_the_same_kind_and_urls_and_went_well(tmp_path: Path) -> None:
    def last() -> float | None:
        return journal.last_good(tmp_path, "key", "digest")

    assert last() is None
    finished(tmp_path, "no-go")
    finished(tmp_path, "degraded")
    finished(tmp_path, "go", key="other")
    finished(tmp_path, "go", digest="other")
    started(tmp_path).close()
    assert last() is None
    good = finished(tmp_path, "go")
    finished(tmp_path, "no-go")
    assert last() == good.run["started"]
