"""What follows from killing everything: departure, recovery, and the ledger afterwards."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from chaos import kill_everything
from chaos.kill_everything import Departure, departure, ledger_breaks
from chaos.lab.figures import FaultFigures
from lib.ledger.rows import BookedOrder


def figures(
    respawn_ns: int | None, possible_ns: int | None = None, *pending: str, stale_ns: int = 0
) -> FaultFigures:
    return FaultFigures(1, respawn_ns, None, None, possible_ns, stale_ns, pending)


def order(order_id: int, trade_id: int | None, client_id: str = "strategy") -> BookedOrder:
    return BookedOrder(
        client_id,
        order_id,
        "AAPL",
        "BUY",
        10,
        100,
        "REJECTED" if trade_id is None else "FILLED",
        "halted" if trade_id is None else None,
        trade_id,
        10,
        "T",
        order_id,
        1,
        2,
        "2026-01-01T00:00:00Z",
    )


def test_what_stays_has_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kill_everything, "LEFT_S", 0.0)
    found = departure(
        {
            "roles_ns": lambda: True,
            "ports_ns": lambda: False,
            "socket_ns": lambda: True,
            "price_book_ns": lambda: True,
        }
    )
    assert found.ports_ns is None
    assert None not in (found.roles_ns, found.socket_ns, found.price_book_ns)


def test_what_goes_a_moment_later_is_waited_for() -> None:
    looks = iter((False, False, True))
    signs: dict[str, Callable[[], bool]] = dict.fromkeys(
        ("ports_ns", "socket_ns", "price_book_ns"), lambda: True
    )
    found = departure({"roles_ns": lambda: next(looks), **signs})
    assert found.roles_ns is not None
    assert found.ports_ns is not None
    assert found.roles_ns > found.ports_ns


def test_an_incomplete_departure_is_listed() -> None:
    experiment = kill_everything.KillEverything(1)
    experiment.departures.append(Departure(1, None, 1, 1))
    assert experiment.reasons() == [
        "end 1 of supervisord: not so within 3 s: no port is in use",
    ]


def test_a_missing_recovery_is_listed() -> None:
    experiment = kill_everything.KillEverything(1)
    experiment.started_again += [figures(1, 2), figures(1, None, "strategy is back")]
    assert experiment.reasons() == ["start 2: timed out waiting until strategy is back"]


BEFORE = [order(1, 1), order(2, None), order(3, 2), order(9, 3, "other")]


def test_a_ledger_that_continues_gives_no_finding() -> None:
    assert ledger_breaks(BEFORE, [*BEFORE, order(4, 4), order(5, None), order(1, 5, "new")]) == []


@pytest.mark.parametrize(
    ("after", "finding"),
    [
        (BEFORE[1:], "order 1 of strategy is gone"),
        ([order(1, 7), *BEFORE[1:]], "order 1 of strategy is changed"),
        (
            [*BEFORE, order(8, 4, "other")],
            "order 8 of other is new, and 9 was its last one",
        ),
        (
            [*BEFORE, order(4, 2)],
            "trade_id 2 is that of order 3 of strategy and of order 4 of strategy",
        ),
    ],
)
def test_a_ledger_that_does_not_continue_is_listed(after: list[BookedOrder], finding: str) -> None:
    assert ledger_breaks(BEFORE, after) == [finding]
