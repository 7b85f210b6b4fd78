"""Plans, go-live actors and the release check in settings files: forms, faults, description."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from cachekit import registry
from cachekit.config.pieces import keys_of
from cachekit.golive.file import File
from cachekit.golive.haproxy import Haproxy
from cachekit.model import Address
from cachekit.step_settings import (
    KINDS,
    ClearStep,
    GoLiveStep,
    PlanSettings,
    PrimeStep,
    ReleaseCheck,
    RollStep,
    RunStep,
    WaitStep,
    WarmStep,
)
from cachekit.thresholds import Gate, MinShare
from tests.unit.conftest import SITE, Faults, Load, for_editors

DOCUMENT = Path(__file__).parents[2] / "docs" / "settings.md"

SHOP = (
    SITE
    + """\
nodes:
  web1: {address: 10.0.0.11, ssh: deploy@web1, groups: [web, green]}
  web2: {address: 10.0.0.12, ssh: deploy@web2, groups: [web, blue]}
  edge1: {address: 10.0.0.21, groups: edge}
caches:
  views: {type: files, on: web, path: /srv/shop/cache/twig, opcache: code}
  code: {type: apc, on: web}
  objects: {type: memcache, servers: "10.0.2.1:11211", namespace: "shop:{release}:"}
  pages: {type: varnish, on: web, cli: "127.0.0.1:6082", secret_file: /etc/varnish/secret}
golive:
  lb: {type: haproxy, sockets: "unix:/run/haproxy/admin.sock", backend: web}
warmlists: {top: {urls: [/]}}
"""
)

DEPLOY = (
    SHOP
    + """\
release_check: {on: web, header: X-Release}
plans:
  deploy:
    on_failure: rollback
    deadline: 30m
    steps:
      - clear: [views, code/opcode]
      - - {clear: pages, url: /, on: edge}
        - {prime: objects, from: "donor:{previous}"}
      - {run: "bin/console cache:warmup", on: web, when: "{tool} == kamal", deadline: 5m}
      - {wait: release, on: web}
      - roll: web
        golive: lb
        batch: 25%
        steps: [{clear: code}, [{warm: top, gate: {min_hit: 90%}}, {run: "logger {node}"}]]
      - {golive: lb, on: green, instead_of: blue}
    finally: [{run: [logger, done]}]
  nightly: {schedule: "0 4 * * *", steps: [{warm: all, on: edge}]}
  rollback: [{clear: [pages]}, {warm: [top], on: edge}]
