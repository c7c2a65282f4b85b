from __future__ import annotations

from typing import Final, get_args
from uuid import UUID

import pytest

from flowyard.errors.requests import IllegalMove
from flowyard.runs.run import MOVES, OPEN, STATES, Move, State, after

RUN = UUID(int=1)


LEGAL: Final[dict[tuple[Move, State], State]] = {
    ("claim", "queued"): "running",
    ("hand_back", "running"): "queued",
    ("wait", "running"): "waiting",
    ("wake", "waiting"): "queued",
    ("succeed", "running"): "succeeded",
    ("fail", "queued"): "failed",
    ("fail", "running"): "failed",
    ("fail", "waiting"): "failed",
    ("cancel", "queued"): "cancelled",
    ("cancel", "running"): "cancelled",
    ("cancel", "waiting"): "cancelled",
    ("retry", "failed"): "queued",
}


@pytest.mark.parametrize("move", get_args(Move))
@pytest.mark.parametrize("state", STATES)
def test_a_move_leads_to_one_state_or_is_refused(move: Move, state: State) -> None:
    if (move, state) in LEGAL:
        assert after(move, state, RUN) == LEGAL[move, state]
    else:
        with pytest.raises(IllegalMove, match=f"is {state}: it can't be") as refused:
            after(move, state, RUN)
        assert refused.value.details == {"run_id": str(RUN), "run_status": state}


def test_a_run_that_has_ended_moves_only_if_it_failed_and_is_retried() -> None:
    ways = {(move, state) for move, ways in MOVES.items() for state in ways if state not in OPEN}
    assert ways == {("retry", "failed")}


def test_every_open_state_can_be_left_and_every_state_reached() -> None:
    assert {state for ways in MOVES.values() for state in ways} >= OPEN
    assert {to for ways in MOVES.values() for to in ways.values()} == set(STATES)


def test_any_open_run_can_be_cancelled_and_can_fail() -> None:
    assert set(MOVES["cancel"]) == set(MOVES["fail"]) == OPEN


def test_a_run_begins_to_run_only_by_being_claimed() -> None:
    assert {move for move, ways in MOVES.items() if "running" in ways.values()} == {"claim"}
