"""What the order manager has booked: orders, trades, positions.

Kept in memory for now, so a restarted order manager begins anew; the number of orders remembered
of a client is bounded. Whatever replaces this keeps the interface: look up, record, commit, and
only then may an answer go out.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from lib.order_messages import ExecutionReport

MAX_REMEMBERED_ORDERS: Final = 5_000
"""Of each client, the latest. A client sends at most its unanswered orders again, which are 1,000
(`lib.order_client`). At some 600 bytes each, 3 MB a client."""


class Ledger:
    """Only the order manager writes it."""

    def __init__(self) -> None:
        self._reports: dict[str, OrderedDict[int, ExecutionReport]] = {}
        self._forgotten: dict[str, int] = {}  # the highest order_id no longer remembered
        self._positions: dict[str, dict[str, int]] = {}
        self._last_order_id: dict[str, int] = {}
        self._last_trade_id = 0

    def find(self, client_id: str, order_id: int) -> ExecutionReport | None:
        """The final answer to the order of this identity, if it is booked."""
        reports = self._reports.get(client_id)
        return reports.get(order_id) if reports else None

    def is_forgotten(self, client_id: str, order_id: int) -> bool:
        """Whether this identity may have been booked so long ago that it is remembered no more."""
        return order_id <= self._forgotten.get(client_id, 0)

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

    def record(self, report: ExecutionReport) -> None:
        """Book an order with its final answer. It is in the ledger once `commit` has returned."""
        client_id = report.client_id
        reports = self._reports.setdefault(client_id, OrderedDict())
        reports[report.order_id] = report
        if len(reports) > MAX_REMEMBERED_ORDERS:
            forgotten, _ = reports.popitem(last=False)
            self._forgotten[client_id] = max(self._forgotten.get(client_id, 0), forgotten)
        self._last_order_id[client_id] = max(self.last_order_id(client_id), report.order_id)
        if report.status == "FILLED" and report.position is not None:
            self._positions.setdefault(client_id, {})[report.symbol] = report.position

    def commit(self) -> None:
        """Make everything recorded final."""

    def forget(self, client_id: str) -> None:
        """Drop an anonymous client: its identities end with its connection."""
        self._reports.pop(client_id, None)
        self._forgotten.pop(client_id, None)
        self._positions.pop(client_id, None)
        self._last_order_id.pop(client_id, None)
