"""What is known of a deploy: variables of each tool, folders as the tools leave them, git."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachekit.context import UNKNOWN, Context, Fact, detect
from cachekit.errors import ConfigError

SHA = "3f786850e387550fdab836ed7e6dc881de23001b"
OLDER = "89e6c98d92887913cadf06b2adb97f26cde4849b"

KAMAL = {
    "KAMAL_RECORDED_AT": "2026-11-25T10:00:00Z",
    "KAMAL_PERFORMER": "ann@shop.example",
    "KAMAL_VERSION": SHA,
    "KAMAL_SERVICE": "shop",
    "KAMAL_SERVICE_VERSION": f"shop@{SHA[:7]}",
    "KAMAL_DESTINATION": "production",
    "KAMAL_HOSTS": "10.0.0.11,10.0.0.12",
    "KAMAL_ROLES": "web",
    "KAMAL_COMMAND": "deploy",
    "KAMAL_RUNTIME": "42",
}
GITHUB = {
    "CI": "true",
    "GITHUB_ACTIONS": "true",
    "GITHUB_ACTOR": "ann",
    "GITHUB_TRIGGERING_ACTOR": "bob",
    "GITHUB_EVENT_NAME": "push",
    "GITHUB_REF_NAME": "main",
    "GITHUB_REPOSITORY": "acme/shop",
    "GITHUB_RUN_ATTEMPT": "2",
    "GITHUB_RUN_ID": "1658821493",
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_SHA": SHA,
    "USER": "runner",
}
GITLAB = {
    "CI": "true",
    "GITLAB_CI": "true",
    "CI_COMMIT_SHA": SHA,
    "CI_COMMIT_BEFORE_SHA": OLDER,
    "CI_ENVIRONMENT_NAME": "production",
    "CI_ENVIRONMENT_URL": "https://shop.example",
    "CI_JOB_URL": "https://gitlab.example/acme/shop/-/jobs/77",
    "CI_PIPELINE_SOURCE": "push",
    "GITLAB_USER_LOGIN": "ann",
}
ARGO = {"ARGOCD_APP_NAME": "shop", "ARGOCD_APP_REVISION": SHA}
OURS = {
    "CACHEKIT_TOOL": "capistrano",
    "CACHEKIT_RELEASE": "20261125100000",
    "CACHEKIT_PREVIOUS": "20261124100000",
    "CACHEKIT_ENVIRONMENT": "staging",
    "CACHEKIT_NODES": "web1 web2\nweb3",
    "CACHEKIT_ACTOR": "deploy",
    "CACHEKIT_ROLLBACK": "true",
}

TOLD: Mapping[str, tuple[dict[str, str], dict[str, tuple[str, str]]]] = {
    "kamal": (
        KAMAL,
        {
            "tool": ("kamal", "$KAMAL_VERSION"),
            "release": (SHA, "$KAMAL_VERSION"),
            "nodes": ("10.0.0.11,10.0.0.12", "$KAMAL_HOSTS"),
            "environment": ("production", "$KAMAL_DESTINATION"),
            "actor": ("ann@shop.example", "$KAMAL_PERFORMER"),
        },
    ),
    "kamal rollback": (
        {"KAMAL_VERSION": OLDER, "KAMAL_COMMAND": "rollback"},
        {
            "tool": ("kamal", "$KAMAL_VERSION"),
            "release": (OLDER, "$KAMAL_VERSION"),
            "rollback": ("true", "$KAMAL_COMMAND"),
        },
    ),
    "github": (
        GITHUB,
        {
            "tool": ("github-actions", "$GITHUB_ACTIONS"),
            "release": (SHA, "$GITHUB_SHA"),
            "actor": ("bob", "$GITHUB_TRIGGERING_ACTOR"),
            "run_url": (
                "https://github.com/acme/shop/actions/runs/1658821493/attempts/2",
                "$GITHUB_RUN_ID",
            ),
        },
    ),
    "gitlab": (
        GITLAB,
        {
            "tool": ("gitlab-ci", "$GITLAB_CI"),
            "release": (SHA, "$CI_COMMIT_SHA"),
            "environment": ("production", "$CI_ENVIRONMENT_NAME"),
            "actor": ("ann", "$GITLAB_USER_LOGIN"),
            "run_url": ("https://gitlab.example/acme/shop/-/jobs/77", "$CI_JOB_URL"),
        },
    ),
    "argo": (
        ARGO,
        {"tool": ("argo-cd", "$ARGOCD_APP_NAME"), "release": (SHA, "$ARGOCD_APP_REVISION")},
    ),
    "a hook of ours": (
        OURS,
        {
            "tool": ("capistrano", "$CACHEKIT_TOOL"),
            "release": ("20261125100000", "$CACHEKIT_RELEASE"),
            "previous": ("20261124100000", "$CACHEKIT_PREVIOUS"),
            "nodes": ("web1,web2,web3", "$CACHEKIT_NODES"),
            "environment": ("staging", "$CACHEKIT_ENVIRONMENT"),
            "actor": ("deploy", "$CACHEKIT_ACTOR"),
            "rollback": ("true", "$CACHEKIT_ROLLBACK"),
        },
    ),
    "capistrano in github actions": (
        GITHUB | {"CACHEKIT_TOOL": "capistrano", "CACHEKIT_RELEASE": "20261125100000"},
        {
            "tool": ("capistrano", "$CACHEKIT_TOOL"),
            "release": ("20261125100000", "$CACHEKIT_RELEASE"),
            "actor": ("bob", "$GITHUB_TRIGGERING_ACTOR"),
            "run_url": (
                "https://github.com/acme/shop/actions/runs/1658821493/attempts/2",
                "$GITHUB_RUN_ID",
            ),
        },
    ),
    "kamal in gitlab": (
        GITLAB | KAMAL | {"KAMAL_VERSION": OLDER, "KAMAL_PERFORMER": "root"},
        {
            "tool": ("kamal", "$KAMAL_VERSION"),
            "release": (OLDER, "$KAMAL_VERSION"),
            "nodes": ("10.0.0.11,10.0.0.12", "$KAMAL_HOSTS"),
            "environment": ("production", "$KAMAL_DESTINATION"),
            "actor": ("ann", "$GITLAB_USER_LOGIN"),
            "run_url": ("https://gitlab.example/acme/shop/-/jobs/77", "$CI_JOB_URL"),
        },
    ),
    "by hand": ({"USER": "root", "SUDO_USER": "ann"}, {"actor": ("ann", "$SUDO_USER")}),
    "nothing": ({}, {}),
}


@pytest.mark.parametrize("name", TOLD)
def test_each_tool_is_known_by_its_variables(name: str, tmp_path: Path) -> None:
    environ, expected = TOLD[name]
    found = detect(environ, tmp_path).found()
    assert {key: (fact.value, fact.origin) for key, fact in found.items() if fact.value} == expected


def test_all_that_take_part_are_told_the_innermost_first(tmp_path: Path) -> None:
    both = detect(GITLAB | KAMAL | {"CACHEKIT_TOOL": "fabric"}, tmp_path)
    assert [fact.value for fact in both.tools] == ["fabric", "kamal", "gitlab-ci"]
    twice = detect(GITHUB | KAMAL | {"CACHEKIT_TOOL": "github-actions"}, tmp_path)
    assert [fact.value for fact in twice.tools] == ["github-actions", "kamal"]
    assert twice.tools[0].origin == "$CACHEKIT_TOOL"


def test_the_values_stand_for_placeholders(tmp_path: Path) -> None:
    facts = detect(OURS, tmp_path).facts()
    assert list(facts) == [
        *("tool", "release", "previous", "nodes", "environment", "actor", "run_url", "rollback")
    ]
    assert facts["rollback"] == "true"
    assert facts["run_url"] == ""


@pytest.mark.parametrize("said", ["0", "false", "No"])
def test_a_denied_rollback_goes_over_what_the_tool_says(said: str, tmp_path: Path) -> None:
    found = detect({"CACHEKIT_ROLLBACK": said, "KAMAL_COMMAND": "rollback"}, tmp_path)
    assert found.rollback == Fact("", "$CACHEKIT_ROLLBACK")


def test_an_empty_variable_says_nothing(tmp_path: Path) -> None:
    found = detect({"CACHEKIT_ROLLBACK": " ", "CACHEKIT_NODES": " ", **KAMAL}, tmp_path)
    assert found.rollback == UNKNOWN
    assert found.nodes.origin == "$KAMAL_HOSTS"


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("CACHEKIT_RELEASE", "r\x1b[31m", r"\$CACHEKIT_RELEASE: it has characters .*: r\\x1b\[31m"),
        ("KAMAL_VERSION", "r" * 256, r"\$KAMAL_VERSION: it is longer than 255 characters; correct"),
        ("CACHEKIT_NODES", "n," * 60_000, r"\$CACHEKIT_NODES: it is longer than 100,000"),
        ("CI_ENVIRONMENT_NAME", "a\nb", r"\$CI_ENVIRONMENT_NAME: it has characters .*: a\\nb;"),
        ("CACHEKIT_ROLLBACK", "perhaps", r"\$CACHEKIT_ROLLBACK: expected true or false, found per"),
        ("CACHEKIT_ROLLBACK", "\x07", r"\$CACHEKIT_ROLLBACK: expected true or false, found \\x07"),
        ("CACHEKIT_PREVIOUS", "caf\udce9", r"\$CACHEKIT_PREVIOUS: it has characters .*caf\\udce9"),
    ],
)
def test_junk_that_decides_what_is_done_is_refused(
    variable: str, value: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        detect({variable: value}, tmp_path)


def test_junk_that_is_only_told_is_left_out(tmp_path: Path) -> None:
    found = detect(GITHUB | {"GITHUB_TRIGGERING_ACTOR": "b\x07b"}, tmp_path)
    assert found.actor == Fact("ann", "$GITHUB_ACTOR")
    assert found.notes == (
        r"$GITHUB_TRIGGERING_ACTOR is left out: it has characters that do not print: b\x07b",
    )


@given(
    st.dictionaries(
        st.sampled_from(sorted({*KAMAL, *GITHUB, *GITLAB, *OURS})),
        st.text(max_size=300),
        max_size=8,
    )
)
def test_whatever_the_variables_hold_what_is_found_prints(environ: dict[str, str]) -> None:
    try:
        found = detect(environ, Path("/proc/self/fdinfo"))
    except ConfigError:
        return
    told = [*(fact.value for fact in found.found().values()), *found.notes]
    assert all(text.isprintable() for text in told)


def deploy_root(root: Path, releases: Mapping[str, str], current: str = "") -> Path:
    for name, revision in releases.items():
        folder = root / "releases" / name / "app" / "public"
        folder.mkdir(parents=True)
        if revision:
            (root / "releases" / name / "REVISION").write_text(revision + "\n")
    if current:
        (root / "current").symlink_to(root / "releases" / current)
    return root.resolve()


RELEASES = {"20261123": "a" * 40, "20261124": OLDER, "20261125": SHA}


def capistrano(root: Path, current: str, log: Sequence[str]) -> Path:
    root = deploy_root(root, RELEASES, current)
    (root / "revisions.log").write_text("".join(f"{line}\n" for line in log))
    return root


def deployed(name: str) -> str:
    return f"Branch main (at {RELEASES.get(name, 'b' * 40)[:7]}) deployed as release {name} by ann"


@pytest.mark.parametrize(
    ("current", "log", "previous"),
    [
        ("20261124", ["20261123", "20261124"], "20261124"),
        ("20261125", ["20261123", "20261124"], "20261124"),
        ("20261125", ["20261123", "20261124", "20261125"], "20261124"),
        ("20261125", ["20261123", "20261124", "<20261123", "20261125"], "20261123"),
        ("20261125", ["20261123", "20260101", "20261125"], "20261123"),
        ("20261125", ["20260101", "20261125"], ""),
        ("", [], ""),
    ],
    ids=["before", "after", "logged", "after a rollback", "some gone", "all gone", "first"],
)
def test_capistrano_tells_the_release_and_what_was_live_before(
    tmp_path: Path, current: str, log: list[str], previous: str
) -> None:
    lines = [
        f"ann rolled back to release {name[1:]}" if name.startswith("<") else deployed(name)
        for name in log
    ]
    root = capistrano(tmp_path / "shop", current, lines)
    found = detect({}, root / "releases" / "20261125" / "app" / "public")
    release = root / "releases" / "20261125" / "REVISION"
    assert found.release == Fact(SHA, str(release))
    where = root / "releases" / previous / "REVISION"
    assert found.previous == (Fact(RELEASES[previous], str(where)) if previous else UNKNOWN)
    assert found.tool == (Fact("capistrano", str(root / "revisions.log")) if log else UNKNOWN)
    assert found.notes == ()


def test_the_link_to_the_live_release_is_followed(tmp_path: Path) -> None:
    root = capistrano(tmp_path / "shop", "20261125", [deployed("20261124")])
    found = detect({}, root / "current" / "app")
    assert found.release.value == SHA
    assert found.previous.value == OLDER


def deployer(root: Path, names: Sequence[str], current: str) -> Path:
    revisions = {"1": "a" * 40, "2": OLDER, "3": SHA}
    root = deploy_root(root, {name: revisions.get(name, "c" * 40) for name in names}, current)
    (root / ".dep").mkdir()
    lines = [
        {"created_at": "2026-11-25T10:00:00+0000", "release_name": n, "user": "ann", "target": "m"}
        for n in names
    ]
    text = "not json\n[]\n" + "".join(f"{json.dumps(line)}\n" for line in lines)
    (root / ".dep" / "releases_log").write_text(text)
    return root


@pytest.mark.parametrize("current", ["2", "3"])
def test_deployer_tells_the_release_and_what_was_live_before(tmp_path: Path, current: str) -> None:
    root = deployer(tmp_path / "shop", ["1", "2", "3"], current)
    (root / "release").symlink_to("releases/3")
    found = detect({}, root / "release")
    assert found.tool == Fact("deployer", str(root / ".dep" / "releases_log"))
    assert found.release == Fact(SHA, str(root / "releases" / "3" / "REVISION"))
    assert found.previous == Fact(OLDER, str(root / "releases" / "2" / "REVISION"))


@pytest.mark.parametrize("mark", ["BAD_RELEASE", "DIRTY_RELEASE"])
def test_a_release_that_deployer_marks_is_not_the_one_before(tmp_path: Path, mark: str) -> None:
    root = deployer(tmp_path / "shop", ["1", "2", "3"], "3")
    (root / "releases" / "2" / mark).touch()
    assert detect({}, root / "releases" / "3").previous.value == "a" * 40


def test_the_same_revision_twice_is_no_previous_release(tmp_path: Path) -> None:
    root = deploy_root(tmp_path / "shop", {"1": OLDER, "2": SHA, "3": SHA}, "2")
    assert detect({}, root / "releases" / "3").previous == UNKNOWN


def test_a_previous_release_never_goes_with_a_release_of_another_kind(tmp_path: Path) -> None:
    root = capistrano(tmp_path / "shop", "20261124", [deployed("20261124")])
    folder = root / "releases" / "20261125"
    named_by_folder = detect({"CACHEKIT_RELEASE": "20261125"}, folder)
    assert named_by_folder.release.value == "20261125"
    assert named_by_folder.previous == UNKNOWN
    assert detect({"CACHEKIT_RELEASE": SHA}, folder).previous.value == OLDER


def test_a_release_without_revision_is_not_known(tmp_path: Path) -> None:
    root = deploy_root(tmp_path / "shop", {"1": OLDER, "2": ""}, "1")
    found = detect({}, root / "releases" / "2")
    assert (found.release, found.previous) == (UNKNOWN, UNKNOWN)


def test_variables_go_over_files(tmp_path: Path) -> None:
    (tmp_path / "REVISION").write_text(OLDER)
    assert detect(GITHUB, tmp_path).release == Fact(SHA, "$GITHUB_SHA")
    assert detect({}, tmp_path).release == Fact(OLDER, str(tmp_path.resolve() / "REVISION"))


def test_what_is_above_a_folder_of_no_release_is_not_looked_at(tmp_path: Path) -> None:
    (tmp_path / "REVISION").write_text("somebody-elses")
    (tmp_path / "mine").mkdir()
    assert detect({}, tmp_path / "mine").release == UNKNOWN


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("This file tells the revision.\n", "has more than one word"),
        ("r" * 300, "is longer than 255 characters"),
        ("r\x1b]0;x\x07", r"has characters that do not print: r\x1b]0;x\x07"),
        ("", ""),
    ],
)
def test_a_file_that_names_no_release_is_told_and_left_out(
    tmp_path: Path, text: str, fault: str
) -> None:
    path = tmp_path / "REVISION"
    path.write_text(text)
    found = detect({}, tmp_path)
    assert found.release == UNKNOWN
    expected = (f"{path.resolve()} is no release: {fault}",) if fault else ()
    assert found.notes == expected


def test_a_log_of_any_bytes_does_no_harm(tmp_path: Path) -> None:
    root = capistrano(tmp_path / "shop", "20261125", [])
    junk = b"deployed as release ../../etc by x\n\xff\xfe deployed as release " + b"a" * 400 + b"\n"
    (root / "revisions.log").write_bytes(b"x" * 100_000 + b"\n" + junk)
    found = detect({}, root / "releases" / "20261125")
    assert found.release.value == SHA
    assert found.previous == UNKNOWN


def test_a_folder_that_is_gone_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    found = detect({"CACHEKIT_RELEASE": "r42"}, Path())
    assert found.release.value == "r42"
    assert found.notes == (".: cannot be looked at: No such file or directory",)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a repository of one commit."""
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "Ann")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "ann@shop.example")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    folder = tmp_path.resolve() / "shop"
    (folder / "deploy").mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch", "main")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", "first")
    return folder


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_git_tells_the_commit_that_is_checked_out(repository: Path) -> None:
    head = git(repository, "rev-parse", "HEAD")
    found = detect({}, repository / "deploy")
    assert found.release == Fact(head, f"git HEAD in {repository}")
    assert found.previous == UNKNOWN
    assert detect({"CACHEKIT_RELEASE": "r42"}, repository).release.value == "r42"
    (repository / "REVISION").write_text(OLDER)
    assert detect({}, repository / "deploy").release.value == OLDER


