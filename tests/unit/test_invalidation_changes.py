"""What git, rsync, manifests and people say of changed files."""

import subprocess
from pathlib import Path

import pytest

from cachekit.deadline import Deadline
from cachekit.errors import ConfigError, SourceError
from cachekit.invalidation.changes import ChangeKind, FileChange
from cachekit.invalidation.reading import read_between, read_listing

ADDED, MODIFIED, DELETED = ChangeKind.ADDED, ChangeKind.MODIFIED, ChangeKind.DELETED


def listed(form: str, text: str | bytes) -> dict[str, ChangeKind]:
    data = text if isinstance(text, bytes) else text.encode()
    return {change.path: change.kind for change in read_listing(form, data)}


def between(old: Path | str, new: Path | str, repository: Path = Path()) -> dict[str, ChangeKind]:
    changes = read_between(str(old), str(new), repository, Deadline(30))
    return {change.path: change.kind for change in changes}


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (">f+++++++++ new.css", {"new.css": ADDED}),
        ("<f+++++++++ new.css", {"new.css": ADDED}),
        (">f.st...... a b.css", {"a b.css": MODIFIED}),
        (">fcst...... ./a", {"a": MODIFIED}),
        (".f..t...... a", {}),
        (".f...p..... a", {}),
        (".d..t...... ./", {}),
        ("cd+++++++++ folder/", {}),
        ("cL+++++++++ link -> target", {"link": ADDED}),
        ("cLc.T...... link -> target", {"link": MODIFIED}),
        ("hf+++++++++ hard => other", {"hard": ADDED}),
        (">f+++++++++ caf\\#351 -> x", {"caf\udce9 -> x": ADDED}),
        ("*deleting   old.css", {"old.css": DELETED}),
        ("*deleting   folder/", {}),
        (">f+++++++ old.rsync", {"old.rsync": ADDED}),
        ("sending incremental file list", {}),
        ("sent 1,234 bytes  received 35 bytes  846.00 bytes/sec", {}),
        ("total size is 13  speedup is 0.04 (DRY RUN)", {}),
        ("", {}),
    ],
)
def test_a_line_of_rsync(line: str, found: dict[str, ChangeKind]) -> None:
    assert listed("rsync", line + "\n") == found


@pytest.mark.parametrize("line", ["templates/a.twig", "rsync: connection closed", "deleting a"])
def test_what_rsync_would_not_write_is_refused(line: str) -> None:
    with pytest.raises(SourceError, match="line 2"):
        listed("rsync", f"sending incremental file list\n{line}\n")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a\nb c\r\n\n./d\n", {"a": MODIFIED, "b c": MODIFIED, "d": MODIFIED}),
        ("A\ta\nD\tb\nT\tc\n", {"a": ADDED, "b": DELETED, "c": MODIFIED}),
        ("R087\ta\tb\n", {"a": DELETED, "b": ADDED}),
        ("C100\ta\tb\n", {"b": ADDED}),
        ('M\t"caf\\303\\251\\t\\"x\\""\n', {'café\t"x"': MODIFIED}),
        ('"a\\\\b"', {"a\\b": MODIFIED}),
        (b"caf\xe9\n", {"caf\udce9": MODIFIED}),
        (b"a\nb\0c\0", {"a\nb": MODIFIED, "c": MODIFIED}),
        (b"M\0a\nb\0R100\0c\0d\0", {"a\nb": MODIFIED, "c": DELETED, "d": ADDED}),
        ("D\ta\nA\ta\n", {"a": MODIFIED}),
        ("", {}),
    ],
)
def test_a_list_of_paths(text: str | bytes, found: dict[str, ChangeKind]) -> None:
    assert listed("paths", text) == found


@pytest.mark.parametrize("text", ["X\ta", "M\ta\tb", "R100\ta", "Mx\ta", "M\t"])
def test_a_status_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(SourceError, match="standard input, line 2"):
        listed("paths", f"a\n{text}\n")


