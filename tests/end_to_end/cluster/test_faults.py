"""Deploys that are killed at any moment and resumed, and nodes that die meanwhile."""

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.traffic import faults, made_of, served_by
from tests.end_to_end.cluster.common import Deploys, is_well, visitors

pytestmark = [pytest.mark.server, pytest.mark.end_to_end]

STEPS = ("run", "clear views", "prime code", "clear pages", "warm")
MOMENTS: dict[str, dict[str, str]] = {
    "prime": {"started": "1"},
    **{
        f"{name} {moment}": line
        for name in ("web1", "web2")
        for moment, line in [
            ("going out", {"node": name, "turn": "going out"}),
            *((step, {"started": f"2/{name}/{at}"}) for at, step in enumerate(STEPS, 1)),
            ("passed", {"node": name, "turn": "passed"}),
        ]
    },
}


@pytest.mark.parametrize("moment", ["web1 going out", "web2 passed"])
def test_killed_and_resumed_it_is_as_if_nothing_had_been(
    cluster: Cluster, deploys: Deploys, moment: str
) -> None:
    with visitors(cluster) as traffic:
        kill_at(deploys, moment)
        traffic.go_on(20)
        done = deploys.run("deploy", "r2", "r1", "--resume")
        assert done.code == 0, done.stdout
        traffic.go_on(60)
    is_well(cluster, traffic.answers, "r2")
    assert set(cluster.standing().values()) == {"UP"}


def test_killed_in_each_step_one_after_the_other_it_comes_to_its_end(
    cluster: Cluster, deploys: Deploys
) -> None:
    with visitors(cluster) as traffic:
        for number, moment in enumerate(MOMENTS):
            kill_at(deploys, moment, *(["--resume"] if number else []))
        done = deploys.run("deploy", "r2", "r1", "--resume")
        assert done.code == 0, done.stdout
        traffic.go_on(60)
    is_well(cluster, traffic.answers, "r2")
    assert set(cluster.standing().values()) == {"UP"}


def kill_at(deploys: Deploys, moment: str, *more: str) -> None:
    """Run the deploy up to a moment that is on record, and kill it there."""
    with deploys.start("deploy", "r2", "r1", *more) as run:
        deploys.await_line(**MOMENTS[moment])
        run.kill()
    assert run.returncode == -9, f"it ended before: {moment}"


def test_a_node_that_dies_in_mid_roll_stays_out_and_keeps_nobody_waiting(
    cluster: Cluster, deploys: Deploys
) -> None:
    dying = cluster["web2"]
    with visitors(cluster) as traffic, deploys.start("deploy", "r2", "r1") as run:
        deploys.await_line(started="2/web2/3")
        with dying.down():
            said, _ = run.communicate(timeout=60)
            traffic.go_on(60)
    assert run.returncode == 1, said
    assert "web2" in said
    assert not faults(traffic.answers)
    first = cluster["web1"]
    assert made_of(served_by(traffic.answers, "web1", first.switched)) == {"r2"}
    assert made_of(served_by(traffic.answers, "web2")) == {"r1"}
    standing = cluster.standing()
    assert standing["web1"] == "UP"
    assert standing["web2"].startswith(("MAINT", "DRAIN"))


def test_a_node_that_is_dead_before_its_turn_costs_visitors_nothing(
    cluster: Cluster, deploys: Deploys
) -> None:
    with visitors(cluster) as traffic, deploys.start("deploy", "r2", "r1") as run:
        deploys.await_line(node="web1", turn="in")
        with cluster["web2"].down():
            said, _ = run.communicate(timeout=60)
            traffic.go_on(60)
    assert run.returncode == 1, said
    assert "web2" in said
    assert not faults(traffic.answers)
    assert cluster.standing()["web1"] == "UP"
