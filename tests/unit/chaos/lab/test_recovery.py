"""The slowest of several recoveries, and how a recovery is reported."""

from __future__ import annotations

import re

from chaos.lab.figures import FaultFigures
from chaos.lab.recovery import HEADING, figure_times, slowest, table_row, unrecovered


def figures(respawn_ns: int | None, possible_ns: int | None = None, *pending: str) -> FaultFigures:
    return FaultFigures(1, respawn_ns, None, None, possible_ns, 0, pending)


def test_everything_is_back_when_the_slowest_is() -> None:
    found = slowest([figures(30, 90), figures(50, 70), figures(20, None)])
    assert (found.respawn_ns, found.order_possible_ns, found.pending) == (50, 90, ())
    assert found.reconnection_ns is None  # of none of them


def test_no_order_is_possible_while_one_role_is_waited_for_which_is_listed_once() -> None:
    waiting = figures(30, 90, "the strategy evaluates a tick")
    found = slowest([figures(30, 90), waiting, waiting])
    assert (found.order_possible_ns, found.pending) == (None, ("the strategy evaluates a tick",))


def test_a_missing_recovery_is_listed_with_its_number() -> None:
    found = [figures(1), figures(1, None, "it is back", "it speaks")]
    assert unrecovered("kill", found) == [
        "kill 2: timed out waiting until it is back and until it speaks"
    ]


def test_a_figure_that_did_not_happen_is_not_counted() -> None:
    found = [figures(3_000_000), figures(None), figures(1_000_000)]
    assert figure_times(found, "respawn_ns") == [3_000_000, 1_000_000]
    line = table_row("respawn", figure_times(found, "respawn_ns"))
    assert re.fullmatch(r"respawn +2 +2\.0 +3\.0 +3\.0", line)
    assert len(line) == len(HEADING)
