"""What the order manager has booked: orders, trades, positions.

Kept in memory for now, so a restarted order manager begins anew; the number of orders remembered
is bounded. Whatever replaces this keeps the interface: look up, record, commit, and only then may
an answer go out.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, NamedTuple

from lib.order_messages import ExecutionReport, Order

MAX_REMEMBERED_ORDERS: Final = 200_000


class Booking(NamedTuple):
    """An order and its final answer."""

    order: Order
    report: ExecutionReport


class Ledger:
    """Only the order manager writes it."""

    def __init__(self) -> None:
        self._bookings: OrderedDict[tuple[str, int], Booking] = OrderedDict()
        self._positions: dict[str, dict[str, int]] = {}
        self._last_order_id: dict[str, int] = {}
        self._last_trade_id = 0

    def find(self, client_id: str, order_id: int) -> Booking | None:
        """The booking of this identity, if there is one."""
        return self._bookings.get((client_id, order_id))

    def position(self, client_id: str, symbol: str) -> int:
        """Net quantity that the client holds: above zero long, below zero short."""
        return self._positions.get(client_id, {}).get(symbol, 0)

    def positions(self, client_id: str) -> dict[str, int]:
        """All positions of a client that are not zero."""
        return {s: q for s, q in self._positions.get(client_id, {}).items() if q}

    def last_order_id(self, client_id: str) -> int:
        """The highest order_id that the client has used, 0 for none."""
        return self._last_order_id.get(client_id, 0)

    def next_trade_id(self) -> int:
        """A number for the next fill. Counts on with each call."""
        self._last_trade_id += 1
        return self._last_trade_id

    def record(self, order: Order, report: ExecutionReport) -> None:
        """Book an order with its answer. It is in the ledger once `commit` has returned."""
        client_id = report.client_id
        self._bookings[client_id, order.order_id] = Booking(order, report)
        if len(self._bookings) > MAX_REMEMBERED_ORDERS:
            self._bookings.popitem(last=False)
        self._last_order_id[client_id] = max(self.last_order_id(client_id), order.order_id)
        if report.status == "FILLED" and report.position is not None:
            self._positions.setdefault(client_id, {})[order.symbol] = report.position

    def commit(self) -> None:
        """Make everything recorded final."""

    def forget(self, client_id: str) -> None:
        """Drop an anonymous client: its identities end with its connection."""
        self._positions.pop(client_id, None)
        self._last_order_id.pop(client_id, None)