"""
)


class TestForms:
    def test_steps_stand_in_stages(self, load: Load) -> None:
        plan = load(DEPLOY).plans["deploy"]
        gate = Gate(min_hit=MinShare(go=Fraction(9, 10), floor=Fraction(9, 10)))
        assert plan.steps == (
            (ClearStep(clear=("views", "code/opcode")),),
            (
                ClearStep(clear=("pages",), url=("/",), on=("edge",)),
                PrimeStep(prime=("objects",), source="donor:{previous}"),
            ),
            (
                RunStep(
                    run=("bin/console cache:warmup",),
                    on=("web",),
                    when="{tool} == kamal",
                    deadline=300.0,
                ),
            ),
            (WaitStep(wait="release", on=("web",)),),
            (
                RollStep(
                    roll=("web",),
                    golive=("lb",),
                    batch="25%",
                    steps=(
                        (ClearStep(clear=("code",)),),
                        (WarmStep(warm=("top",), gate=gate), RunStep(run=("logger {node}",))),
                    ),
                ),
            ),
            (GoLiveStep(golive=("lb",), on=("green",), instead_of=("blue",)),),
        )
        assert plan.last == ((RunStep(run=("logger", "done")),),)
        assert (plan.on_failure, plan.rollback, plan.deadline) == ("rollback", "rollback", 1800.0)

    def test_a_plan_is_a_mapping_or_its_steps_alone(self, load: Load) -> None:
        plans = load(DEPLOY).plans
        assert plans["rollback"] == PlanSettings(
            steps=((ClearStep(clear=("pages",)),), (WarmStep(warm=("top",), on=("edge",)),))
        )
        assert plans["nightly"].schedule == "0 4 * * *"

    def test_actors_are_chosen_by_type(self, load: Load) -> None:
        golive = load(
            SITE + "golive:\n"
            "  lb: {type: haproxy, sockets: 'unix:/run/h.sock', backend: [a, b], drain: 1m}\n"
            "  ready: {type: file, path: /run/ready}\n"
        ).golive
        assert golive == {
            "lb": Haproxy(
                sockets=(Address(unix_path="/run/h.sock"),), backend=("a", "b"), drain=60.0
            ),
            "ready": File(path="/run/ready"),
        }

    def test_the_release_check(self, load: Load) -> None:
        assert load(
            SHOP + "release_check: {on: web, file: /srv/REVISION, wait: 2m}"
        ).release_check == (ReleaseCheck(on=("web",), file="/srv/REVISION", wait=120.0))

    @pytest.mark.parametrize("empty", ["plans:", "golive:", "release_check:", "plans: {}"])
    def test_an_empty_section_counts_as_left_out(self, load: Load, empty: str) -> None:
        assert load(SITE + empty) == load(SITE)


FAULTY = """\
plans:
  deploy:
    on_failure: rolback
    deadlin: 1h
    deadline: 0
    schedule: "60 * * * *"
    rollback: undo
    steps:
      - clear: [vews, code/opcde, views/x, code/opcode]
      - - {clear: pages, url: /, key: "", on: edgee}
        - {prime: objects, from: "doner:{previous}"}
        - {prime: objects, form: x}
      - {run: "bin/x '{relase}", on: edge, when: "{environment} = production", deadline: 0s}
      - {wait: relase, on: web}
      - roll: [web, wbe]
        golive: [lbb]
        batch: 100%
        max_failed: -1
        steps:
          - {clear: code, on_failure: rollback}
          - {warm: tpo, on: {a: 1}}
          - {golive: lb}
          - [{roll: web, golive: lb, steps: []}, 5]
          - {run: "x {nod}", on: edge}
      - {rol: web, golive: lb, batch: 1, steps: []}
      - {roll: web, golive: lb, stesp: []}
      - {roll: [], golive: lb, steps: []}
      - {golive: lb, on: green, instead_of: [web2, web1]}
      - {claer: pages}
      - {clear: pages, warm: top}
      - {title: x}
      - wait
      - []
      - {warm: all, title: "{node} {foo}", gate: {min_hit: 99, required: //x}, variants: m}
      - {warm: all, limit: 0}
      - {run: "echo {node} {print} $${HOME}"}
      - {run: [echo, "{previus}"]}
      - {clear: objects, older_than: x}
      - {clear: [], url_regex: ".*"}
    finally: {run: "logger done"}
  "-x": [{run: a}]
  empty:
  empty2: {steps: []}
  text: clear
  short: [{clear: pgaes}, [{warm: tup}]]
  undo: {steps: [{clear: pages}], on_failure: rollback, rollback: undo}
"""

FAULTS = """\
cachekit.yaml:3:17: plans.deploy.on_failure: found 'rolback', expected stop, continue or rollback
cachekit.yaml:4:5: plans.deploy.deadlin: unknown key; did you mean 'deadline'?
cachekit.yaml:5:15: plans.deploy.deadline: found 0, expected more than 0
cachekit.yaml:6:15: plans.deploy.schedule: minute: '60' is not a number from 0 to 59
cachekit.yaml:7:15: plans.deploy.rollback: the plan undo has 'on_failure: rollback' itself; take it out
cachekit.yaml:9:17: plans.deploy.steps[0].clear[0]: found 'vews', expected a cache of `caches`; did you mean 'views'?
cachekit.yaml:9:23: plans.deploy.steps[0].clear[1]: found 'code/opcde', expected a part of code; did you mean 'opcode'?
cachekit.yaml:9:35: plans.deploy.steps[0].clear[2]: found 'views/x', expected a part of views, but it has none
cachekit.yaml:10:31: plans.deploy.steps[1][0].url: stands beside key; one kind of scope for each step
cachekit.yaml:10:39: plans.deploy.steps[1][0].key: key is empty; is a variable not set? (all would be `everything: true`)
cachekit.yaml:10:47: plans.deploy.steps[1][0].on: found 'edgee', expected a node or group of nodes; did you mean 'edge'?
cachekit.yaml:11:34: plans.deploy.steps[1][1].from: found 'doner:{previous}', expected file:PATH, donor:CACHE-OR-RELEASE, command:CMD or path:DIR; did you mean 'donor'?
cachekit.yaml:12:28: plans.deploy.steps[1][2].form: unknown key; did you mean 'from'?
cachekit.yaml:13:15: plans.deploy.steps[2].run: unknown placeholder {relase}; did you mean {release}?
cachekit.yaml:13:15: plans.deploy.steps[2].run: not a command: No closing quotation
cachekit.yaml:13:50: plans.deploy.steps[2].when: found '{environment} = production', expected a text, A == B or A != B; one comparison at most
cachekit.yaml:13:90: plans.deploy.steps[2].deadline: found '0s', expected more than 0
cachekit.yaml:14:16: plans.deploy.steps[3].wait: found 'relase', expected a duration such as 500ms, 30s, 2m or 1h, or release; did you mean 'release'?
cachekit.yaml:15:21: plans.deploy.steps[4].roll[1]: found 'wbe', expected a node or group of nodes; did you mean 'web'?
cachekit.yaml:16:18: plans.deploy.steps[4].golive[0]: found 'lbb', expected an actor of `golive`; did you mean 'lb'?
cachekit.yaml:17:16: plans.deploy.steps[4].batch: found '100%', expected a number of nodes, or a share of them such as 25%, never all
cachekit.yaml:18:21: plans.deploy.steps[4].max_failed: found -1, expected a number of at least 0
cachekit.yaml:21:20: plans.deploy.steps[4].steps[1].warm: found 'tpo', expected a list of `warmlists`; did you mean 'top'?
cachekit.yaml:21:29: plans.deploy.steps[4].steps[1].on: found a mapping, expected a list
cachekit.yaml:22:22: plans.deploy.steps[4].steps[2].golive: within a roll: it puts its nodes in itself, once they have passed
cachekit.yaml:23:21: plans.deploy.steps[4].steps[3][0].roll: within a roll; write them one after the other
cachekit.yaml:23:50: plans.deploy.steps[4].steps[3][1]: found 5, expected a step: a mapping with one of clear, prime, warm, run, wait, golive, roll
cachekit.yaml:24:19: plans.deploy.steps[4].steps[4].run: unknown placeholder {nod}; did you mean {node}?
cachekit.yaml:24:19: plans.deploy.steps[4].steps[4].run: cannot run on edge1: 10.0.0.21 is another machine; give it `ssh: user@host`, or `local: true`
cachekit.yaml:25:10: plans.deploy.steps[5].rol: unknown key; did you mean 'roll'?
cachekit.yaml:25:32: plans.deploy.steps[5].batch: unknown key
cachekit.yaml:25:42: plans.deploy.steps[5].steps: unknown key
cachekit.yaml:26:33: plans.deploy.steps[6].stesp: unknown key; did you mean 'steps'?
cachekit.yaml:27:16: plans.deploy.steps[7].roll: found a list, expected a node or group
cachekit.yaml:27:39: plans.deploy.steps[7].steps: found a list, expected at least one step to do on the nodes that are out
cachekit.yaml:28:45: plans.deploy.steps[8].instead_of: web1 would be put in, and taken out again
cachekit.yaml:29:10: plans.deploy.steps[9].claer: unknown key; did you mean 'clear'?
cachekit.yaml:30:24: plans.deploy.steps[10].warm: found clear and warm, expected one kind of step for each mapping
cachekit.yaml:31:9: plans.deploy.steps[11]: found no kind of step, expected one of clear, prime, warm, run, wait, golive, roll
cachekit.yaml:32:9: plans.deploy.steps[12]: found 'wait', expected a step: a mapping with one of clear, prime, warm, run, wait, golive, roll
cachekit.yaml:33:9: plans.deploy.steps[13]: found a list, expected at least one step
cachekit.yaml:34:28: plans.deploy.steps[14].title: {node} is known only in the command of a `run`
cachekit.yaml:34:60: plans.deploy.steps[14].gate.min_hit: found 99, expected a percentage with its sign, such as 99.9%
cachekit.yaml:34:74: plans.deploy.steps[14].gate.required: found '//x', expected a URL of the site: another host
cachekit.yaml:34:90: plans.deploy.steps[14].variants: found 'm', expected a variant of warm.variants, but it has none
cachekit.yaml:35:28: plans.deploy.steps[15].limit: found 0, expected a number of at least 1
cachekit.yaml:36:15: plans.deploy.steps[16].run: {node} is known only on nodes; name them with `on`
cachekit.yaml:37:22: plans.deploy.steps[17].run[1]: unknown placeholder {previus}; did you mean {previous}?
cachekit.yaml:38:38: plans.deploy.steps[18].older_than: found 'x', expected a duration such as 500ms, 30s, 2m or 1h
cachekit.yaml:39:17: plans.deploy.steps[19].clear: found a list, expected a cache
cachekit.yaml:39:32: plans.deploy.steps[19].url_regex: url-regex matches everything; use `everything: true`
cachekit.yaml:40:14: plans.deploy.finally: found a mapping, expected a list of steps
cachekit.yaml:41:9: plans.-x: the name of a plan is letters, digits, '.', '-' and '_'; no '-' at its start
cachekit.yaml:42:9: plans.empty: found nothing, expected a plan with at least one step
cachekit.yaml:43:11: plans.empty2: found a mapping, expected a plan with at least one step
cachekit.yaml:44:9: plans.text: found 'clear', expected a list of steps, or a mapping with `steps`
cachekit.yaml:45:19: plans.short[0].clear: found 'pgaes', expected a cache of `caches`; did you mean 'pages'?
cachekit.yaml:45:35: plans.short[1][0].warm: found 'tup', expected a list of `warmlists`; did you mean 'top'?
cachekit.yaml:46:67: plans.undo.rollback: the plan undo has 'on_failure: rollback' itself; take it out
"""  # noqa: E501 - messages as they are shown


class TestFaults:
    def test_all_are_reported_at_once_and_in_place(self, faults: Faults) -> None:
        assert faults(FAULTY + SHOP) == FAULTS.splitlines()

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("plans: [a]", "plans: found a list, expected a mapping of names"),
            (
                "plans: {a: {on_failure: rollback, steps: [{wait: 1s}]}}",
                "plans.a.on_failure: needs the plan rollback, which does not exist",
            ),
            (
                "plans: {a: [{wait: 1s, on_failure: rollback}], rolback: [{wait: 1s}]}",
                "plans.a[0].on_failure: needs the plan rollback, which does not exist; "
                "did you mean 'rolback'?",
            ),
            (
                "plans: {a: {rollback: b, steps: [{wait: 1s}]}}",
                "plans.a.rollback: needs the plan b, which does not exist",
            ),
            (
                "plans: {a: {finally: [{wait: 1s}]}}",
                "plans.a: found a mapping, expected a plan with at least one step",
            ),
            (
                "plans: {a: {steps: [{wait: 1s}], last: []}}",
                "plans.a.last: unknown key",
            ),
            ("plans: {a: [{prime: objects}]}", "plans.a[0].from: missing; this key is required"),
            (
                "plans: {a: [{prime: objects, source: 'file:x', from: 'file:x'}]}",
                "plans.a[0].source: unknown key",
            ),
            (
                "plans: {a: [{clear: objects, release: r1, prefix: x}]}",
                "plans.a[0].prefix: stands beside release; one kind of scope for each step",
            ),
            (
                "plans: {a: [{clear: objects, everything: true, tag: x}]}",
                "plans.a[0].tag: stands beside everything; one kind of scope for each step",
            ),
            ("plans: {a: [{clear: code, segments: x}]}", "plans.a[0].segments: unknown key"),
            (
                "plans: {a: [{wait: release}]}",
                "plans.a[0].wait: how is a node's release seen? say it in `release_check:`",
            ),
            ("plans: {a: [{wait: 0}]}", "plans.a[0].wait: found 0, expected more than 0"),
            (
                "plans: {a: [{golive: lb, instead_of: edge1}]}",
                "plans.a[0].instead_of: edge1 would be put in, and taken out again",
            ),
            ("plans: {a: [{run: ''}]}", "plans.a[0].run: found '', expected a command"),
            ("plans: {a: [{run: []}]}", "plans.a[0].run: found a list, expected a command"),
            (
                "plans: {a: [{roll: web, golive: lb}]}",
                "plans.a[0].steps: missing; this key is required",
            ),
            (
                "plans: {a: [{warm: top, verify: off}]}\nwarm: {gate: {min_hit: 90%}}",
                "plans.a[0].verify: is off, but warm.gate.min_hit needs the verify pass",
            ),
            (
                "plans: {a: [{warm: top, gate: {min_hit: 90%}}]}\nwarm: {verify: off}",
                "plans.a[0].gate.min_hit: needs the verify pass, but 'verify' is off",
            ),
            (
                "plans: {a: [{clear: pages, tag: 'v{enviroment}'}]}",
                "plans.a[0].tag: unknown placeholder {enviroment}; did you mean {environment}?",
            ),
            (
                "plans: {a: [{clear: pages, tag: '{xyz}'}]}",
                "plans.a[0].tag: unknown placeholder {xyz}; known are "
                "release, previous, environment, tool, actor, rollback",
            ),
            (
                "plans: {a: [{prime: objects, from: 'file:/x/{node}'}]}",
                "plans.a[0].from: {node} is known only in the command of a `run`",
            ),
            (
                "plans: {a: {schedule: '0 4 * *', steps: [{wait: 1s}]}}",
                "plans.a.schedule: found '0 4 * *', expected the five fields of cron, "
                "minute hour day-of-month month day-of-week, such as '0 4 * * *'",
            ),
            (
                "golive2: 1\nplans: {}",
                "golive2: unknown key; did you mean 'golive'?",
            ),
            (
                "release_check: {on: web}",
                "release_check: found no way to learn the release, "
                "expected one of header, file, command",
            ),
            ("release_check: {header: X-A}", "release_check.on: missing; this key is required"),
            (
                "release_check: {on: [], header: X-A}",
                "release_check.on: found a list, expected a node or group of nodes",
            ),
            (
                "release_check: {on: web, header: X-A, file: /r}",
                "release_check.file: stands beside header; one way to learn the release is enough",
            ),
            (
                "release_check: {on: web, header: 'X A'}",
                "release_check.header: the name of a header has no spaces and no colon",
            ),
            (
                "release_check: {on: web, header: X-A, url: 'http://x/'}",
                "release_check.url: found 'http://x/', expected a URL of the site: another host",
            ),
            (
                "release_check: {on: web, file: /r, url: /a}",
                "release_check.url: is of use beside `header` alone",
            ),
            (
                "release_check: {on: web, file: REVISION}",
                "release_check.file: found 'REVISION', expected a path that starts with /",
            ),
            (
                "release_check: {on: edge, command: [cat, /r]}",
                "release_check.on: edge1 cannot be asked: 10.0.0.21 is another machine; "
                "give it `ssh: user@host`, or `local: true`",
            ),
            (
                "release_check: {on: web, command: cat /r}",
                "release_check.command: found 'cat /r', "
                "expected a list of words, such as [cat, /srv/REVISION]",
            ),
            (
                "plans: {a: [{warm: top, expiring_within: 0s}]}",
                "plans.a[0].expiring_within: found '0s', expected more than 0",
            ),
            (
                "plans: {clear: [{wait: 1s}]}",
                "plans.clear: choose another name: "
                "`cachekit plan clear` shows what a clear would do",
            ),
            (
                "release_check: {on: wbe, header: X-A}",
                "release_check.on: found 'wbe', expected a node or group of nodes; "
                "did you mean 'web'?",
            ),
        ],
    )
    def test_one_fault(self, faults: Faults, text: str, message: str) -> None:
        assert [fault.partition(": ")[2] for fault in faults(SHOP + text)] == [message]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (
                "golive: {a: {path: /x}}",
                "golive.a: found a mapping, expected `type:` to be one of "
                "command, file, haproxy, http",
            ),
            (
                "golive: {a: {type: hapoxy}}",
                "golive.a.type: found 'hapoxy', expected `type:` to be one of "
                "command, file, haproxy, http; did you mean 'haproxy'?",
            ),
            (
                "golive: {a: {type: file, pth: /x}}",
                "golive.a.pth: unknown key; did you mean 'path'?",
            ),
            (
                "golive: {a: {type: haproxy, sockets: 'unix:/x', backend: b, via: lb1}}",
                "golive.a: via: no node is called lb1",
            ),
        ],
    )
    def test_actors(self, faults: Faults, text: str, message: str) -> None:
        assert [fault.partition(": ")[2] for fault in faults(SITE + text)] == [message]

    def test_a_plan_is_not_to_blame_for_what_it_names(self, faults: Faults) -> None:
        text = DEPLOY.replace("type: varnish", "type: vranish").replace(
            "backend: web", "backnd: web"
        )
        assert [fault.split(": ")[1] for fault in faults(text)] == [
            "caches.pages.type",
            "golive.lb.backnd",
        ]

    def test_commands_and_keys_have_braces_of_their_own(self, load: Load) -> None:
        steps = "{run: \"awk '{print}' $${RELEASE}\"}, {clear: objects, key: 'user:{1000}:{abc}'}"
        assert load(SHOP + f"plans: {{a: [{steps}]}}").plans

    def test_a_command_in_a_roll_runs_on_its_nodes(self, load: Load) -> None:
        roll = "{roll: web, golive: lb, steps: [{run: 'echo {node}'}]}"
        assert load(SHOP + f"plans: {{a: [{roll}]}}").plans

    @pytest.mark.parametrize(
        ("when", "is_sound"),
        [
            ("{previous}", True),
            ("{environment} == production", True),
            ("{tool}!=kamal", True),
            ("{previous} == ", True),
            ("a = b", False),
            ("a === b", False),
            ("== b", False),
            ("a == b == c", False),
            ("{tool} == a && {actor} == b", False),
            ("{tool} || {actor}", False),
        ],
    )
    def test_conditions(self, faults: Faults, when: str, is_sound: bool) -> None:
        assert is_sound is not bool(faults(SITE + f"plans: {{a: [{{wait: 1s, when: '{when}'}}]}}"))

    @pytest.mark.parametrize("name", ["-x", "a/b", "a b", ".x", "''"])
    def test_names_that_no_plan_can_have(self, faults: Faults, name: str) -> None:
        (fault,) = faults(SITE + f"plans: {{{name}: [{{wait: 1s}}]}}")
        assert "the name of a plan is letters, digits, '.', '-' and '_'" in fault

    def test_values_are_not_told(self, faults: Faults) -> None:
        steps = "{clear: pages, url_regex: '${S}'}, {run: '${S}'}, {prime: objects, from: '${S}'}"
        told = faults(SHOP + f"plans: {{a: [{steps}]}}", S="(SECRET'")
        assert len(told) == 3
        assert "SECRET" not in "\n".join(told)


class TestSchema:
    def test_plans(self, schema: Any) -> None:
        jsonschema.validate(for_editors(DEPLOY), schema)

    @pytest.mark.parametrize(
        "text",
        [
            "plans: {a: []}",
            "plans: {a: {finally: [{wait: 1s}]}}",
            "plans: {a: {steps: [{wait: 1s}], last: []}}",
            "plans: {a: {steps: {wait: 1s}}}",
            "plans: {a: [{wiat: 1s}]}",
            "plans: {a: [{wait: 1s, run: x}]}",
            "plans: {a: [[]]}",
            "plans: {a: [[[{wait: 1s}]]]}",
            "plans: {a: [{wait: 1s, on_failure: go}]}",
            "plans: {a: [{prime: x}]}",
            "plans: {a: [{roll: x, golive: y}]}",
            "plans: {a: [{roll: x, golive: y, steps: [{golive: y}]}]}",
            "golive: {a: {type: nginx}}",
            "golive: {a: {type: file}}",
            "release_check: {header: X-A}",
        ],
    )
    def test_faults_that_editors_show(self, faults: Faults, schema: Any, text: str) -> None:
        assert faults(SITE + text)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(for_editors(SITE + text), schema)


def documented(heading: str) -> str:
    """Cut a section out of the documentation."""
    text = DOCUMENT.read_text().partition(f"\n## {heading}\n")[2]
    return text.partition("\n## ")[0]


@pytest.mark.parametrize("kind", [PlanSettings, *KINDS.values()])
def test_every_key_of_plans_is_documented(kind: type) -> None:
    assert [key for key in keys_of(kind) if f"`{key}`" not in documented("`plans`")] == []


def test_every_key_of_the_release_check_is_documented() -> None:
    section = documented("`release_check`")
    assert [key for key in keys_of(ReleaseCheck) if f"| `{key}` |" not in section] == []


@pytest.mark.parametrize("name", registry.names(registry.GOLIVE))
def test_every_key_of_actors_is_documented(name: str) -> None:
    rows = documented("`golive`").partition(f"| `{name}` |")[2]
    keys = keys_of(registry.load(registry.GOLIVE, name))
    assert keys
    assert [key for key in keys if f"`{key}`" not in rows] == []
