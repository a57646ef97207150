"""The check: a good ledger passes, and each thing that can differ is found, once."""

from __future__ import annotations

import pytest

from lib.ledger.check import MAX_LINES, ReportedFill, Verdict, check
from lib.ledger.reader import read_ledger
from lib.ledger.schema import open_for_writing
from tests.ledgers import orders, positions, write_ledger


def judge(booked, held=None, reported=()) -> Verdict:
    """Check orders, in whatever order they are given, and the positions they lead to."""
    fills = [order for order in booked if order.status == "FILLED"]
    return check(
        sorted(fills, key=lambda fill: fill.trade_id or 0),
        positions(booked) if held is None else held,
        sorted(booked, key=lambda order: (order.client_id, order.order_id)),
        reported,
    )


def reported_by(booked) -> list[ReportedFill]:
    return [
        ReportedFill(o.client_id, o.order_id, o.symbol, o.side, o.trade_id, o.position)
        for o in booked
        if o.status == "FILLED"
    ]


def test_a_good_ledger_agrees_with_itself_and_with_the_logged_fills():
    assert judge(orders(), reported=reported_by(orders())) == Verdict([], [], 8, 6, 2, 6)


CHANGES = {
    "UPDATE positions SET position = -18 WHERE client_id = 'alice'": [
        "position of alice in AAPL: position is -18, the fills say -19"
    ],
    "UPDATE positions SET cost = '-3258.50000001' WHERE client_id = 'alice'": [
        "position of alice in AAPL: cost is -3258.50000001, the fills say -3258.5"
    ],
    "UPDATE positions SET average_price = NULL WHERE client_id = 'alice'": [
        "position of alice in AAPL: average_price is NULL, the fills say 171.5"
    ],
    "UPDATE positions SET realised_profit = '-36.47' WHERE client_id = 'bob'": [
        "position of bob in MSFT: realised_profit is -36.47, the fills say 36.47"
    ],
    "DELETE FROM positions WHERE client_id = 'bob'": [
        "position of bob in MSFT: missing, there are fills"
    ],
    "INSERT INTO positions VALUES ('carol', 'MSFT', 0, '0', NULL, '0')": [
        "position of carol in MSFT: there are no fills of it"
    ],
    "UPDATE orders SET position = 16 WHERE client_id = 'alice' AND order_id = 5": [
        "order 5 of alice: position is 16, and the fill before it makes it -19"
    ],
    "UPDATE orders SET price = '320.00000001' WHERE client_id = 'bob' AND order_id = 2": [
        "position of bob in MSFT: realised_profit is 36.47, the fills say 36.46999993"
    ],
    "UPDATE orders SET trade_id = 9 WHERE trade_id = 6": ["trade_ids 6 to 8 are not in the ledger"],
    "UPDATE orders SET trade_id = 0 WHERE trade_id = 1": [
        "trade_id 0: below 1",
        "trade_id 1 is not in the ledger",
    ],
    "UPDATE orders SET trade_id = NULL WHERE trade_id = 1": [
        "trade_id 1 is not in the ledger",
        "order 1 of alice: FILLED, and has no trade_id",
    ],
    "UPDATE orders SET reason = 'halted' WHERE trade_id = 6": [
        "order 5 of alice: FILLED, and has a reason: halted"
    ],
    "UPDATE orders SET reason = NULL WHERE status = 'REJECTED' AND client_id = 'carol'": [
        "order 1 of carol: REJECTED, and has no reason"
    ],
    "UPDATE orders SET trade_id = 7 WHERE status = 'REJECTED' AND client_id = 'carol'": [
        "order 1 of carol: REJECTED, and has the trade_id 7"
    ],
    "UPDATE orders SET quantity = 0 WHERE client_id = 'carol'": ["order 1 of carol: quantity is 0"],
    "UPDATE orders SET price = '-1.5' WHERE client_id = 'carol'": [
        "order 1 of carol: price is -1.5"
    ],
}
"""What was changed in a good ledger, and the differences that are found."""


