"""Whether a ledger agrees with itself, and with the fills in the strategies' logs. Pure.

Two passes: over the fills in the order they were made, which is how the positions arose; and over
all orders by identity. Memory grows with the number of positions and of logged fills, not with the
number of orders. The position that a fill states is compared with that of the fill before it: one
lost fill is then one difference, and not one in every fill after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from lib.ledger.positions import Position
from lib.ledger.rows import BookedOrder, BookedPosition
from lib.prices import decimal_text

MAX_LINES: Final = 100
"""How many differences are listed, and how many notes; further ones are only counted."""


class ReportedFill(NamedTuple):
    """A fill as the execution report stated it, from the strategy's log."""

    client_id: str
    order_id: int
    symbol: str
    side: str
    trade_id: int
    position: int


class Verdict(NamedTuple):
    """What a check found, as human-readable lines, and how many rows it compared."""

    differences: list[str]
    notes: list[str]
    orders: int = 0
    fills: int = 0
    positions: int = 0
    reported: int = 0


def check(
    fills: Iterable[BookedOrder],
    positions: Iterable[BookedPosition],
    orders: Iterable[BookedOrder],
    reported: Iterable[ReportedFill],
) -> Verdict:
    """Compare everything: `fills` in the order of trade_id, `orders` of client_id and order_id."""
    checking = _Check(reported)
    for fill in fills:
        checking.take_fill(fill)
    for position in positions:
        checking.take_position(position)
    for order in orders:
        checking.take_order(order)
    return checking.verdict()


def position_differences(
    key: tuple[str, str], booked: BookedPosition | None, expected: Position | None
) -> Iterator[str]:
    """Compare the position of a client_id in a symbol with what its fills lead to; None: no row."""
    if booked is None:
        yield f"{position_name(key)}: missing, there are fills"
        return
    if expected is None:
        yield f"{position_name(key)}: there are no fills of it"
        return
    for column, is_booked, is_expected in (
        ("position", str(booked.position), str(expected.quantity)),
        ("cost", _money(booked.cost), _money(expected.cost)),
        ("average_price", _money(booked.average_price), _money(expected.average_price)),
        ("realised_profit", _money(booked.realised_profit), _money(expected.realised)),
    ):
        if is_booked != is_expected:
            yield f"{position_name(key)}: {column} is {is_booked}, the fills say {is_expected}"


def position_name(key: tuple[str, str]) -> str:
    """Name the position of a client_id in a symbol."""
    client_id, symbol = key
    return f"position of {client_id} in {symbol}"


