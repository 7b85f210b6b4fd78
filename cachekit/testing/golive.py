"""What every go-live actor keeps: a contract to subclass, run against the real thing.

::

    class TestTurnstile(GoLiveContract):
        @pytest.fixture
        def rotation(self, turnstile_server):
            return Rotation(
                actor=Turnstile(at=turnstile_server.address),
                nodes=(web1, web2),
                reaches=turnstile_server.lets_through_to,
                stop=turnstile_server.stop,
            )
"""

# ruff: noqa: S101, D102 - a contract is made of assertions, and a test's name says what it shows

from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, fields
from pathlib import Path

import pytest

from cachekit.caches.base import Conditions
from cachekit.deadline import Deadline
from cachekit.errors import CachekitError
from cachekit.golive.base import GoLive, Standing, Turn
from cachekit.model import Node

DEADLINE_SECONDS = 20.0


@dataclass(frozen=True, kw_only=True)
class Rotation:
    """An actor with two nodes that are in, and whether a visitor reaches each of them.

    `stop` ends what the actor asks. `asks` is false for an actor that has nobody to ask.
    """

    actor: GoLive
    nodes: tuple[Node, Node]
    reaches: Callable[[Node], bool]
    stop: Callable[[], object]
    asks: bool = True

    def reached(self) -> tuple[bool, bool]:
        """Tell of each node whether a visitor reaches it."""
        first, second = self.nodes
        return self.reaches(first), self.reaches(second)


class GoLiveContract:
    """Effects as visitors see them, and evidence for them."""

    @pytest.fixture
    def conditions(self, tmp_path: Path) -> Conditions:
        deadline = Deadline(DEADLINE_SECONDS)
        return Conditions(deadline=deadline, state_dir=tmp_path / "state", release="r42")

    def proven(self, turn: Turn, standing: Standing) -> bool:
        """Tell whether a turn is what was wanted, with something that proves it."""
        return turn.standing is standing and bool(turn.evidence) and not turn.warnings

    def test_is_a_frozen_actor(self, rotation: Rotation) -> None:
        actor = rotation.actor
        assert isinstance(actor, GoLive)
        assert actor.starts_out in (True, False)
        with pytest.raises(FrozenInstanceError):
            setattr(actor, fields(actor)[0].name, None)  # type: ignore[arg-type]

    def test_does_not_refuse_its_nodes(self, rotation: Rotation) -> None:
        assert rotation.actor.refusal(rotation.nodes) == ""
        assert rotation.reached() == (True, True), "the rotation itself does not work"

    def test_takes_one_node_out_and_no_other(
        self, rotation: Rotation, conditions: Conditions
    ) -> None:
        turn = rotation.actor.take_out(rotation.nodes[0], conditions)
        assert rotation.reached() == (False, True)
        assert self.proven(turn, Standing.OUT)

    def test_puts_it_in_again(self, rotation: Rotation, conditions: Conditions) -> None:
        for node in rotation.nodes:
            rotation.actor.take_out(node, conditions)
        turn = rotation.actor.put_in(rotation.nodes[0], conditions)
        assert rotation.reached() == (True, False)
        assert self.proven(turn, Standing.IN)

    def test_a_second_time_changes_nothing(
        self, rotation: Rotation, conditions: Conditions
    ) -> None:
        actor, (first, second) = rotation.actor, rotation.nodes
        actor.take_out(first, conditions)
        assert self.proven(actor.take_out(first, conditions), Standing.OUT)
        assert self.proven(actor.put_in(second, conditions), Standing.IN)
        assert rotation.reached() == (False, True)

    def test_tells_where_a_node_stands_and_changes_nothing(
        self, rotation: Rotation, conditions: Conditions
    ) -> None:
        actor, (first, second) = rotation.actor, rotation.nodes
        actor.take_out(first, conditions)
        turns = [actor.standing(node, conditions) for node in (first, second)]
        if rotation.asks:
            assert self.proven(turns[0], Standing.OUT)
            assert self.proven(turns[1], Standing.IN)
        else:
            assert {turn.standing for turn in turns} == {Standing.UNKNOWN}
            assert all(turn.warnings for turn in turns)
        assert rotation.reached() == (False, True)

    def test_what_cannot_be_asked_is_an_error_and_no_success(
        self, rotation: Rotation, conditions: Conditions
    ) -> None:
        rotation.stop()
        for act in (rotation.actor.take_out, rotation.actor.put_in):
            with pytest.raises(CachekitError):
                act(rotation.nodes[0], conditions)
