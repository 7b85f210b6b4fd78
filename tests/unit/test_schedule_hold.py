"""Holds: who holds a site and why, until when, and what counts as one when it cannot be read."""

import json
import os
from pathlib import Path

import pytest

from cachekit.errors import ConfigError, JournalError, LockedError
from cachekit.scheduling import hold as holds

SITE = "http://shop.example"


def the_file(state_dir: Path) -> Path:
    (path,) = (state_dir / "holds").iterdir()
    return path


NO_TIME = '{"holder": "a", "since": 1, "until": 1e999, "reason": ""}'


def rewrite(state_dir: Path, **facts: object) -> None:
    path = the_file(state_dir)
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))


def test_a_hold_says_who_and_why_until_it_is_released(tmp_path: Path) -> None:
    assert holds.why_held(tmp_path, SITE) == ""
    holds.hold(tmp_path, SITE, reason="new database")
    why = holds.why_held(tmp_path, SITE)
    assert why.startswith(f"{SITE} is held by ")
    assert f"on {os.uname().nodename} since 20" in why
    assert why.endswith(": new database; `cachekit release` lifts the hold")
    assert " until " not in why
    ended = holds.release(tmp_path, SITE)
    assert ended is not None
    assert ended.reason == "new database"
    assert holds.why_held(tmp_path, SITE) == ""
    assert holds.release(tmp_path, SITE) is None


def test_a_hold_is_for_one_site_however_it_is_written(tmp_path: Path) -> None:
    holds.hold(tmp_path, "http://Shop.Example/")
    assert holds.why_held(tmp_path, SITE)
    assert not holds.why_held(tmp_path, "http://other.example")


def test_a_hold_ends_by_itself(tmp_path: Path) -> None:
    holds.hold(tmp_path, SITE, seconds=3600, reason="lunch")
    assert " until 20" in holds.why_held(tmp_path, SITE)
    rewrite(tmp_path, until=1.0)
    assert holds.why_held(tmp_path, SITE) == ""
    assert holds.release(tmp_path, SITE) is None


def test_a_time_that_no_calendar_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--for: that is too long"):
        holds.hold(tmp_path, SITE, seconds=1e15)
    assert holds.why_held(tmp_path, SITE) == ""


def test_ones_own_hold_is_made_anew_but_not_that_of_others(tmp_path: Path) -> None:
    holds.hold(tmp_path, SITE, reason="one")
    holds.hold(tmp_path, SITE, reason="two")
    rewrite(tmp_path, holder="alice on web1")
    with pytest.raises(LockedError, match="already held by alice on web1 since") as caught:
        holds.hold(tmp_path, SITE, reason="three")
    assert caught.value.exit_code == 75
    rewrite(tmp_path, until=1.0)
    holds.hold(tmp_path, SITE, reason="three")
    assert holds.why_held(tmp_path, SITE).count(": three;") == 1


@pytest.mark.parametrize("damaged", ["", "{", "[]", "{}", '{"holder": "a"}', '"a"', "\0", NO_TIME])
def test_what_cannot_be_read_is_a_hold_that_can_be_released(tmp_path: Path, damaged: str) -> None:
    holds.hold(tmp_path, SITE)
    the_file(tmp_path).write_text(damaged)
    assert "cannot be read: it is damaged" in holds.why_held(tmp_path, SITE)
    with pytest.raises(LockedError):
        holds.hold(tmp_path, SITE)
    holds.release(tmp_path, SITE)
    assert holds.why_held(tmp_path, SITE) == ""


def test_a_place_that_cannot_be_read_is_a_hold(tmp_path: Path) -> None:
    (tmp_path / "holds").symlink_to("holds")
    assert "cannot be read: Too many levels" in holds.why_held(tmp_path, SITE)


def test_nothing_a_reason_holds_acts_on_a_terminal(tmp_path: Path) -> None:
    holds.hold(tmp_path, SITE, reason="\x1b[31m\nred")
    assert holds.why_held(tmp_path, SITE).isprintable()


def test_a_file_of_another_tool_holds_the_site_while_it_is_there(tmp_path: Path) -> None:
    flag = tmp_path / "maintenance.flag"
    assert holds.why_held(tmp_path, SITE, flag) == ""
    flag.symlink_to("nowhere")
    assert holds.why_held(tmp_path, SITE, flag) == f"{SITE} is held: {flag} is there"
    flag.unlink()
    assert holds.why_held(tmp_path, SITE, flag) == ""
    assert holds.why_held(tmp_path, SITE, flag / "below") == ""


def test_a_place_that_cannot_be_written_is_an_error_with_advice() -> None:
    with pytest.raises(JournalError, match=r"cannot be written: .*; give the right --state-dir"):
        holds.hold(Path("/proc/nowhere"), SITE)


def test_no_half_written_hold_is_left(tmp_path: Path) -> None:
    holds.hold(tmp_path, SITE)
    assert [path.suffix for path in (tmp_path / "holds").iterdir()] == [".json"]