@pytest.mark.parametrize(("change", "differences"), CHANGES.items())
def test_a_ledger_that_was_changed_does_not_pass(tmp_path, change, differences):
    path = write_ledger(tmp_path / "orders.sqlite")
    connection = open_for_writing(path)
    connection.execute(change)
    connection.close()
    with read_ledger(path) as snapshot:
        verdict = check(snapshot.fills(), snapshot.positions(), snapshot.orders(), [])
    assert verdict.differences == differences
    assert verdict.notes == []


def test_what_is_there_twice_is_a_difference():
    booked = orders()
    assert judge([*booked, booked[6]]).differences == ["order 1 of carol: booked twice"]
    booked[-1] = booked[-1]._replace(trade_id=5)
    assert judge(booked).differences == ["trade_id 5: there twice"]


def test_a_fill_that_is_lost_is_not_reported_again_with_every_fill_after_it():
    booked = [order for order in orders() if order.trade_id != 3]
    verdict = judge(booked, positions(orders()))
    assert verdict.differences == [
        "trade_id 3 is not in the ledger",
        "order 4 of alice: position is 11, and the fill before it makes it 6",
        "position of alice in AAPL: position is -19, the fills say -24",
        "position of alice in AAPL: cost is -3258.5, the fills say -4116",
        "position of alice in AAPL: realised_profit is 4.50000004, the fills say 17.00000004",
    ]
    assert verdict.notes == ["alice: order_id 2 is not in the ledger"]


@pytest.mark.parametrize(
    ("change", "reported"),
    [
        ({"symbol": "MSFT"}, "FILLED BUY MSFT, trade_id 3, position 15"),
        ({"side": "SELL"}, "FILLED SELL AAPL, trade_id 3, position 15"),
        ({"trade_id": 4}, "FILLED BUY AAPL, trade_id 4, position 15"),
        ({"position": 5}, "FILLED BUY AAPL, trade_id 3, position 5"),
    ],
)
def test_a_fill_that_was_logged_otherwise_is_a_difference(change, reported):
    fill = reported_by(orders())[2]._replace(**change)
    assert judge(orders(), reported=[fill]).differences == [
        f"order 2 of alice: the strategy's log has {reported}; "
        "booked is FILLED BUY AAPL, trade_id 3, position 15"
    ]


@pytest.mark.parametrize("identity", [("alice", 6), ("dave", 1)])
def test_a_fill_that_was_logged_and_is_not_in_the_ledger_is_a_difference(identity):
    fill = ReportedFill(*identity, "AAPL", "BUY", 7, 10)
    verdict = judge(orders(), reported=[*reported_by(orders()), fill])
    assert verdict.differences == [
        f"order {fill.order_id} of {fill.client_id}: not in the ledger, and the strategy's log has "
        "FILLED BUY AAPL, trade_id 7, position 10"
    ]
    assert verdict.reported == 7


def test_a_fill_logged_in_two_ways_is_right_at_most_once():
    fill = reported_by(orders())[2]
    verdict = judge(orders(), reported=[fill, fill._replace(trade_id=7)])
    assert len(verdict.differences) == 1


def test_gaps_in_order_ids_are_notes_and_no_differences():
    history = "x 3 BUY 1 AAPL @ 1\nx 4 BUY 1 AAPL @ 1\nx 6 BUY 1 AAPL @ 1\ny 1 BUY 1 AAPL @ 1"
    verdict = judge(orders(history))
    assert verdict.differences == []
    assert verdict.notes == [
        "x: order_ids 1 to 2 are not in the ledger",
        "x: order_id 5 is not in the ledger",
    ]


def test_lines_are_listed_up_to_a_bound_and_counted_beyond():
    history = "\n".join(f"x {2 * n} BUY 1 AAPL @ 1 halted" for n in range(1, MAX_LINES + 1001))
    verdict = judge([order._replace(reason=None) for order in orders(history)])
    for lines in (verdict.notes, verdict.differences):
        assert len(lines) == MAX_LINES + 1
        assert lines[-1] == "and 1,000 more"
