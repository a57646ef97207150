"""A ledger in tables: what a person sees."""

from __future__ import annotations

from lib.ledger.tables import order_lines, position_lines
from tests.ledgers import orders, positions


def test_positions_with_their_total():
    assert list(position_lines(positions(orders()))) == [
        "client_id  symbol  position  average_price  realised_profit",
        "alice      AAPL         -19         171.50       4.50000004",
        "bob        MSFT           0                           36.47",
        "total                                           40.97000004",
    ]


def test_orders_one_a_line():
    assert list(order_lines(orders()[2:5])) == [
        "received_utc         client_id  order_id  side  quantity  symbol         price  status"
        "    trade_id  position  reason",
        "2025-11-03T14:31:00  alice             2  BUY          5  AAPL          174.00  FILLED"
        "           3        15",
        "2025-11-03T14:31:00  alice             3  BUY        900  AAPL          174.00  REJECTED"
        "                  15  halted",
        "2025-11-03T14:31:00  alice             4  SELL         4  AAPL    180.00000001  FILLED"
        "           4        11",
    ]


def test_large_numbers_are_grouped_and_losses_have_a_sign():
    held = positions(orders("x 1 BUY 2000000 AAPL @ 2\nx 2 SELL 1000001 AAPL @ 1.5"))
    assert list(position_lines(held))[1].split() == ["x", "AAPL", "999,999", "2.00", "-500000.50"]


def test_control_characters_never_reach_the_terminal():
    order = orders()[0]._replace(symbol="\x1b[2J", reason="line\nbreak \x9b")
    lines = [*order_lines([order]), *position_lines(positions([order]))]
    assert all(line.isprintable() for line in lines)
    assert "\\x1b[2J" in lines[1]
    assert "line\\nbreak \\x9b" in lines[1]
