"""Asking a node: one process there, which gets the program and the job on its stdin."""

import json
from importlib.resources import files
from typing import Any

from cachekit.caches.base import Place
from cachekit.caches.files.agent.roots import SYSTEM_PARENTS, SYSTEM_TREES
from cachekit.deadline import Deadline
from cachekit.errors import CommandError, RefusedError, UnexpectedReplyError
from cachekit.model import shown

_PACKAGE = "cachekit.caches.files.agent"
# In the order in which they need each other.
_ALWAYS = ("trees", "roots", "selections", "skeletons", "swaps", "clears")
_ONLY_TO = {"prime": ("copies", "builds"), "releases": ("censuses",)}
_PERL_PARTS = ("json", *_ALWAYS, *(part for each in _ONLY_TO.values() for part in each), "main")
_NOTHING_THERE = 69

_CHOOSE = f"""\
if command -v python3 >/dev/null 2>&1; then exec python3 -ISB -c "$1"
elif command -v perl >/dev/null 2>&1; then exec perl -e "$2"
else exit {_NOTHING_THERE}; fi"""

# stdin holds what Python takes, a NUL, and what perl takes.
_PYTHON = """\
import json, sys, types
if sys.version_info < (3, 6): sys.exit("python3 there is older than 3.6")
sent = json.loads(sys.stdin.buffer.read().split(b"\\0")[0].decode())
for name, source in sent["modules"]:
    sys.modules[name] = types.ModuleType(name)
    above, _, last = name.rpartition(".")
    setattr(sys.modules.setdefault(above, types.ModuleType(above)), last, sys.modules[name])
    exec(compile(source, name, "exec"), sys.modules[name].__dict__)
sys.modules[name].main(sent["job"])"""
_PERL = r"""my @sent = split /\0/, do { local $/; <STDIN> }; eval $sent[1]; die $@ if $@;"""


def ask(place: Place, job: dict[str, Any], deadline: Deadline) -> dict[str, Any]:
    """Do a job on a node. Raises NodeError, RefusedError and UnexpectedReplyError."""
    seconds = deadline.remaining()
    # The node stops by itself a little earlier, to tell how far it came.
    job = {**job, "seconds": max(seconds - 2.0, seconds * 0.8)}
    completed = place.transport.run(argv(), stdin=program(job), deadline=deadline)
    if completed.status == _NOTHING_THERE:
        raise RefusedError(place.name, "has neither python3 nor perl; install one of them there")
    try:
        answer = json.loads(completed.stdout.splitlines()[-1])
    except (ValueError, IndexError) as error:
        said = shown((completed.stderr or completed.stdout).decode(errors="replace").strip()[-500:])
        message = f"the program on the node ended with {completed.status}: {said or 'no answer'}"
        raise UnexpectedReplyError(place.name, message) from error
    return checked(place, answer)


def argv() -> list[str]:
    """Give the command that runs on a node whatever comes on its stdin."""
    return ["sh", "-c", _CHOOSE, "cachekit", _PYTHON, _PERL]


def checked(place: Place, answer: Any) -> dict[str, Any]:
    """Raise what an answer tells to have gone wrong."""
    if not isinstance(answer, dict):
        raise UnexpectedReplyError(place.name, "the program on the node answered no object")
    if "refused" in answer:
        raise RefusedError(place.name, shown(answer["refused"]))
    if "late" in answer:
        raise CommandError(place.name, f"{shown(answer['late'])}; {_so_far(answer)}")
    if "error" in answer:
        raise CommandError(place.name, shown(answer["error"]))
    return answer


def _so_far(answer: dict[str, Any]) -> str:
    removed = answer.get("removed", 0)
    if not removed:
        return "nothing was changed"
    return f"{removed:,} files went, others may be left; clear again, or with a longer --deadline"


def program(job: dict[str, Any]) -> bytes:
    """Write a job with all that does it, in both languages."""
    sources = files(_PACKAGE)
    names = (*_ALWAYS, *_ONLY_TO.get(job["action"], ()), "main")
    modules = [
        (f"{_PACKAGE}.{name}", (sources / f"{name}.py").read_text("utf-8")) for name in names
    ]
    python = json.dumps({"modules": modules, "job": job}).encode()
    return python + b"\0" + _perl_job(job) + perl_source()


def perl_source() -> bytes:
    """Join the parts of what perl runs."""
    folder = files("cachekit.caches.files") / "agent_perl"
    return b"".join((folder / f"{name}.pl").read_bytes() for name in _PERL_PARTS)


def _perl_job(job: dict[str, Any]) -> bytes:
    """Write the job as Perl, which has JSON only where more than its base is installed."""
    job = job | {"system_trees": SYSTEM_TREES, "system_parents": SYSTEM_PARENTS}
    fields = ", ".join(f"{_perl_value(name)} => {_perl_value(job[name])}" for name in job)
    return f"%main::JOB = ({fields});\n".encode()


def _perl_value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_perl_value, value))}]"
    if value is None:
        return "undef"
    if isinstance(value, bool | int | float):
        return repr(float(value))
    # As hexadecimal digits, whatever it contains.
    return f'pack("H*", "{value.encode("utf-8", "surrogateescape").hex()}")'