def test_a_hook_of_a_bare_repository_has_the_commit(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = tmp_path.resolve() / "shop.git"
    git(tmp_path, "clone", "--quiet", "--bare", str(repository), str(bare))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert detect({}, bare).release.origin == f"git HEAD in {bare}"


def notes_of(folder: Path) -> tuple[str, ...]:
    found = detect({}, folder)
    assert found.release == UNKNOWN
    return found.notes


def test_a_repository_of_somebody_else_is_a_note(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    (note,) = notes_of(repository)
    assert note.startswith(f"git HEAD in {repository} is not known: fatal: detected dubious owner")


def test_a_folder_called_objects_makes_no_repository(tmp_path: Path) -> None:
    (tmp_path / "objects").mkdir()
    assert notes_of(tmp_path) == ()


def test_a_repository_without_a_commit_is_a_note(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    assert notes_of(tmp_path) == (f"git HEAD in {tmp_path.resolve()} is not known: no commit",)


def test_a_machine_without_git_is_a_note(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "env").symlink_to(shutil.which("env") or "")
    monkeypatch.setenv("PATH", str(programs))
    assert notes_of(repository) == (f"git HEAD in {repository} is not known: git is not installed",)


@pytest.mark.parametrize("source", [GITHUB, GITLAB])
def test_the_commit_of_a_scheduled_job_is_doubted(source: dict[str, str], tmp_path: Path) -> None:
    name = "GITHUB_EVENT_NAME" if source is GITHUB else "CI_PIPELINE_SOURCE"
    (note,) = detect(source | {name: "schedule"}, tmp_path).notes
    assert "need not be deployed; set CACHEKIT_RELEASE" in note
    assert detect(source | {name: "schedule", "CACHEKIT_RELEASE": "r"}, tmp_path).notes == ()
    assert detect(source, tmp_path).notes == ()


def test_nothing_is_known_by_itself() -> None:
    assert not any(Context().facts().values())