def test_directories_differ_by_contents_alone(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for root in (old, new):
        (root / "sub").mkdir(parents=True)
        (root / ".git").mkdir()
        (root / "sub" / "same").write_text("same")
        (root / "sub" / ".git").write_text(f"gitdir: {root}")
    (new / "sub" / "same").chmod(0o600)
    (old / "size").write_text("1")
    (new / "size").write_text("12")
    (old / "bytes").write_text("1")
    (new / "bytes").write_text("2")
    (old / "link").symlink_to("a")
    (new / "link").symlink_to("b")
    (old / "shared").symlink_to("/nowhere")
    (new / "shared").symlink_to("/nowhere")
    (old / "kind").write_text("x")
    (new / "kind").symlink_to("x")
    (old / "gone").touch()
    (new / "sub" / "new").touch()
    (new / ".git" / "HEAD").touch()
    assert between(old, new) == {
        "size": MODIFIED,
        "bytes": MODIFIED,
        "link": MODIFIED,
        "kind": MODIFIED,
        "gone": DELETED,
        "sub/new": ADDED,
    }


def test_manifests_as_sha256sum_writes_them(tmp_path: Path) -> None:
    release = tmp_path / "release"
    release.mkdir()
    for name in (b"plain", b"caf\xe9", b"new\nline", b"back\\slash"):
        (release / name.decode(errors="surrogateescape")).write_text("old")

    def manifest(name: str, *options: str) -> Path:
        found = subprocess.run(
            f"find . -type f -print0 | xargs -0 sha256sum {' '.join(options)}",
            shell=True,
            check=True,
            capture_output=True,
            cwd=release,
        )
        (tmp_path / name).write_bytes(found.stdout)
        return tmp_path / name

    before = manifest("before")
    (release / "log").symlink_to("/shared/log")
    assert between(before, release) == {}
    (release / "log").unlink()
    assert between(before, manifest("nul", "--zero")) == {}
    assert between(before, manifest("binary", "--binary")) == {}
    assert between(before, release) == {}
    for path in release.iterdir():
        path.write_text("new")
    (release / "added").touch()
    changed = {"plain", "caf\udce9", "new\nline", "back\\slash"}
    wanted = dict.fromkeys(changed, MODIFIED) | {"added": ADDED}
    assert between(before, manifest("after")) == wanted
    assert between(before, release) == wanted


def test_a_manifest_that_is_none_names_its_line(tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    bad.write_text(f"{'0' * 64}  a\nnonsense\n")
    with pytest.raises(SourceError, match=r"bad:2: expected a hash and a path"):
        between(bad, bad)
    short, long = tmp_path / "short", tmp_path / "long"
    short.write_text(f"{'0' * 32}  a\n")
    long.write_text(f"{'0' * 64}  a\n")
    with pytest.raises(SourceError, match="hashed by md5 there and sha256 here"):
        between(short, long)


def test_revisions_of_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> None:
        identity = ("-c", "user.name=T", "-c", "user.email=t@shop.example")
        subprocess.run(["git", *identity, *arguments], check=True, cwd=tmp_path)

    git("init", "--quiet")
    git("config", "diff.renames", "copies")
    git("config", "diff.relative", "true")
    for name in (b"kept", b"changed", b"gone", b"old name", b"caf\xe9"):
        (tmp_path / name.decode(errors="surrogateescape")).write_text(f"{name!r}\n" * 20)
    git("add", "--all")
    git("commit", "--quiet", "--message", "1")
    (tmp_path / "sub").mkdir()
    (tmp_path / "old name").rename(tmp_path / "sub" / "new\nname")
    (tmp_path / "changed").write_text("x")
    (tmp_path / "caf\udce9").write_text("x")
    (tmp_path / "gone").unlink()
    git("add", "--all")
    git("commit", "--quiet", "--message", "2")
    wanted = {
        "changed": MODIFIED,
        "caf\udce9": MODIFIED,
        "gone": DELETED,
        "old name": DELETED,
        "sub/new\nname": ADDED,
    }
    assert between("HEAD~1", "HEAD", tmp_path) == wanted
    assert between("HEAD~1", "HEAD", tmp_path / "sub") == wanted
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "of another hook"))
    assert between("HEAD~1", "HEAD", tmp_path) == wanted


def test_what_cannot_be_compared_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="both must be revisions of a git repository"):
        between("r1", "r2", tmp_path)
    with pytest.raises(ConfigError, match="is a variable not set"):
        between("", "r2", tmp_path)
    with pytest.raises(ConfigError, match="is no revision"):
        between("--output=x", "r2", tmp_path)
    with pytest.raises(ConfigError, match="is a file or directory, and r2 is none"):
        between(tmp_path, "r2", tmp_path)


def test_no_reader_outlives_its_deadline(tmp_path: Path) -> None:
    over = Deadline(0)
    with pytest.raises(SourceError, match="--deadline gives more time"):
        read_between(str(tmp_path), str(tmp_path), tmp_path, over)
    with pytest.raises(SourceError, match="--deadline gives more time"):
        read_between("r1", "r2", tmp_path, over)


def test_a_change_names_itself() -> None:
    assert str(FileChange("a/b", MODIFIED)) == "a/b (modified)"