class _Check:
    """A check in progress: first all fills, then positions and orders, then the verdict."""

    def __init__(self, reported: Iterable[ReportedFill]) -> None:
        self._differences = _Lines()
        self._notes = _Lines()
        self._orders = self._fills = self._positions = self._reported = 0
        self._not_found: dict[tuple[str, int], set[ReportedFill]] = {}
        for fill in reported:
            self._not_found.setdefault((fill.client_id, fill.order_id), set()).add(fill)
            self._reported += 1
        self._stated: dict[tuple[str, str], int] = {}  # the position that the last fill states
        self._summed: dict[tuple[str, str], Position] = {}
        self._last_trade_id = 0
        self._last_identity = ("", 0)

    def take_fill(self, fill: BookedOrder) -> None:
        self._fills += 1
        if fill.trade_id is not None:
            self._take_trade_id(fill.trade_id)
            if reported := self._not_found.get((fill.client_id, fill.order_id)):
                reported.discard(_as_reported(fill, fill.trade_id))
        key = (fill.client_id, fill.symbol)
        expected = self._stated.get(key, 0) + fill.signed_quantity
        if fill.position != expected:
            self._differences.add(
                f"{_name(fill)}: position is {fill.position}, and the fill before it makes it "
                f"{expected}"
            )
        self._stated[key] = fill.position
        summed = self._summed.get(key, Position())
        self._summed[key] = summed.after(fill.signed_quantity, fill.price)

    def take_position(self, booked: BookedPosition) -> None:
        self._positions += 1
        key = (booked.client_id, booked.symbol)
        for difference in position_differences(key, booked, self._summed.pop(key, None)):
            self._differences.add(difference)

    def take_order(self, order: BookedOrder) -> None:
        self._orders += 1
        identity = (order.client_id, order.order_id)
        last_client_id, last_order_id = self._last_identity
        next_order_id = last_order_id + 1 if order.client_id == last_client_id else 1
        if identity == self._last_identity:
            self._differences.add(f"{_name(order)}: booked twice")
        elif order.order_id > next_order_id:
            gap = _numbers("order_id", next_order_id, order.order_id - 1)
            self._notes.add(f"{order.client_id}: {gap} not in the ledger")
        self._last_identity = identity
        for problem in _problems(order):
            self._differences.add(f"{_name(order)}: {problem}")
        for reported in self._not_found.pop(identity, ()):
            self._differences.add(
                f"{_name(order)}: the strategy's log has {_fill_text(reported)}; booked is "
                f"{_booked_text(order)}"
            )

    def verdict(self) -> Verdict:
        for key, summed in self._summed.items():
            for difference in position_differences(key, None, summed):
                self._differences.add(difference)
        for reported in (fill for fills in self._not_found.values() for fill in fills):
            self._differences.add(
                f"order {reported.order_id} of {reported.client_id}: not in the ledger, and the "
                f"strategy's log has {_fill_text(reported)}"
            )
        return Verdict(
            self._differences.listed(),
            self._notes.listed(),
            self._orders,
            self._fills,
            self._positions,
            self._reported,
        )

    def _take_trade_id(self, trade_id: int) -> None:
        expected = self._last_trade_id + 1
        if trade_id < expected:
            problem = "there twice" if trade_id > 0 else "below 1"
            self._differences.add(f"trade_id {trade_id}: {problem}")
        elif trade_id > expected:
            gap = _numbers("trade_id", expected, trade_id - 1)
            self._differences.add(f"{gap} not in the ledger")
        self._last_trade_id = max(self._last_trade_id, trade_id)


class _Lines:
    """Keeps the first lines and counts the rest."""

    def __init__(self) -> None:
        self._first: list[str] = []
        self._left_out = 0

    def add(self, line: str) -> None:
        if len(self._first) < MAX_LINES:
            self._first.append(line)
        else:
            self._left_out += 1

    def listed(self) -> list[str]:
        return [*self._first, f"and {self._left_out:,} more"] if self._left_out else self._first


def _problems(order: BookedOrder) -> Iterator[str]:
    """What is wrong with an order by itself."""
    if order.quantity < 1:
        yield f"quantity is {order.quantity}"
    if order.price < 1:
        yield f"price is {decimal_text(order.price)}"
    if order.status == "FILLED":
        if order.trade_id is None:
            yield "FILLED, and has no trade_id"
        if order.reason is not None:
            yield f"FILLED, and has a reason: {order.reason}"
    else:
        if order.reason is None:
            yield "REJECTED, and has no reason"
        if order.trade_id is not None:
            yield f"REJECTED, and has the trade_id {order.trade_id}"


def _as_reported(fill: BookedOrder, trade_id: int) -> ReportedFill:
    return ReportedFill(
        fill.client_id, fill.order_id, fill.symbol, fill.side, trade_id, fill.position
    )


def _name(order: BookedOrder) -> str:
    return f"order {order.order_id} of {order.client_id}"


def _fill_text(fill: ReportedFill) -> str:
    return f"FILLED {fill.side} {fill.symbol}, trade_id {fill.trade_id}, position {fill.position}"


def _booked_text(order: BookedOrder) -> str:
    return (
        f"{order.status} {order.side} {order.symbol}, trade_id {order.trade_id}, "
        f"position {order.position}"
    )


def _numbers(name: str, first: int, last: int) -> str:
    """`order_id 4 is`, `order_ids 4 to 6 are`."""
    return f"{name} {first} is" if first == last else f"{name}s {first} to {last} are"


def _money(units: int | None) -> str:
    return "NULL" if units is None else decimal_text(units)
