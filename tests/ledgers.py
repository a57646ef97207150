"""Ledgers made by hand, for tests of what reads them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path

from lib.ledger.positions import Position
from lib.ledger.rows import BookedOrder, BookedPosition
from lib.ledger.schema import open_for_writing
from lib.prices import decimal_text, parse_price

CREATED_UTC = "2025-11-03T14:30:00.000001Z"

HISTORY = """
alice 1 BUY 10 AAPL @ 173.2
bob 1 SELL 7 MSFT @ 325.21
alice 2 BUY 5 AAPL @ 174
alice 3 BUY 900 AAPL @ 174 halted
alice 4 SELL 4 AAPL @ 180.00000001
bob 2 BUY 7 MSFT @ 320
carol 1 BUY 1 MSFT @ 320 unknown symbol MSFT
alice 5 SELL 30 AAPL @ 171.5
"""
"""Orders in the order of receipt; one with a reason is rejected. They are booked in `orders`."""


def orders(history: str = HISTORY, first_trade_id: int = 1) -> list[BookedOrder]:
    """The orders of a history with their final answers."""
    held: dict[tuple[str, str], int] = {}
    booked = []
    trade_id = first_trade_id - 1
    for number, line in enumerate(history.strip().splitlines()):
        client_id, order_id, side, quantity, symbol, _, price, *reason = line.split(maxsplit=7)
        position = held.get((client_id, symbol), 0)
        if not reason:
            position += int(quantity) if side == "BUY" else -int(quantity)
            held[client_id, symbol] = position
            trade_id += 1
        booked.append(
            BookedOrder(
                client_id,
                int(order_id),
                symbol,
                side,
                int(quantity),
                parse_price(price.encode()),
                "REJECTED" if reason else "FILLED",
                reason[0] if reason else None,
                None if reason else trade_id,
                position,
                "walk-7" if number % 2 else None,
                number if number % 2 else None,
                1000 + number if number % 2 else None,
                2000 + number,
                f"2025-11-03T14:31:{number // 1000:02d}.{number % 1000:03d}000Z",
            )
        )
    return booked


def positions(booked: Iterable[BookedOrder]) -> list[BookedPosition]:
    """The positions that filled orders lead to."""
    held: dict[tuple[str, str], Position] = {}
    for order in booked:
        if order.status == "FILLED":
            key = (order.client_id, order.symbol)
            held[key] = held.get(key, Position()).after(order.signed_quantity, order.price)
    return [
        BookedPosition(*key, p.quantity, p.cost, p.average_price, p.realised)
        for key, p in sorted(held.items())
    ]


def write_ledger(path: Path, history: str = HISTORY, created_utc: str = CREATED_UTC) -> Path:
    """Make a ledger that holds a history."""
    connection = open_for_writing(path)
    connection.execute("BEGIN")
    connection.execute("UPDATE facts SET value = ? WHERE name = 'created_utc'", (created_utc,))
    booked = orders(history)
    insert(connection, booked)
    for p in positions(booked):
        average = None if p.average_price is None else decimal_text(p.average_price)
        money = (decimal_text(p.cost), average, decimal_text(p.realised_profit))
        row = (p.client_id, p.symbol, p.position, *money)
        connection.execute("INSERT INTO positions VALUES (?, ?, ?, ?, ?, ?)", row)
    connection.execute("COMMIT")
    connection.close()
    return path


def insert(connection: sqlite3.Connection, booked: Iterable[BookedOrder]) -> None:
    """Insert orders, and nothing else."""
    for order in booked:
        row = order._replace(price=decimal_text(order.price))
        connection.execute(f"INSERT INTO orders VALUES ({', '.join('?' * 15)})", row)


def make_an_index_lie(path: Path) -> None:
    """Let the index on trade_id be one of another, empty table."""
    connection = open_for_writing(path)
    connection.execute("CREATE TABLE blank (trade_id UNIQUE)")
    roots = dict(connection.execute("SELECT name, rootpage FROM sqlite_master").fetchall())
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute(
        "UPDATE sqlite_master SET rootpage = ? WHERE name = 'sqlite_autoindex_orders_1'",
        (roots["sqlite_autoindex_blank_1"],),
    )
    connection.close()
