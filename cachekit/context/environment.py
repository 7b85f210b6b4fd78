"""What deploy tools and CI servers pass on in variables, and which of it counts.

The names are those of Kamal's hooks and containers, of Argo CD's build environment, and of the
default variables of GitHub Actions and GitLab CI. Capistrano, Deployer, Fabric and Ansible pass
nothing by themselves; hooks for them set CACHEKIT_*.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from cachekit.context.base import UNKNOWN, Context, Fact, fault_of
from cachekit.context.folder import FOLDER, look_at
from cachekit.errors import ConfigError
from cachekit.model import shown

VARIABLES: Mapping[str, tuple[str, ...]] = {
    "tool": ("CACHEKIT_TOOL",),
    "release": (
        "CACHEKIT_RELEASE",
        "KAMAL_VERSION",
        "ARGOCD_APP_REVISION",
        "GITHUB_SHA",
        "CI_COMMIT_SHA",
    ),
    "previous": ("CACHEKIT_PREVIOUS",),
    "nodes": ("CACHEKIT_NODES", "KAMAL_HOSTS"),
    "environment": ("CACHEKIT_ENVIRONMENT", "KAMAL_DESTINATION", "CI_ENVIRONMENT_NAME"),
    "actor": (
        "CACHEKIT_ACTOR",
        "GITHUB_TRIGGERING_ACTOR",
        "GITHUB_ACTOR",
        "GITLAB_USER_LOGIN",
        "KAMAL_PERFORMER",
        "SUDO_USER",
        "USER",
    ),
    "run_url": ("CACHEKIT_RUN_URL", "GITHUB_RUN_ID", "CI_JOB_URL"),
    "rollback": ("CACHEKIT_ROLLBACK", "KAMAL_COMMAND"),
}
"""Where each fact is looked for; the first that is set counts."""

DEPLOY_TOOLS = {"kamal": "KAMAL_VERSION", "argo-cd": "ARGOCD_APP_NAME"}
CI_SERVERS = {"github-actions": "GITHUB_ACTIONS", "gitlab-ci": "GITLAB_CI"}
"""Which variable tells that they take part."""

_TOLD_ONLY = ("tool", "actor", "run_url")
_LONGEST = {"nodes": 100_000, "run_url": 2_000}
_USUAL = 255
_YES, _NO = ("1", "true", "yes"), ("0", "false", "no")
_DENIED = "false"


def looked_at(name: str) -> tuple[str, ...]:
    """Name the places where a fact is looked for, the first that counts first."""
    variables = VARIABLES[name]
    if name == "tool":
        variables += (*DEPLOY_TOOLS.values(), *CI_SERVERS.values())
    return (*(f"${variable}" for variable in variables), *FOLDER.get(name, ()))


def detect(environ: Mapping[str, str], folder: Path) -> Context:
    """Find out what deploy this is. Raises ConfigError for a variable that must not be guessed at.

    What decides what is done (release, nodes, …) is refused where it is junk; what is only told
    (actor, …) is left out with a note.
    """
    notes: list[str] = []
    found = {name: _first(name, environ, notes) for name in VARIABLES}
    deployed = look_at(folder, with_git=not found["release"].value)
    if not found["release"].value:
        found["release"] = deployed.release
    if not found["previous"].value and found["release"].value == deployed.release.value:
        found["previous"] = deployed.previous
    tools = _tools(environ, found["tool"], deployed.tool)
    found["tool"] = tools[0] if tools else UNKNOWN
    notes += [*deployed.notes, *_of_schedules(environ, found["release"])]
    return Context(**found, tools=tools, notes=tuple(notes))


def _first(name: str, environ: Mapping[str, str], notes: list[str]) -> Fact:
    for variable in VARIABLES[name]:
        reader = _READERS.get(variable)
        text = environ.get(variable, "").strip()
        value = reader(text, environ) if reader and text else text
        if fault := fault_of(value, _LONGEST.get(name, _USUAL)):
            if name not in _TOLD_ONLY:
                raise ConfigError(f"${variable}: it {fault}; correct it, or unset it")
            notes.append(f"${variable} is left out: it {fault}")
        elif value:
            return Fact(value if value != _DENIED else "", f"${variable}")
    return UNKNOWN


def _with_commas(text: str, _environ: Mapping[str, str]) -> str:
    return ",".join(re.split(r"[,\s]+", text.strip(", \t\r\n")))


def _yes_or_no(text: str, _environ: Mapping[str, str]) -> str:
    if text.lower() not in _YES + _NO:
        raise ConfigError(f"$CACHEKIT_ROLLBACK: expected true or false, found {shown(text[:40])}")
    return "true" if text.lower() in _YES else _DENIED


def _is_rollback(text: str, _environ: Mapping[str, str]) -> str:
    return "true" if text == "rollback" else ""


def _github_run(run: str, environ: Mapping[str, str]) -> str:
    server, repository, attempt = (
        environ.get(f"GITHUB_{part}", "").strip()
        for part in ("SERVER_URL", "REPOSITORY", "RUN_ATTEMPT")
    )
    if not server or not repository:
        return ""
    url = f"{server}/{repository}/actions/runs/{run}"
    return f"{url}/attempts/{attempt}" if attempt not in ("", "1") else url


_READERS: Mapping[str, Callable[[str, Mapping[str, str]], str]] = {
    "CACHEKIT_NODES": _with_commas,
    "KAMAL_HOSTS": _with_commas,
    "CACHEKIT_ROLLBACK": _yes_or_no,
    "KAMAL_COMMAND": _is_rollback,
    "GITHUB_RUN_ID": _github_run,
}
"""How variables are read that do not hold the fact as it is."""


def _tools(environ: Mapping[str, str], said: Fact, by_folder: Fact) -> tuple[Fact, ...]:
    """Put all that take part in order, the innermost first, each once."""
    found: dict[str, Fact] = {}
    for fact in (said, *_signs(environ, DEPLOY_TOOLS), by_folder, *_signs(environ, CI_SERVERS)):
        if fact.value:
            found.setdefault(fact.value, fact)
    return tuple(found.values())


def _signs(environ: Mapping[str, str], tools: Mapping[str, str]) -> Iterator[Fact]:
    for tool, variable in tools.items():
        if environ.get(variable, "").strip().lower() not in ("", *_NO):
            yield Fact(tool, f"${variable}")


def _of_schedules(environ: Mapping[str, str], release: Fact) -> Iterator[str]:
    """Warn of a commit that is the newest, but need not be the one that is deployed."""
    sources = (environ.get("GITHUB_EVENT_NAME"), environ.get("CI_PIPELINE_SOURCE"))
    if "schedule" in sources and release.origin.startswith(("$GITHUB_", "$CI_", "git ")):
        yield (
            f"release: {release.origin} of a scheduled job is the newest commit, which need not be"
            " deployed; set CACHEKIT_RELEASE"
        )
