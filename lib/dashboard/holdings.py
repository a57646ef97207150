"""What is held and earned by the ledger, by symbol and by strategy: read in slices, and kept.

A ledger has a position for each client and symbol, and there may be millions. One read takes a
slice of them; the totals are those of the last time that all were read. So those of a ledger with
more than `POSITIONS_A_READ` are of several moments.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Final, NamedTuple

from lib.ledger.reader import Snapshot

POSITIONS_A_READ: Final = 20_000
"""How many positions one read takes at most, in some 30 ms."""
_BEFORE_ALL: Final = ("", "")


class Total(NamedTuple):
    """What all clients together hold of a symbol. Money in dollars."""

    position: int = 0
    cost: float = 0.0
    realised: float = 0.0


class Held(NamedTuple):
    """What a client holds and has earned."""

    symbols: int = 0
    """The number of symbols in which it has a position."""
    realised: float = 0.0
    """Its realised profit in dollars."""


class Holdings(NamedTuple):
    """The totals of a ledger. Money in dollars."""

    by_symbol: dict[str, Total]
    realised: float
    by_client: dict[str, Held]
    """What each client that is named holds."""


def open_profit(
    holdings: Mapping[str, Total], latest: Callable[[str], float | None]
) -> float | None:
    """Return the open profit in dollars of holdings by symbol, at the latest price of each.

    None if something is held that has no price.
    """
    profit = 0.0
    for symbol, holding in holdings.items():
        price = latest(symbol) if holding.position else 0.0
        if price is None:
            return None
        profit += holding.position * price - holding.cost
    return profit


class HoldingsReader:
    """Adds up the positions of one ledger."""

    def __init__(self, client_ids: Collection[str]) -> None:
        self._client_ids = client_ids
        self.latest: Holdings | None = None
        """None before all positions were read once."""
        self._created_utc: datetime | None = None
        self._begin()

    def _begin(self) -> None:
        self._after = _BEFORE_ALL
        self._by_symbol: dict[str, Total] = {}
        self._by_client = dict.fromkeys(self._client_ids, Held())

    def read(self, ledger: Snapshot) -> None:
        """Read the next slice. Raises as `Snapshot` does; the slice is then the next one again."""
        if ledger.created_utc != self._created_utc:
            self._created_utc = ledger.created_utc
            self._begin()
        rows = ledger.holdings(self._after, POSITIONS_A_READ)
        for client_id, symbol, position, cost, realised in rows:
            total = self._by_symbol.get(symbol, Total())
            self._by_symbol[symbol] = Total(
                total.position + position, total.cost + cost, total.realised + realised
            )
            if (held := self._by_client.get(client_id)) is not None:
                self._by_client[client_id] = Held(
                    held.symbols + (position != 0), held.realised + realised
                )
        if len(rows) == POSITIONS_A_READ:
            self._after = rows[-1][:2]
            return
        realised_by_all = sum(total.realised for total in self._by_symbol.values())
        self.latest = Holdings(self._by_symbol, realised_by_all, self._by_client)
        self._begin()
