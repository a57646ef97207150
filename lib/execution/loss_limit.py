"""The loss limit of each client: beyond it, only orders that reduce a position are filled.

A client's profit is that of what it closed and of what it holds, at the latest prices. All of it
is whole units of 1e-8, so the limit means its figure exactly: a loss of the limit is allowed, one
unit more is not. Without a latest price since the start, what is held counts at its cost. While
the symbol of an order should have a latest price and has none, the order is filled only if it
reduces a position: the loss of what is held is not known.

A client's limit is in one of three states. The profit it is judged by is that of its orders up to
the one before, under the latest prices of the pass.

| mark in the ledger | file | what happens at the client's next order |
| --- | --- | --- |
| not reached | none | a loss beyond the limit: the file is made, then the mark is set |
| reached | there | only what reduces a position is filled |
| reached | none | a person has lifted it: losses count from the profit of now, and so not reached |
| not reached | there | as reached: made by hand, or the mark was not committed (on a full disk) |

So the file counts. It is made before the mark is committed: a kill in between leaves a client at
its limit, never one that goes on.

An anonymous client has no file. Its limit, like its name, ends with its connection.

A pass costs a client one look at all its positions, with a look-up of the price of each that is
open, and an order nothing that grows with them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Protocol

from lib.execution.risk import only_reduces
from lib.ledger.loss_marks import LossMark
from lib.ledger.positions import Position
from lib.ledger.writer import Ledger
from lib.prices import PRICE_SCALE, decimal_text
from lib.wire.order_messages import ANONYMOUS, MessageError, Order

LATCH_PREFIX: Final = "LOSS_LIMIT-"
"""Begins the name of the file, in the var directory, of a client that has reached its limit."""


class Latches(Protocol):
    """The files of the clients that have reached their limit."""

    def is_held(self, client_id: str) -> bool:
        """Return whether the client's file is there."""

    def hold(self, client_id: str, loss: int) -> None:
        """Make the client's file. Raises OSError."""


@dataclass
class _Standing:
    """A client in this pass, its orders so far included."""

    profit: int
    is_held: bool


class LossLimit:
    """The loss limits of one order manager. Pure but for the ledger and the latches.

    `max_loss` is money, above 0. `latest_price` returns a symbol's latest price in fixed point, or
    why there is none; None where no price is to be had. Every method may raise LedgerError.
    """

    def __init__(
        self,
        max_loss: float,
        ledger: Ledger,
        latest_price: Callable[[str], int | str | None],
        latches: Latches,
    ) -> None:
        # Through its text, as the price collar. A loss has no fractions of a unit.
        self._limit = int(Fraction(str(max_loss)) * PRICE_SCALE)
        self._ledger = ledger
        self._latest_price = latest_price
        self._latches = latches
        self._last_prices: dict[str, int] = {}
        """The last one known of each symbol: a price book that is replaced has none for a while."""
        self._standings: dict[str, _Standing] = {}
        """By client_id, of the clients of this pass."""

    def begin_pass(self) -> None:
        """Look again at the prices, the files and the ledger. Call it before each pass's orders."""
        self._standings.clear()

    def refusal(self, client_id: str, order: Order, price: int, position: int) -> str | None:
        """Return why the order must not be filled, as one human-readable line; None if it may be.

        Call it for an order that passes every other check: without a reason it counts as filled.
        Raises MessageError if the limit is reached and that cannot be kept; the order must not be
        booked then.
        """
        standing = self._standings.get(client_id)
        if standing is None:
            standing = self._standings[client_id] = self._look(client_id)
        reduces = only_reduces(position, position + order.signed_quantity)
        loss = self._ledger.loss_mark(client_id).profit - standing.profit
        if not standing.is_held and loss > self._limit:
            standing.is_held = self._hold(client_id, loss, order, is_needed=not reduces)
        if standing.is_held and not reduces:
            return self._reason(client_id, loss)
        latest = self._latest_price(order.symbol)
        if isinstance(latest, str) and not reduces:
            return f"no price to judge the loss by: {latest}"
        held = self._ledger.holdings(client_id).get(order.symbol) or Position()
        filled = held.after(order.signed_quantity, price)
        standing.profit += self._profit(order.symbol, filled) - self._profit(order.symbol, held)
        return None

    def _look(self, client_id: str) -> _Standing:
        """Return where the client stands before its first order of the pass."""
        holdings = self._ledger.holdings(client_id)
        profit = sum(self._profit(symbol, position) for symbol, position in holdings.items())
        mark = self._ledger.loss_mark(client_id)
        is_held = mark.is_reached if _is_anonymous(client_id) else self._latches.is_held(client_id)
        if mark.is_reached and not is_held:
            self._ledger.mark_loss(client_id, LossMark(profit))
        elif is_held and not mark.is_reached:
            self._ledger.mark_loss(client_id, LossMark(mark.profit, is_reached=True))
        return _Standing(profit, is_held)

    def _hold(self, client_id: str, loss: int, order: Order, *, is_needed: bool) -> bool:
        """Keep that the client has reached its limit. Returns whether that worked.

        Raises MessageError if it did not and `is_needed`.
        """
        if not _is_anonymous(client_id):
            try:
                self._latches.hold(client_id, loss)
            except OSError as error:
                if not is_needed:
                    return False
                raise MessageError(
                    f"{self._reason(client_id, loss)}; that cannot be kept: {error.strerror}",
                    order.order_id,
                ) from None
        profit = self._ledger.loss_mark(client_id).profit
        self._ledger.mark_loss(client_id, LossMark(profit, is_reached=True))
        return True

    def _reason(self, client_id: str, loss: int) -> str:
        until = f"the file {LATCH_PREFIX}{client_id} is removed"
        if _is_anonymous(client_id):
            until = "its connection ends"
        return (
            f"{client_id} has reached max_loss: its loss is {decimal_text(loss)} and the limit "
            f"{decimal_text(self._limit)}; until {until}, only orders that reduce a position are "
            "filled"
        )

    def _profit(self, symbol: str, position: Position) -> int:
        """Return the profit of what was closed and of what is held of a symbol."""
        if not position.quantity:
            return position.realised
        latest = self._latest_price(symbol)
        if isinstance(latest, int):
            self._last_prices[symbol] = latest
        price = self._last_prices.get(symbol)
        if price is None:
            return position.realised
        return position.realised - position.cost + position.quantity * price


def _is_anonymous(client_id: str) -> bool:
    return client_id.startswith(ANONYMOUS)
