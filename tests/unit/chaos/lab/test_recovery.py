"""The slowest of several recoveries, and how a recovery is reported."""

from __future__ import annotations

from chaos.lab.figures import FaultFigures
from chaos.lab.recovery import slowest, step_rows, unrecovered

WAITING = "the strategy evaluates a tick"


def figures(respawn_ns: int | None, possible_ns: int | None = None, *pending: str) -> FaultFigures:
    return FaultFigures(1, respawn_ns, None, None, possible_ns, 0, pending)


def test_everything_is_back_when_the_slowest_is() -> None:
    found = slowest([figures(30, 90), figures(50, 70), figures(20, None)])
    assert found == FaultFigures(1, 50, None, None, 90, 0, ())
    found = slowest([figures(30, 90), figures(30, 90, WAITING), figures(30, 90, WAITING)])
    assert (found.order_possible_ns, found.pending) == (None, (WAITING,))


def test_a_missing_recovery_is_listed_with_its_number() -> None:
    found = [figures(1), figures(1, None, "it is back", "it speaks")]
    assert unrecovered("kill", found) == [
        "kill 2: timed out waiting until it is back and until it speaks"
    ]


def test_a_row_has_count_median_p90_and_maximum_of_what_happened() -> None:
    found = [figures(ms * 10**6) for ms in (100, 10, 20, 30, 40, 50, 60, 70, 80, 90)]
    [row, nothing] = step_rows(
        [*found, figures(None)], [("respawn", "respawn_ns"), ("tick", "fresh_tick_ns")]
    )
    assert row.split() == ["respawn", "10", "55.0", "90.0", "100.0"]
    assert nothing.split() == ["tick", "0", "-", "-", "-"]
