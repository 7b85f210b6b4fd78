#!/usr/bin/python
"""Ansible: run a plan of cachekit; in check mode show what it would do."""

from __future__ import annotations

import json

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: cachekit
short_description: Runs a plan of cachekit
description:
  - Clears, primes, warms and puts nodes in, as a plan of the settings says.
  - In check mode it asks C(cachekit plan), which changes nothing. What a warm would find filled is
    not known then, so that any step counts as a change, but one that only waits or is left out.
  - Needs the command C(cachekit) where the task runs; that is mostly C(delegate_to localhost).
options:
  plan: {description: The name of the plan., type: str, required: true}
  release: {description: The release that goes live., type: str}
  previous: {description: The release that was live., type: str}
  rollback: {description: Whether this is a rollback., type: bool, default: false}
  environment_name: {description: Such as production., type: str}
  settings: {description: The settings file., type: path}
  chdir: {description: The folder to run in., type: path}
  state_dir: {description: Where runs and locks are kept., type: path}
  deadline: {description: For all of it; such as C(10m)., type: str}
  max_age: {description: Skip if the last good run began so lately., type: str}
  if_locked:
    description: What to do while another run goes on.
    type: str
    choices: [skip, wait, fail]
    default: fail
  accept_degraded:
    description: Whether exit code 3, degraded or not proven, is a warning instead of a failure.
    type: bool
    default: false
  variables:
    description: Variables that the settings name as C(${NAME}), secrets among them; never shown.
    type: dict
  executable: {description: The command., type: str, default: cachekit}
attributes:
  check_mode: {support: full}
"""

RETURN = """
changed: {description: Whether a cache or a node is not as it was before.}
rc: {description: The exit code of cachekit.}
run: {description: The name of the run in its history.}
outcome: {description: How it ended.}
steps: {description: "What each came to; in check mode why it would be left out, or cannot work."}
"""

_OPTIONS = {
    "plan": {"type": "str", "required": True},
    "release": {"type": "str"},
    "previous": {"type": "str"},
    "rollback": {"type": "bool", "default": False},
    "environment_name": {"type": "str"},
    "settings": {"type": "path"},
    "chdir": {"type": "path"},
    "state_dir": {"type": "path"},
    "deadline": {"type": "str"},
    "max_age": {"type": "str"},
    "if_locked": {"type": "str", "choices": ["skip", "wait", "fail"], "default": "fail"},
    "accept_degraded": {"type": "bool", "default": False},
    "variables": {"type": "dict", "no_log": True},
    "executable": {"type": "str", "default": "cachekit"},
}
_FOR_BOTH = ("release", "previous", "settings", "state_dir")
_FOR_RUNS = ("deadline", "max_age", "if_locked")
_TOLD = ("id", "title", "action", "nodes", "outcome", "reason", "skip", "refusal")
_DEGRADED = 3
_LOCKED = 75


def main() -> None:
    """Do what the task says."""
    module = AnsibleModule(argument_spec=_OPTIONS, supports_check_mode=True)
    code, written, said = _call(module)
    try:
        report = json.loads(written)
    except ValueError:
        why = "another run holds the lock: " if code == _LOCKED else ""
        module.fail_json(msg=f"cachekit: {why}{said.strip() or written}", rc=code, changed=False)
    steps = report.get("steps", [])
    result = {
        "rc": code,
        "run": report.get("run", ""),
        "outcome": report.get("outcome", "planned"),
        "changed": any(map(_would_change if module.check_mode else _has_changed, steps)),
        "steps": [{key: step[key] for key in _TOLD if key in step} for step in steps],
        "msg": f"{module.params['plan']}: {_reason(report)}",
    }
    for warning in report.get("warnings", []):
        module.warn(warning)
    if code == _DEGRADED and module.params["accept_degraded"]:
        module.warn(f"degraded: {result['msg']}")
    elif code:
        module.fail_json(**result)
    # Said, because Ansible takes an `rc` other than 0 for a failure.
    module.exit_json(failed=False, **result)


def _call(module: AnsibleModule) -> tuple[int, str, str]:
    options = module.params
    named = _FOR_BOTH if module.check_mode else (*_FOR_BOTH, *_FOR_RUNS)
    argv = [options["executable"], "plan" if module.check_mode else "run", options["plan"]]
    argv += ["--format", "json"]
    for name in named:
        if options[name]:
            argv += ["--" + name.replace("_", "-"), options[name]]
    facts = {
        "CACHEKIT_TOOL": "ansible",
        "CACHEKIT_ROLLBACK": "true" if options["rollback"] else "false",
        "CACHEKIT_ENVIRONMENT": options["environment_name"] or "",
    }
    variables = {name: str(value) for name, value in (options["variables"] or {}).items()}
    return module.run_command(argv, cwd=options["chdir"], environ_update=variables | facts)


def _has_changed(step: dict) -> bool:
    """Tell whether a step left something other than it was; what cannot be known is a change."""
    if step["outcome"] == "skipped" or step["action"] == "wait":
        return False
    document = step["document"]
    if step["action"] == "warm" and document:
        filled = document["total"]["fill"]
        return filled["hits"] < filled["asked"]
    if step["action"] in ("clear", "prime") and document:
        return any(_has_moved(each["found"] or {}) for each in document["steps"])
    return True


def _has_moved(change: dict) -> bool:
    return change.get("removed") != 0 if change.get("stored") is None else change["stored"] > 0


def _would_change(step: dict) -> bool:
    return step["action"] != "wait" and not step["skip"]


def _reason(report: dict) -> str:
    """Say why it ended as it did, in one line."""
    reasons = [
        f"step {step['id']} ({step['title']}): {why}"
        for step in report.get("steps", [])
        if (why := step.get("refusal") or _failure(step))
    ]
    if report.get("ended_early"):
        reasons.append(report["ended_early"])
    return "; ".join(reasons) or report.get("reason") or report.get("outcome", "can work")


def _failure(step: dict) -> str:
    outcome = step.get("outcome", "done")
    return "" if outcome in ("done", "skipped") else step["reason"] or outcome


if __name__ == "__main__":
    main()
