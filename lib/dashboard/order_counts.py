"""How many orders a ledger has, by client: counted in slices, and kept.

A ledger may have tens of millions of orders, and a look must not read them all. So each fill is
read once: they are numbered (`trade_id`) without a gap, and only the new ones are counted.
Rejections have no number. They are counted from the beginning, which the ledger's index makes one
range of its own, and again when the order manager has logged further ones: a client may send its
orders in any order of `order_id`, so those that are new are nowhere together. (A number for them
would be one more index that each order waits for.) A read takes a bounded slice, and the observer
reads the ledger for at most a twentieth of the time, so it is the count that is late, by minutes
with tens of millions of rejections; nothing else waits for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from datetime import datetime
from typing import Final

from lib.ledger.reader import Counted, Snapshot

ORDERS_A_READ: Final = 50_000
"""How many fills, and how many rejections, one read counts at most, in some 40 ms each."""
_BEFORE_ALL: Final = ("", 0)


class OrderCounter:
    """The counts of one ledger: of all its clients together, and of each that is named."""

    def __init__(self, client_ids: Collection[str]) -> None:
        self._client_ids = frozenset(client_ids)
        self._created_utc: datetime | None = None
        self._begin_anew()

    def _begin_anew(self) -> None:
        self.filled = 0
        """The filled orders of all clients."""
        self.rejected: int | None = None
        """The rejected orders of all clients; None until they are counted."""
        self._fills = Counter[str]()
        self._rejections = Counter[str]()
        self._last_trade_id = 0
        self._are_fills_counted = False
        # The count of the rejections that goes on.
        self._counted = Counter[str]()
        self._counted_all = 0
        self._after = _BEFORE_ALL
        self._logged_at_begin = -1

    def read(self, ledger: Snapshot, rejections_logged: int) -> None:
        """Count what is new, up to ORDERS_A_READ of each kind. Raises as `Snapshot` does.

        `rejections_logged` grows with each rejection that the order manager logs.
        """
        filled = ledger.fill_count()
        if ledger.created_utc != self._created_utc or filled < self._last_trade_id:
            self._created_utc = ledger.created_utc
            self._begin_anew()
        self.filled = filled
        if self._last_trade_id < filled:
            counted = ledger.count_fills(self._last_trade_id, ORDERS_A_READ)
            self._last_trade_id = max((one.last for one in counted), default=filled)
            self._add(counted, self._fills)
        if self._last_trade_id == filled:
            self._are_fills_counted = True
        if self._after != _BEFORE_ALL or rejections_logged != self._logged_at_begin:
            self._count_rejections(ledger, rejections_logged)

    @property
    def awaits(self) -> str:
        """What is still to be counted for the first time; "" if nothing is."""
        if not self._are_fills_counted:
            return f"the fills to be counted, {self._last_trade_id:,} of {self.filled:,} so far"
        return "the rejected orders to be counted" if self.rejected is None else ""

    def of_client(self, client_id: str) -> tuple[int, int] | None:
        """Return its filled and rejected orders; None until they are counted."""
        if self.awaits:
            return None
        return self._fills[client_id], self._rejections[client_id]

    def _count_rejections(self, ledger: Snapshot, rejections_logged: int) -> None:
        counted = ledger.count_rejections(self._after, ORDERS_A_READ)
        if self._after == _BEFORE_ALL:
            self._logged_at_begin = rejections_logged
        self._add(counted, self._counted)
        orders = sum(one.orders for one in counted)
        self._counted_all += orders
        if orders == ORDERS_A_READ:
            self._after = counted[-1].client_id, counted[-1].last
            return
        self.rejected, self._rejections = self._counted_all, self._counted
        self._counted, self._counted_all, self._after = Counter[str](), 0, _BEFORE_ALL

    def _add(self, counted: list[Counted], to: Counter[str]) -> None:
        for one in counted:
            if one.client_id in self._client_ids:
                to[one.client_id] += one.orders
